"""What journals tell of earlier runs. A journal is read as far as it is whole, and as far as this version knows it."""

from __future__ import annotations

import logging
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.events import StepEnded, StepStarted, Stopping, because_of
from nixhive_nb.plan.formats import noted_plan
from nixhive_nb.plan.options import How, words_of
from nixhive_nb.plan.plan import Plan, Verb
from nixhive_nb.plan.sound import flaw_of
from nixhive_nb.plan.step import CHANGING
from nixhive_nb.run.journal import RUNS, End, Head, is_locked
from nixhive_nb.run.report import Tally
from nixhive_nb.util.collecting import collected_seldom
from nixhive_nb.util.files import make_folder
from nixhive_nb.util.suggest import near
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from nixhive_nb.plan.step import Step
    from nixhive_nb.run.report import Report

_log = logging.getLogger(__name__)

Line = Head | End | StepStarted | StepEnded | Stopping
_LINE: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises: for what is no JSON, or no line that we know; for what is no UTF-8; for what nests too deep.

The first is a `ValueError` only since msgspec 0.21.
"""
_NAMED = 5
_TAIL = 8192
"""Where in a file its last line begins, at most this far from the end, if that is an `end` line."""
_MOST_LINE = 256 * 2**20
"""The longest line that is read at once, in bytes: the plan of 100,000 hosts is shorter."""
_KILLED = "the run was killed"
_LEFT = "left"
"""A file beside the logs of a run that could not let go of all that hosts keep for it."""
_GAP = "the journal does not tell how it ended"


class RunEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are seconds since the epoch."""

    run: str
    path: str
    """The journal."""
    started: float
    ended: float | None = None
    """None for one that runs, or was killed."""
    who: str
    program: str
    words: tuple[str, ...] = ()
    verb: str
    asked: tuple[str, ...] = ()
    """The patterns, as far as the plan tells."""
    source: str
    digest: str
    revision: str = ""
    """That of the deployment; empty where it is not known."""
    reason: str = ""
    instances: int = 0
    counts: dict[str, int] = {}
    """Instances (of a build: systems) by outcome, `running` for those without one yet."""
    state: Literal["ended", "running", "killed"]
    interrupted: bool = False

    @property
    def seconds(self) -> float | None:
        """How long it took; None for one that has no end, 0 where the clock was put back by more than that."""
        return None if self.ended is None else max(0.0, self.ended - self.started)

    @property
    def command(self) -> str:
        """What was asked for: the words as they were typed, or for a run from Python the verb and the patterns."""
        return shlex.join(self.words or (self.verb, *self.asked))


class _Brief(msgspec.Struct, frozen=True):
    """What a list of runs needs of a plan."""

    verb: str
    targets: tuple[msgspec.Raw, ...] = ()
    patterns: tuple[tuple[str, ...], ...] = ()


def runs(folder: Path) -> tuple[RunEntry, ...]:
    """Return the runs that are noted in `folder` (see `places`), newest first."""
    found = [entry for file in (folder / RUNS).glob("*.jsonl") if (entry := _entry(file))]
    return tuple(sorted(found, key=lambda entry: (entry.started, entry.run), reverse=True))


def last(folder: Path, verbs: Collection[str], *, ended: bool = False) -> RunEntry:
    """Return the last run that did one of these verbs, or with `ended` the last of those that do not go on.

    Raises `OptionError` when there is none.
    """
    for entry in runs(folder):
        if entry.verb in verbs and not (ended and entry.state == "running"):
            return entry
    raise OptionError(f"No {' or '.join(verbs)} is noted in {folder / RUNS} yet.")


def note_left(journal: Path) -> None:
    """Note that a run has left something on hosts, for later ones that come there. Raises `OSError`."""
    make_folder(journal.with_suffix(""))
    (journal.with_suffix("") / _LEFT).touch()


def with_leavings(folder: Path, *, within: float) -> tuple[str, ...]:
    """Return the ids of runs that may have left something on hosts: that were killed, or noted it.

    It is those whose journals were written to in the last `within` seconds.
    """
    since = time.time() - within
    found = []
    for file in (folder / RUNS).glob("*.jsonl"):
        with swallowed(_log, f"looking what the run of {file} has left", OSError):
            if not file.is_file() or file.stat().st_mtime < since or is_locked(file):
                continue
            head, last = _first_and_last(file)
            has_left = not isinstance(last, End) or (file.with_suffix("") / _LEFT).exists()
            if isinstance(head, Head) and head.run == file.stem and has_left:
                found.append(file.stem)
    return tuple(sorted(found))


def find(folder: Path, run: str = "") -> RunEntry:
    """Return the run of an id; without one the last run.

    A beginning or an end of the id is enough, or a beginning of what follows its time. Raises `OptionError` when there
    is no such run, or several.
    """
    every = runs(folder)
    if not every:
        raise OptionError(f"No run is noted in {folder / RUNS} yet.")
    if not run:
        return every[0]
    found = [entry for entry in every if _is_meant(entry, run)]
    exact = [entry for entry in found if run in (entry.run, _short(entry))]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise OptionError(f"'{run}' could be several runs: {_names(found)}. Give more of the id.")
    alike = near(run, [name for entry in every for name in (entry.run, _short(entry))])
    hint = f" Is it {' or '.join(alike)}?" if alike else ""
    raise OptionError(f"There is no run '{run}'.{hint} The last ones are {_names(every)}.")


@collected_seldom()
def report_of(entry: RunEntry) -> Report:
    """Return the report of a run; without log lines, which stand in files of their own.

    What a killed run was changing on a host when it was killed is `unknown`, and all else that has no end in the
    journal is `cancelled`. Raises `OptionError` when the plan cannot be read.
    """
    lines, plan = _read(entry)
    return msgspec.structs.replace(_report(lines, plan, entry.started, entry.state), journal=entry.path)


def request_of(entry: RunEntry) -> tuple[Verb, tuple[tuple[str, ...], ...], How]:
    """Return what was asked for in a run: the verb, the patterns (each element a wave), and the keywords.

    Raises `OptionError` when the plan cannot be read.
    """
    _, plan = _read(entry)
    return plan.verb, plan.patterns, words_of(plan.options, plan.no)


def _entry(file: Path) -> RunEntry | None:
    """Return the run of a journal, None for a file that does not even tell its plan."""
    if not file.is_file():  # opening a pipe would wait for a writer
        return None
    try:
        # In this order: one that ends in between has written its last line.
        locked = is_locked(file)
        head, last = _first_and_last(file)
    except OSError:
        _log.debug("cannot read %s", file, exc_info=True)
        return None
    if not isinstance(head, Head):
        return None
    try:
        plan = msgspec.json.decode(head.plan, type=_Brief)
    except _UNREADABLE:
        _log.debug("cannot read the plan in %s", file, exc_info=True)
        return None
    end = last if isinstance(last, End) else None
    entry = RunEntry(
        run=head.run,
        path=str(file),
        started=head.time,
        ended=end.time if end else None,
        who=head.who,
        program=head.program,
        words=head.words,
        verb=plan.verb,
        asked=tuple(",".join(wave) for wave in plan.patterns),
        source=head.source,
        digest=head.digest,
        revision=head.revision,
        reason=head.reason,
        instances=len(plan.targets),
        counts=end.counts if end else {},
        state="ended" if end else "running" if locked else "killed",
        interrupted=end.interrupted if end else False,
    )
    return entry if end else msgspec.structs.replace(entry, counts=_counts(entry))


def _counts(entry: RunEntry) -> dict[str, int]:
    try:
        return report_of(entry).counts()
    except OptionError:
        _log.debug("no counts of run %s", entry.run, exc_info=True)
        return {}


def _read(entry: RunEntry) -> tuple[list[Line], Plan]:
    """Return the lines of a journal that can be read, and its plan, in the words of this version."""
    try:
        lines = list(_lines(Path(entry.path)))
    except OSError as error:
        raise OptionError(f"The journal {entry.path} cannot be read: {error.strerror}.") from None
    head = lines[0] if lines else None
    ids: dict[str, str] = {}
    try:
        plan, ids = _noted(head) if isinstance(head, Head) else (None, ids)
    except _UNREADABLE:
        _log.debug("cannot read the plan in %s", entry.path, exc_info=True)
        plan = None
    if plan is not None and not (flaw := flaw_of(plan)):
        return [_renamed(line, ids) for line in lines] if ids else lines, plan
    if plan is not None:
        _log.debug("the plan in %s is none of ours: %s", entry.path, flaw)
    raise OptionError(
        f"The plan of run {entry.run} cannot be read: {entry.path} was changed, or written by another version."
    )


def _noted(head: Head) -> tuple[Plan, dict[str, str]]:
    """Return the plan of a journal, with the digest that it had, and the new id of each step that has another."""
    plan, ids = noted_plan(head.plan, head.format, Plan)
    return plan if plan.digest == head.digest else msgspec.structs.replace(plan, noted=head.digest), ids


def _renamed(line: Line, ids: Mapping[str, str]) -> Line:
    """Return a line about a step that has another id by now."""
    match line:
        case StepStarted():
            return msgspec.structs.replace(line, step=ids.get(line.step, line.step))
        case StepEnded():
            cause = ids.get(line.cause, line.cause)
            reason = because_of(cause) if cause and line.reason == because_of(line.cause) else line.reason
            return msgspec.structs.replace(line, step=ids.get(line.step, line.step), cause=cause, reason=reason)
    return line


def _report(lines: Iterable[Line], plan: Plan, started: float, state: str) -> Report:
    tally = Tally(plan, started=started)
    steps = {step.id: step for step in plan.steps}
    begun: set[str] = set()
    ended: set[str] = set()
    last = started
    for line in _forward(lines, steps, started):
        last = max(last, line.time)
        tally.add(line)
        if not isinstance(line, Stopping):
            (begun if isinstance(line, StepStarted) else ended).add(line.step)
    if state != "running":
        for name in steps.keys() - ended:
            tally.add(_lost(steps[name], last, begun=name in begun, killed=state == "killed"))
    return tally.report()


def _forward(
    lines: Iterable[Line], steps: Collection[str], started: float
) -> Iterator[StepStarted | StepEnded | Stopping]:
    """Return what a plan with these steps did, so that nothing began before the run, or ended before it began.

    Where that stands in a journal, the clock was put back: all that follows is that much later.
    """
    begun: dict[str, float] = {}
    back = 0.0
    for line in lines:
        if isinstance(line, (Head, End)) or not (isinstance(line, Stopping) or line.step in steps):
            continue
        least = started if isinstance(line, Stopping) else begun.get(line.step, started)
        back = max(back, least - line.time)
        when = max(least, line.time + back)
        if isinstance(line, StepStarted):
            begun[line.step] = when
        if isinstance(line, StepEnded) and line.cause not in steps:
            yield msgspec.structs.replace(line, time=when, cause="")
        else:
            yield msgspec.structs.replace(line, time=when)


def _lost(step: Step, when: float, *, begun: bool, killed: bool) -> StepEnded:
    """Return the end of a step that has none in the journal."""
    unknown = begun and (step.kind in CHANGING or not killed)
    return StepEnded(
        time=when, step=step.id, outcome="unknown" if unknown else "cancelled", reason=_KILLED if killed else _GAP
    )


def _lines(file: Path) -> Iterator[Line]:
    """Return the lines that can be read; those of a newer version, and one that was cut short, are passed over."""
    with file.open("rb") as stream:
        while text := stream.readline(_MOST_LINE):
            line = _decoded(text)
            if line is not None:
                yield line


def _first_and_last(file: Path) -> tuple[Line | None, Line | None]:
    with file.open("rb") as stream:
        first = stream.readline(_MOST_LINE)
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(len(first), size - _TAIL))
        last = stream.read().rstrip(b"\n").rpartition(b"\n")[2]
    return _decoded(first), _decoded(last)


def _decoded(text: bytes) -> Line | None:
    try:
        return _LINE.decode(text)
    except _UNREADABLE:
        _log.debug("not a line of a journal: %.200r", text)
        return None


def _is_meant(entry: RunEntry, run: str) -> bool:
    return entry.run.startswith(run) or entry.run.endswith(run) or _short(entry).startswith(run)


def _short(entry: RunEntry) -> str:
    """Return the part of an id that follows its time."""
    return entry.run.partition("-")[2]


def _names(entries: list[RunEntry] | tuple[RunEntry, ...]) -> str:
    return ", ".join(entry.run for entry in entries[:_NAMED]) + (" …" if len(entries) > _NAMED else "")
