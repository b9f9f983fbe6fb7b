"""Local programs: the only file that starts one, beside `lifeline`.

Each runs in a session of its own, so that an interrupt of the terminal or of the kernel reaches us and not it; we end
it ourselves, also when this process exits, and `lifeline` does when this process is killed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import logging
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import HiveError, MissingProgram, TookTooLong
from nixhive_nb.util import lifeline
from nixhive_nb.util.kept import KEPT, Cutter, Kept
from nixhive_nb.util.redaction import redact, redact_words
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO

_LAST_SECONDS = 0.5
"""How long a program on our terminal has to end after an interrupt."""
_GRACE = 3.0
"""Seconds that a program has to end by itself when it is told to."""
_AGAIN = 0.25
"""Seconds after which it is told once more: Nix (seen with 2.8) misses a signal that comes just before it waits."""
LINE_LIMIT = 64 * 1024 * 1024
"""Longest line in bytes: a build log may come as one line of many megabytes."""

_CHUNK = 65536

_HINTS = {
    "nix": "Debian: apt-get install nix-bin. Elsewhere: https://nixos.org/download",
    "ssh": "Debian: apt-get install openssh-client",
    "scp": "Debian: apt-get install openssh-client",
}
_NOT_FOR_CHILDREN = ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PAGER")
_WORDS = 2000
"""Characters of the words of a program that the log has: Nix gets the paths of a whole closure."""
_SAID = 1500
"""Characters of what a failed program wrote that the log has."""
_log = logging.getLogger(__name__)
_running: set[int] = set()
_noted: dict[int, _LoggedProgram] = {}


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A program that ended: its exit status (negative: the signal), and what it wrote."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: ours, without what makes programs colour their output (kernels set that)."""
    env = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}
    return {**env, "TERM": "dumb", **(extra or {})}


def missing(program: str) -> MissingProgram:
    """Return the error for a program that is not installed, with the way to get it."""
    family = "nix" if program.startswith("nix") else program
    hint = _HINTS.get(family, f"Install {program}.")
    return MissingProgram(f"The program '{program}' is not installed or not on PATH. {hint}")


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    most: int = KEPT,
    on_stderr: Callable[[str], None] | None = None,
) -> Finished:
    """Run a short program to its end and give what it wrote. `timeout` in seconds.

    `on_stderr` gets each line of its errors as it comes.
    Of its errors, what is more than `most` bytes is left out. Raises `MissingProgram` when it is not installed,
    `TookTooLong`, and `HiveError` when it prints more than `most` bytes: it is ended then.
    """
    process = subprocess.Popen(
        _words(argv),
        env=environment(env),
        stdin=lifeline.descriptor(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    noted = _LoggedProgram(argv, process.pid, env)
    with _tracked(process.pid):
        try:
            out, err = _communicate(process, argv, timeout, most, on_stderr)
        except BaseException as error:
            _end(process, _GRACE)
            noted.killed(error)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TookTooLong(f"{' '.join(argv[:2])} took longer than {timeout:g} s, and was ended.") from None
            raise
        finally:
            with process:  # closes its pipes, and waits
                pass
    finished = Finished(argv=tuple(argv), status=process.returncode, stdout=out, stderr=err)
    noted.ended(finished.status, finished.stderr)
    return finished


def run_attached(argv: Sequence[str]) -> int:
    """Run a program on our own terminal (`ssh`, `scp`) and give its exit status."""
    if shutil.which(argv[0]) is None:
        raise missing(argv[0])
    process = subprocess.Popen(lifeline.words_attached(argv))
    lifeline.hold(process.pid)  # where there is no /proc
    noted = _LoggedProgram(argv, process.pid)
    try:
        status = process.wait()
    except BaseException as error:
        # An interrupt of the terminal has reached it as well.
        with swallowed(_log, f"waiting for {argv[0]} after an interrupt", subprocess.TimeoutExpired):
            process.wait(_LAST_SECONDS)
        process.kill()
        noted.killed(error)
        raise
    finally:
        process.wait()
        lifeline.release(process.pid)
    noted.ended(status)
    return status


def start(argv: Sequence[str], *, socket: int | None = None, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program that runs beside us, until `end`. `socket` is its input and output; `stderr` is a file.

    Raises `MissingProgram` when it is not installed.
    """
    process = subprocess.Popen(
        _words(argv, stdin="</dev/null" if socket is None else "<&1"),
        env=environment(),
        stdin=lifeline.descriptor(),
        stdout=subprocess.DEVNULL if socket is None else socket,
        stderr=stderr,
        start_new_session=True,
    )
    _running.add(process.pid)
    _noted[process.pid] = _LoggedProgram(argv, process.pid)
    return process


def end(process: subprocess.Popen[bytes], *, grace: float = 1.0) -> None:
    """End a program of `start` and all that it started: SIGTERM to its session, SIGKILL after `grace` seconds."""
    if process.pid not in _running:
        return  # ended before; the number may be another program's by now
    try:
        _end(process, grace)
    finally:
        process.wait()
        _untrack(process.pid)
        noted = _noted.pop(process.pid, None)
        if noted is not None:
            noted.ended(process.returncode)


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to a program of `start` and all that it started, and wait for nothing: `end` it later."""
    if process.pid in _running and process.poll() is None:
        _end_group(process.pid, signal.SIGTERM)


async def stream(
    argv: Sequence[str],
    *,
    on_stderr: Callable[[str], None] | None = None,
    on_stdout: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Finished:
    """Run a program, hand each line of its outputs on as it comes, and give the whole at the end.

    `on_start` gets its process id.
    Cancelling the task ends the program and all that it started: SIGTERM to its session, SIGKILL after 3 seconds.
    """
    with contextlib.closing(_ErrorPipe()) as errors:
        return await _streamed(argv, errors, on_stderr, on_stdout, env=env, on_start=on_start)


async def _streamed(
    argv: Sequence[str],
    errors: _ErrorPipe,
    on_stderr: Callable[[str], None] | None,
    on_stdout: Callable[[str], None] | None,
    *,
    env: Mapping[str, str] | None,
    on_start: Callable[[int], None] | None,
) -> Finished:
    process = await asyncio.create_subprocess_exec(
        *_words(argv),
        env=environment(env),
        stdin=lifeline.descriptor(),
        stdout=asyncio.subprocess.PIPE,
        stderr=errors.writer,
        start_new_session=True,
    )
    noted = _LoggedProgram(argv, process.pid, env)
    if on_start is not None:
        on_start(process.pid)

    async def status_of() -> int:
        ended = await process.wait()
        errors.end()
        return ended

    def too_much() -> HiveError:
        _kill(process.pid)
        return _too_much(argv[0], KEPT)

    with _tracked(process.pid):
        try:
            out, err, status = await asyncio.gather(
                _lines(process.stdout, on_stdout, too_much), _lines(await errors.reader(), on_stderr), status_of()
            )
        except BaseException as error:
            await _stop(process)
            noted.killed(error)
            raise
    noted.ended(status, err)
    return Finished(argv=tuple(argv), status=status, stdout=out, stderr=err)


def _words(argv: Sequence[str], *, stdin: str = "</dev/null") -> list[str]:
    if shutil.which(argv[0]) is None:
        raise missing(argv[0])
    return lifeline.words(argv, stdin=stdin)


class _ErrorPipe:
    """The pipe of a program's standard error. It stays one that a writer waits for.

    OpenSSH makes its own standard error non-blocking, which is that of the Nix that started it. Nix (seen with 2.26)
    drops each line that finds such a pipe full, and later ones drop all that follow. So the writing end is kept here,
    too, and whenever something was read that is undone; the pipe is large enough for what comes before the first time.
    """

    _BYTES = 1024 * 1024

    def __init__(self) -> None:
        self._reading, self.writer = os.pipe()
        self._transport: asyncio.ReadTransport | None = None
        self._open = True
        with swallowed(_log, "making a pipe large", OSError):  # the user may have a lot of them
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, self._BYTES)

    async def reader(self) -> asyncio.StreamReader:
        """Return what reads it. Called once."""
        reader = asyncio.StreamReader()
        reading = os.fdopen(self._reading, "rb", buffering=0)
        self._reading = -1
        protocol = _Undoing(reader, self)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, reading)
        return reader

    def undo(self) -> None:
        """Have writers wait where the pipe is full."""
        if self._open:
            os.set_blocking(self.writer, True)

    def end(self) -> None:
        """Let go of the writing end: when all others have as well, the reader comes to the end."""
        if self._open:
            self._open = False
            os.close(self.writer)

    def close(self) -> None:
        """Let go of both ends."""
        self.end()
        if self._reading >= 0:
            os.close(self._reading)
        if self._transport is not None:
            self._transport.close()


class _Undoing(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader, pipe: _ErrorPipe) -> None:
        super().__init__(reader)
        self._pipe = pipe

    def data_received(self, data: bytes) -> None:
        self._pipe.undo()
        super().data_received(data)


class _LoggedProgram:
    """A program that was started, as the log has it: when it starts, and when and how it ends."""

    def __init__(self, argv: Sequence[str], pid: int, env: Mapping[str, str] | None = None) -> None:
        self._argv = argv
        self._pid = pid
        self._begun = time.monotonic()
        if _log.isEnabledFor(logging.DEBUG):
            extra = "".join(f"{name}={shlex.quote(value)} " for name, value in (env or {}).items())
            words = redact_words(self._argv)
            more = f" ... {len(words) - _WORDS:,} more characters" if len(words) > _WORDS else ""
            _log.debug("started %s: %s%s%s", pid, redact(extra), words[:_WORDS], more)

    def ended(self, status: int, said: str = "") -> None:
        """Note its end; of one that failed, also what it wrote at last."""
        if _log.isEnabledFor(logging.DEBUG):
            words = f". It wrote:\n{said[-_SAID:].strip()}" if status and said.strip() else ""
            seconds = time.monotonic() - self._begun
            _log.debug("ended %s: %s, exit status %s after %.2f s%s", self._pid, self._argv[0], status, seconds, words)

    def killed(self, error: BaseException) -> None:
        """Note that we ended it, and why."""
        seconds = time.monotonic() - self._begun
        _log.debug("killed %s: %s after %.2f s: %s", self._pid, self._argv[0], seconds, type(error).__name__)


async def _lines(
    reader: asyncio.StreamReader | None,
    consume: Callable[[str], None] | None,
    too_much: Callable[[], HiveError] | None = None,
) -> str:
    """Hand the lines of a stream on, or give it. Where all or nothing is wanted, `too_much` ends the program."""
    if reader is None:  # pragma: no cover - both outputs are pipes
        return ""
    kept, cutter = Kept(KEPT), Cutter(most=LINE_LIMIT)
    failure: HiveError | None = None
    while True:
        data = await reader.read(_CHUNK)
        if consume is None:
            kept.add(data)
            if kept.is_cut and too_much is not None and failure is None:
                failure = too_much()  # and on to the end of it
        else:
            for line in cutter.feed(data, last=not data):
                consume(line)
        if not data:
            break
    if failure is not None:
        raise failure
    return kept.ended()


def _communicate(
    process: subprocess.Popen[bytes],
    argv: Sequence[str],
    timeout: float | None,
    most: int,
    on_stderr: Callable[[str], None] | None,
) -> tuple[str, str]:
    """Read all that a program writes, and wait for its end."""
    cutter = Cutter(most=LINE_LIMIT)
    until = None if timeout is None else time.monotonic() + timeout
    kept = {process.stdout: Kept(most), process.stderr: Kept(most)}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type] # both are pipes
        while selector.get_map():
            left = None if until is None else until - time.monotonic()
            ready = [] if left is not None and left <= 0 else selector.select(left)
            if left is not None and not ready:
                raise subprocess.TimeoutExpired(list(argv), timeout or 0)
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                kept[key.fileobj].add(data)  # type: ignore[index]
                if on_stderr is not None and key.fileobj is process.stderr:
                    for line in cutter.feed(data, last=not data):
                        on_stderr(line)
                if not data:
                    selector.unregister(key.fileobj)
            if kept[process.stdout].is_cut:
                raise _too_much(argv[0], most)
        process.wait(None if until is None else max(0.0, until - time.monotonic()))
    return kept[process.stdout].ended(), kept[process.stderr].ended()


def _too_much(program: str, most: int) -> HiveError:
    return HiveError(f"{program} printed more than {size_text(most)}: it was ended.")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a program of `stream`, and all that it started."""
    ended = asyncio.ensure_future(process.wait())
    try:
        for _ in range(_times(_GRACE)):
            _end_group(process.pid, signal.SIGTERM)
            await asyncio.wait([ended], timeout=_AGAIN)
            if ended.done():
                return
    finally:
        _kill(process.pid, has_ended=ended.done())
        # Its pipes are of this loop, which may be closed next.
        await asyncio.wait([ended], timeout=1)


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a program of `start` or `run`, and all that it started."""
    try:
        for _ in range(_times(grace)):
            _end_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_AGAIN)
                return
    finally:
        _kill(process.pid, has_ended=process.poll() is not None)


def _times(grace: float) -> int:
    """How often a program is told to end."""
    return max(1, round(grace / _AGAIN))


@contextlib.contextmanager
def _tracked(pid: int) -> Iterator[None]:
    _running.add(pid)
    try:
        yield
    finally:
        _untrack(pid)


def _untrack(pid: int) -> None:
    _running.discard(pid)
    lifeline.release(-pid)


def _end_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError), swallowed(_log, f"ending {pid}", PermissionError):
        os.killpg(pid, number)


def _kill(pid: int, *, has_ended: bool = False) -> None:
    """Kill the group of a program; and of one that has not ended what is in other sessions, as builders of Nix are."""
    below = [] if has_ended else _hold(pid)
    if not has_ended:
        _log.debug("killed %s, and what it started: %s", pid, below)
    _end_group(pid, signal.SIGKILL)
    for one in below:
        _tell(one, signal.SIGKILL)


def _hold(pid: int) -> list[int]:
    """Stop a process and all below it, and return these: what is not stopped goes on starting others while we look."""
    held: dict[int, None] = {}
    new = [pid]
    while new:
        for one in new:
            _tell(one, signal.SIGSTOP)
        held.update(dict.fromkeys(new))
        new = [one for one in _below(pid) if one not in held]
    return [one for one in held if one != pid]


def _tell(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError), swallowed(_log, f"ending {pid}", PermissionError):
        os.kill(pid, number)


def _below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those have; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - each of thousands
        if name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


@atexit.register
def _end_all() -> None:
    for pid in tuple(_running):
        _kill(pid)
