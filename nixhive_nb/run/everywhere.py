"""A command of the user's on many hosts: told while it runs, a row for each host in the end."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from nixhive_nb.errors import HiveError, OptionError
from nixhive_nb.hosts.command import refusal
from nixhive_nb.util.files import file_name, make_folder, private_opener
from nixhive_nb.util.interrupts import interrupts_held
from nixhive_nb.util.kept import KEPT, LOGGED, TAIL, BoundedFile
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import line_count, strip_control, strip_lines
from nixhive_nb.util.workers import do

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nixhive_nb.hosts.command import Errand
    from nixhive_nb.hosts.password import Password
    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.pool import Connections

_log = logging.getLogger(__name__)
LONG_LINES = 40
LONG_LINE = 600
"""How many lines a cell shows of what a host said, and how many characters of a line. What is longer has a log."""
NOT_TRIED = "not tried"
"""How the error of a host begins whose turn never came, since one before it failed."""
_INTERRUPTED = "interrupted"
_GRACE = 5.0
"""Seconds that running commands have to end after an interrupt."""
_AWAKE = 1.0
"""Seconds after which a wait looks for an interrupt."""
_HOSTS_IN_MEMORY = 16
"""How many hosts may have as much in memory as one may have; of those that come after them, the end is kept."""
_OUTPUT = "output"
_ERRORS = "%stderr"
"""Stands after the name of a host, in the log of an endless standard error. No name of a file has a % so."""
_KEPT = 50
"""Of how many runs the logs are kept."""


class RunInterrupted(KeyboardInterrupt):
    """An interrupt on its way up. `rows` are of the hosts that were done, or interrupted, in the order of the hosts."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.rows = rows
        self.frame: Any = None
        """The same rows as `frames.run_frame`, a DataFrame; set by `Hive.run`."""


class Listener:
    """Hears of a run in progress; each method does nothing until it is made to.

    `began` and `said` are called on threads of the hosts, of several at once; the others on the thread of the run.
    """

    def hosts(self, names: Sequence[str], what: str) -> None:
        """Hear which hosts there are, in their order, and what runs there: the command, or `a script`."""

    def began(self, instance: str) -> None:
        """Hear that a host's turn has come."""

    def said(self, instance: str, stream: str, line: str) -> None:
        """Hear a line without terminal control. `stream` is `stdout` or `stderr`."""

    def said_lines(self, instance: str, stream: str, lines: str) -> None:
        """Hear as many lines as have come, with newlines between them. By default `said` is called for each.

        Where hosts say a lot, it is this one that a listener should have.
        """
        for line in lines.split("\n"):
            self.said(instance, stream, line)

    def ended(self, row: dict[str, Any]) -> None:
        """Hear what came of a host: a row of `frames.run_frame`, with the path of its log as `log`.

        `whole` has the path of each stream, `stdout` or `stderr`, that is more than the row holds.
        """


class _Guarded(Listener):
    """Tells a listener of progress until it raises, and then nothing more: what runs on hosts takes no notice."""

    def __init__(self, listener: Listener, warn: Callable[[str], None]) -> None:
        self._listener = listener
        self._warn = warn
        self._deaf = False

    def hosts(self, names: Sequence[str], what: str) -> None:
        self._tell(lambda: self._listener.hosts(names, what))

    def began(self, instance: str) -> None:
        self._tell(lambda: self._listener.began(instance))

    def said_lines(self, instance: str, stream: str, lines: str) -> None:
        self._tell(lambda: self._listener.said_lines(instance, stream, lines))

    def ended(self, row: dict[str, Any]) -> None:
        self._tell(lambda: self._listener.ended(row))

    def _tell(self, what: Callable[[], None]) -> None:
        if self._deaf:
            return
        try:
            what()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the hosts' fault
            _log.debug("showing what hosts say", exc_info=True)
            self._deaf = True
            with swallowed(_log, "warning of that", Exception):
                self._warn(f"What hosts say cannot be shown any more: {str(error) or type(error).__name__}.")


def run_everywhere(
    connections: Connections,
    names: Sequence[str],
    errand: Errand,
    *,
    parallel: int,
    timeout: float | None = None,
    each: bool = False,
    logs: Path | None = None,
    listener: Listener | None = None,
    spill: Path | None = None,
    output: int = KEPT,
    log: int = LOGGED,
    warn: Callable[[str], None] = lambda _: None,
    elevate: Mapping[str, Sequence[str]] | None = None,
    passwords: Mapping[str, Password] | None = None,
    powerless: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Run a command on each instance, `parallel` at once, and give the rows of `frames.run_frame` in their order.

    `timeout` is in seconds, for one host. With `each` it is one host after the other, up to the first that fails; the
    rest have rows that say so. `logs` (see `places`) is where long outputs are kept. An interrupt ends what runs and
    goes on up as `RunInterrupted`. A listener that raises hears nothing more, of which `warn` is told; what runs takes
    no notice. Raises `OptionError` for a timeout that is none.

    Of each stream of a host, `output` bytes are in its row; of a longer one the beginning and the end, and below
    `spill` a log of up to `log` bytes has all of it. What is in memory of all hosts together is bounded as well, by
    `_HOSTS_IN_MEMORY` times as much. `elevate` has how root is become, for instances where that is not by sudo,
    and `passwords` what sudo is told where it asks for one. Those that are `powerless` are asked nothing: why, is told.
    """
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout <= threading.TIMEOUT_MAX):
        raise OptionError(f"--timeout {timeout}: it must be more than 0 seconds, and no more than can be waited for.")
    heard = _Guarded(listener or Listener(), warn)
    heard.hosts(names, errand.what)
    kept = OutputLogs(logs or spill, log=log, all_long=logs is not None)
    run = _HostsRun(connections, errand, timeout, kept, heard, output=output, is_heard=listener is not None)
    run.elevate, run.passwords, run.powerless = elevate or {}, passwords or {}, powerless or {}
    try:
        if each:
            run.one_by_one(names)
        else:
            run.side_by_side(names, parallel)
    except KeyboardInterrupt:
        raise RunInterrupted([run.rows[name] for name in names if name in run.rows]) from None
    return [run.rows[name] for name in names]


def failed(row: dict[str, Any]) -> bool:
    """Return whether the command of a host did not end well."""
    return bool(row["error"]) or row["exit_code"] != 0


def untried(row: dict[str, Any]) -> bool:
    """Return whether a host's turn never came."""
    return str(row["error"]).startswith(NOT_TRIED)


class OutputLogs:
    """Keeps what is too long to be shown: `output/TIME-ID/INSTANCE.log`, for us alone (0600) or for a team."""

    def __init__(self, folder: Path | None, *, log: int = LOGGED, all_long: bool = True) -> None:
        """Nothing is written until something is long; without a folder, nothing at all.

        `all_long`: also what a cell does not show, and not only what is more than is kept in memory. A log of what is
        more has up to `log` bytes.
        """
        self._parent = folder / _OUTPUT if folder is not None else None
        self._most = log
        self._all_long = all_long
        self._made: Path | None = None
        self._guard = threading.Lock()

    def endless(self, instance: str) -> EndlessLogs:
        """Return what takes the streams of a host that are more than is kept in memory."""
        return EndlessLogs(self._folder, file_name(instance), self._most)

    def keep(self, row: dict[str, Any]) -> str:
        """Return the path of the log of a row; empty for one that is short, or cannot be kept."""
        whole = row.get("whole")
        if whole:
            return str(whole.get("stdout") or whole["stderr"])
        out, errors = row["stdout"], row["stderr"]
        if self._parent is None or not self._all_long or not _is_long(out, errors):
            return ""
        try:
            file = self._folder() / f"{file_name(row['instance'])}.log"
            with open(file, "x", encoding="utf-8", errors="replace", opener=private_opener) as log:
                log.write(out)
                if errors and out and not out.endswith("\n"):
                    log.write("\n")
                log.write(errors)
        except OSError:
            _log.debug("%s: its output cannot be kept", row["instance"], exc_info=True)
            return ""  # the DataFrame has it
        return str(file)

    def _folder(self) -> Path:
        with self._guard:
            if self._parent is None:
                raise FileNotFoundError
            if self._made is None:
                make_folder(self._parent)
                for old in sorted(self._parent.iterdir())[: -(_KEPT - 1)]:
                    shutil.rmtree(old, ignore_errors=True)
                stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
                made = self._parent / f"{stamp}-{secrets.token_hex(3)}"
                self._made = make_folder(made)
            return self._made


class EndlessLogs:
    """The logs of one host whose streams are more than is kept in memory: a file for each such stream, as it came."""

    def __init__(self, folder: Callable[[], Path], name: str, most: int) -> None:
        """Use `OutputLogs.endless`."""
        self._folder = folder
        self._name = name
        self._most = most
        self._files: dict[str, BoundedFile] = {}
        self._guard = threading.Lock()

    def take(self, stream: str, data: bytes) -> str:
        """Write some bytes, and give the path; empty where they cannot be kept."""
        with self._guard:
            file = self._files.get(stream)
            if file is None:
                try:
                    folder = self._folder()
                except OSError:
                    _log.debug("no folder for the output of %s", self._name, exc_info=True)
                    return ""
                ending = _ERRORS if stream == "stderr" else ""
                file = self._files[stream] = BoundedFile(folder / f"{self._name}{ending}.log", self._most)
        return file.add(data)

    def close(self) -> dict[str, str]:
        """Return the path of each stream that has a log, and let go of them."""
        with self._guard:
            for file in self._files.values():
                file.close()
            return {stream: str(file.path) for stream, file in self._files.items() if file.path.is_file()}


class _HostsRun:
    """One command on its way to all of its hosts."""

    def __init__(
        self,
        connections: Connections,
        errand: Errand,
        timeout: float | None,
        logs: OutputLogs,
        listener: Listener,
        *,
        output: int,
        is_heard: bool,
    ) -> None:
        self._connections = connections
        self._is_heard = is_heard
        """Whether somebody wants lines as they come: cutting output into lines takes longer than all else."""
        self._errand = errand
        self._timeout = timeout
        self._logs = logs
        self._listener = listener
        self._output = output
        self._left = _HOSTS_IN_MEMORY * output
        """What may still be kept in memory."""
        self._endless: dict[str, EndlessLogs] = {}
        self.elevate: Mapping[str, Sequence[str]] = {}
        self.passwords: Mapping[str, Password] = {}
        self.powerless: Mapping[str, str] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self._calls: dict[str, Call] = {}
        """What goes on."""
        self._futures: dict[str, Future[dict[str, Any]]] = {}
        self._ended: SimpleQueue[Future[dict[str, Any]]] = SimpleQueue()
        self._stopping = False

    def side_by_side(self, names: Sequence[str], parallel: int) -> None:
        with self._ended_with_us():
            self._begin(names, parallel)
            for _ in names:
                self._take(self._next())

    def one_by_one(self, names: Sequence[str]) -> None:
        with self._ended_with_us():
            for at, name in enumerate(names):
                self._begin([name], 1)
                self._take(self._next())
                if failed(self.rows[name]):
                    for later in names[at + 1 :]:
                        self._take(_row(later, error=f"{NOT_TRIED}, since {name} failed"))
                    return

    @contextlib.contextmanager
    def _ended_with_us(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            for future in self._futures.values():
                future.cancel()
            self._stop()
            # Whoever heard of the rows is what failed, unless it is an interrupt.
            if isinstance(error, KeyboardInterrupt):
                self._take_the_rest()
            raise

    def _begin(self, names: Sequence[str], parallel: int) -> None:
        """Have so many threads go from host to host until there are no more."""
        waiting = deque(names)
        for name in names:
            future = self._futures[name] = Future()
            future.add_done_callback(self._ended.put)

        def go_on() -> None:
            with contextlib.suppress(IndexError):  # of the deque: what hosts raise is in their futures
                while True:
                    name = waiting.popleft()
                    do(self._futures[name], partial(self._run_one, name))

        self._connections.expect(names)
        self._connections.workers.keep(parallel)  # for the next run
        with interrupts_held():  # else some could run, and nobody know of them
            for _ in range(min(parallel, len(names))):
                self._connections.workers.submit(go_on)

    def _next(self) -> dict[str, Any]:
        """Wait for the next host that is done, and give its row.

        An interrupt that comes just as Python begins to wait is not seen before the wait ends: so no wait is long.
        """
        while True:
            with contextlib.suppress(Empty):
                return self._ended.get(timeout=_AWAKE).result()

    def _take(self, row: dict[str, Any]) -> None:
        endless = self._endless.pop(row["instance"], None)
        row["whole"] = endless.close() if endless is not None else {}
        row["log"] = self._logs.keep(row)
        self._left -= len(row["stdout"]) + len(row["stderr"])
        self.rows[row["instance"]] = row
        self._listener.ended(row)

    def _stop(self) -> None:
        """End what runs on hosts, and wait a moment for that."""
        self._stopping = True
        for name, call in tuple(self._calls.items()):
            call.end_aside(_INTERRUPTED)
            if not self._connections.is_open(name):
                self._connections.abort(name)  # it is still logging in
        wait([future for future in self._futures.values() if not future.cancelled()], timeout=_GRACE)

    def _take_the_rest(self) -> None:
        """Take what has come of the hosts whose turn had come."""
        for name, future in self._futures.items():
            if name in self.rows or future.cancelled():
                continue
            if not future.done():
                self._take(self._heard(name, f"{name}: {_INTERRUPTED}. What ran there may still run."))
            elif future.exception() is None:
                self._take(future.result())

    def _run_one(self, name: str) -> dict[str, Any]:
        self._listener.began(name)
        began = time.monotonic()
        if why := self.powerless.get(name):
            return _row(name, error=f"{name}: {why.removeprefix(f'{name}: ')}")
        elevate = self.elevate.get(name, ())
        try:
            by = self._errand.elevation_for(elevate, self.passwords.get(name))
            ended = self._connections.run(
                name,
                self._errand.command_by(by),
                stdin=self._errand.stdin_by(by),
                timeout=self._timeout,
                on_call=lambda call: self._note(name, call),
                ending=self._errand.ending,
            )
            why = refusal(self._errand, ended, elevate)
            if why:
                return self._heard(name, f"{name}: {why}", time.monotonic() - began)
        except HiveError as error:
            return self._heard(name, str(error), time.monotonic() - began)
        finally:
            self._calls.pop(name, None)
        seconds = time.monotonic() - began
        return _row(name, ended.exited, seconds=seconds, stdout=ended.stdout, stderr=ended.stderr)

    def _said(self, name: str) -> Callable[[str, str], None]:
        return lambda stream, lines: self._listener.said_lines(name, stream, strip_lines(lines))

    def _note(self, name: str, call: Call) -> None:
        self._calls[name] = call
        # A command that could not be sent is tried again, and has said nothing yet.
        endless = self._endless[name] = self._logs.endless(name)
        call.bound(min(self._output, max(TAIL, self._left)), endless.take)
        call.rests = True
        if self._is_heard:
            call.hear(self._said(name))
        if self._stopping:
            call.end(_INTERRUPTED)

    def _heard(self, name: str, error: str, seconds: float | None = None) -> dict[str, Any]:
        """Return the row of a command that did not run to its end, with what it had said."""
        call = self._calls.get(name)
        said = (call.stdout.text(), call.stderr.text()) if call is not None else ("", "")
        return _row(name, error=error, seconds=seconds, stdout=said[0], stderr=said[1])


def _row(
    name: str,
    exit_code: int | None = None,
    *,
    error: str = "",
    seconds: float | None = None,
    stdout: str = "",
    stderr: str = "",
) -> dict[str, Any]:
    return {
        "instance": name,
        "exit_code": exit_code,
        "seconds": seconds,
        "stdout": strip_control(stdout),
        "stderr": strip_control(stderr),
        "error": strip_control(error),
    }


def _is_long(*texts: str) -> bool:
    if sum(map(line_count, texts)) > LONG_LINES:
        return True
    return any(len(line) > LONG_LINE for text in texts for line in text.split("\n"))
