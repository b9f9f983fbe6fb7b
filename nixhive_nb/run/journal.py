"""The journal: what a run did, a line an event, as it happens. A record for people and `--resume`, never the truth.

`runs/TIME-ID.jsonl` in the folder of `places` (0600, or 0660 where a team shares it) begins with a `run` line (`Head`),
then holds the events of `plan.event`, but for output and progress, and ends with an `end` line (`End`). Beside it, the
folder `TIME-ID` holds what hosts said: a log for each instance, and `build.log`. While a run is in progress its journal
is locked (`flock`), so that one that was killed can be told from one that runs.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.plan.events import StepEnded, StepLine, StepProgress
from nixhive_nb.plan.formats import FORMAT
from nixhive_nb.run.logs import log_file
from nixhive_nb.util.files import make_folder, private_opener
from nixhive_nb.util.kept import LOGGED, full_note
from nixhive_nb.util.redaction import redact
from nixhive_nb.util.said import Moment, Whole

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from nixhive_nb.plan.events import Event
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.report import Report

_log = logging.getLogger(__name__)

RUNS = "runs"
KEPT = 200
"""How many journals are kept."""
_SYNC_SECONDS = 0.1
"""Each line is with the kernel at once; ends of steps that come together go to the disk together."""
_LONG = 2**20
"""From so many bytes on a line is not copied to be written."""
_SYNC_SHARE = 20
"""A disk that takes long (Nix writes to it as well) may hold up the engine for one part in so many."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller knows of a run."""

    who: str
    """`user@machine`."""
    program: str
    """`nix-hive`, `%hive` with its notebook, or Python."""
    words: tuple[str, ...] = ()
    """The words of the command."""
    reason: str = ""
    versions: dict[str, str] = {}
    source: str
    """The deployment as the user named it."""
    deployment: str
    """Its absolute path."""
    revision: str = ""
    """That of the deployment, as `deployment.revision` writes it; empty where it is not known."""


class Head(Header, frozen=True, kw_only=True, tag="run"):
    """The first line. `time` is seconds since the epoch.

    What was asked for (verb, patterns and options) stands in the plan.
    """

    run: str
    time: Moment
    digest: str
    plan: msgspec.Raw
    format: Whole = 1
    """How the plan and the steps are spelt: see `plan.formats`. Journals of the first format have no number."""


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The last line."""

    time: Moment
    ok: bool
    interrupted: bool
    counts: dict[str, Whole]
    """Instances (of a build: systems) by outcome."""


class Journal:
    """The journal of one run, a listener of it. What cannot be written does not stop the run: `failure` says so."""

    def __init__(self, file: Path, stream: FileIO, plan: Plan, log: int = LOGGED) -> None:
        """Use `begin`."""
        self.path = file
        self.failure = ""
        """Why the journal is not whole, or cannot be locked; empty when all is well."""
        self._stream = stream
        # After a second interrupt the engine may still be telling when the journal ends.
        self._guard = threading.Lock()
        self._logs = file.with_suffix("")
        self._steps = {step.id: step for step in plan.steps}
        self._most = log
        self._logged: dict[Path, int] = {}
        """How long each log is by now."""
        self._over = False
        self._torn = False
        self._unsynced = False
        self._next_sync = 0.0

    @classmethod
    def begin(cls, folder: Path, header: Header, plan: Plan, *, log: int = LOGGED) -> Journal:
        """Begin the journal of a run in `folder` (see `places`), and remove the oldest ones. Raises `OSError`.

        `log` is how many bytes the log of one host may have.
        """
        runs = folder / RUNS
        make_folder(runs)
        _remove_old(runs)
        now = time.time()
        run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(3)}"
        file = runs / f"{run}.jsonl"
        stream = open(file, "xb", buffering=0, opener=_private)  # noqa: SIM115 - `end` closes it
        journal = cls(file, stream, plan, log)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
            _sync_folder(runs)
        except OSError as error:  # a file system that cannot
            journal._fail(file, error)
        known = {name: getattr(header, name) for name in header.__struct_fields__}
        journal._write(Head(format=FORMAT, run=run, time=now, digest=plan.digest, plan=_encoded_plan(plan), **known))
        journal._sync()
        return journal

    @property
    def run(self) -> str:
        """The id of the run."""
        return self.path.stem

    def heard(self, event: Event) -> None:
        """Take an event in. Never raises."""
        match event:
            case StepLine():
                self._log(event.step, event.time, event.text)
            case StepProgress():
                pass
            case _:
                self._write(event)
        if isinstance(event, StepEnded):
            self._unsynced = True
            if event.reason:
                self._log(event.step, event.time, f"{event.outcome}: {event.reason}")
        if self._unsynced and time.monotonic() >= self._next_sync:
            self._sync()

    def end(self, report: Report, *, interrupted: bool) -> None:
        """Write the last line and let go of the file. What is heard later is not written."""
        end = End(time=report.ended, ok=report.ok, interrupted=interrupted, counts=report.counts())
        self._write(end, last=True)
        self._sync()
        self.close()

    def close(self) -> None:
        """Let go of the file. A run whose last line is not there counts as killed."""
        with self._guard:
            self._over = True
            self._stream.close()

    def log_of(self, instance: str) -> Path:
        """Return the file that holds what an instance said, without one what was said on this machine.

        It is there once something was said.
        """
        return log_file(self.path, instance)

    def _write(self, line: msgspec.Struct, *, last: bool = False) -> None:
        data = _encoded(line)
        with self._guard:
            if self._over:
                return
            self._over = last
            # The end of what was torn, and the line, which may be too long to be copied for its own end.
            parts = (*([b"\n"] if self._torn else []), *([data, b"\n"] if len(data) > _LONG else [data + b"\n"]))
            self._torn = True
            try:
                for part in parts:
                    rest = memoryview(part)
                    while rest:
                        rest = rest[self._stream.write(rest) :]
            except OSError as error:
                self._fail(self.path, error)
            else:
                self._torn = False

    def _sync(self) -> None:
        begun = time.monotonic()
        with self._guard:
            if self._stream.closed:
                return
            try:
                os.fdatasync(self._stream)
            except OSError as error:
                self._fail(self.path, error)
        ended = time.monotonic()
        self._unsynced = False
        self._next_sync = ended + max(_SYNC_SECONDS, _SYNC_SHARE * (ended - begun))

    def _log(self, name: str, when: float, text: str) -> None:
        step = self._steps[name]
        file = self.log_of(step.instance)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
        had = self._logged.get(file, 0)
        if had > self._most:
            return
        line = f"{stamp} {step.kind}: {redact(text)}\n".encode()
        self._logged[file] = had + len(line)
        if had + len(line) > self._most:
            line = full_note(self._most)
        try:
            make_folder(self._logs)
            with open(file, "ab", opener=_private) as log:
                log.write(line)
        except OSError as error:
            self._fail(file, error)

    def _fail(self, file: Path, error: OSError) -> None:
        what = f"{file}: {error.strerror}. The run itself continues; `history` and `--resume` know less of it"
        self.failure = self.failure or what


def is_locked(file: Path) -> bool:
    """Return whether the run of a journal goes on. Raises `OSError` when the file cannot be opened."""
    with file.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            _log.debug("%s cannot be locked", file, exc_info=True)
            return False
    return False


def _encoded(value: msgspec.Struct) -> bytes:
    return _encoded_by(value, _Redacted())


def _encoded_plan(plan: Plan) -> msgspec.Raw:
    """Encode a plan bit by bit: as a whole, one of a hundred thousand hosts would take a gigabyte meanwhile."""
    redacted = _Redacted()
    parts = {name: getattr(plan, name) for name in plan.__struct_fields__}
    return msgspec.Raw(
        msgspec.json.encode(
            {
                name: msgspec.Raw(b"[%b]" % b",".join(_encoded_by(one, redacted) for one in part))
                if isinstance(part, tuple)
                else msgspec.Raw(_encoded_by(part, redacted))
                for name, part in parts.items()
            }
        )
    )


class _Redacted(dict[str, str]):
    """Each text without secrets. Most texts of a plan stand there thousands of times."""

    def __missing__(self, text: str) -> str:
        self[text] = plain = redact(text)
        return plain


def _encoded_by(value: object, redacted: _Redacted) -> bytes:
    return msgspec.json.encode(_without_secrets(msgspec.to_builtins(value, builtin_types=(msgspec.Raw,)), redacted))


def _without_secrets(value: Any, redacted: _Redacted) -> Any:  # noqa: ANN401 - what JSON is made of
    match value:
        case str():
            return redacted[value]
        case dict():
            return {name: _without_secrets(one, redacted) for name, one in value.items()}
        case list() | tuple():
            return [_without_secrets(one, redacted) for one in value]
    return value


def _private(name: str, flags: int) -> int:
    return private_opener(name, flags | os.O_APPEND)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_old(runs: Path) -> None:
    """Remove all but the newest journals; one that is written now is left alone."""
    for file in sorted(runs.glob("*.jsonl"))[: -(KEPT - 1)]:
        try:
            if not is_locked(file):
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)
                file.unlink(missing_ok=True)
        except OSError:  # another process was quicker
            _log.debug("cannot remove %s", file, exc_info=True)
            continue
