"""A command on hosts while it runs: which of them are at it, and what they say."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from nixhive_nb.notebook.display import show
from nixhive_nb.notebook.follow.cell import track
from nixhive_nb.notebook.follow.model import TrackedRow, TrackedView
from nixhive_nb.notebook.private import in_kernel
from nixhive_nb.notebook.run_output import AlikeHosts, RunOutput
from nixhive_nb.run.everywhere import Listener, failed, untried
from nixhive_nb.util import html
from nixhive_nb.util.text import seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TAIL = 40
"""How many of its last lines are kept of a host."""
_COMMAND = 60
"""How many characters of a command are shown."""


class _WatchedHost:
    """What is shown of a host whose turn has come."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.tail: deque[str] = deque(maxlen=TAIL)


class HostsSource:
    """The hosts of a command, as a source for `tracking.track`. Any thread may call any of it."""

    def __init__(self, names: Sequence[str], what: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the command (`what`), and a clock that gives seconds from whatever moment."""
        self._total = len(names)
        self._title = f"Running {what if len(what) <= _COMMAND else f'{what[: _COMMAND - 1]}…'}"
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._running: dict[str, _WatchedHost] = {}
        self._bad: dict[str, TrackedRow] = {}
        self._tails: dict[str, tuple[str, ...]] = {}
        self._good = 0
        self._left_out = 0
        self._thread = threading.get_ident()

    def began(self, name: str) -> None:
        """Take that the turn of a host has come."""
        with self._lock:
            self._running[name] = _WatchedHost(self._clock())

    def said(self, name: str, line: str) -> None:
        """Take a line."""
        with self._lock:
            host = self._running.get(name)
            if host is not None:
                host.tail.append(line[: html.MOST_TEXT])

    def ended(self, row: dict[str, Any]) -> None:
        """Take what came of a host."""
        name = row["instance"]
        with self._lock:
            host = self._running.pop(name, None)
            if untried(row):
                self._left_out += 1
            elif failed(row):
                tail = tuple(host.tail) if host is not None else ()
                self._bad[name] = _bad_row(row, tail)
                self._tails[name] = tail
            else:
                self._good += 1

    def view(self) -> TrackedView:
        """Return the hosts that failed and those that run; the rest is counted."""
        with self._lock:
            now = self._clock()
            rows = [*self._bad.values(), *(_running_row(name, host, now) for name, host in self._running.items())]
            counts = {"done": self._good, "failed": len(self._bad), "running": len(self._running)}
        done = counts["done"] + counts["failed"]
        counts |= {"not tried": self._left_out, "waiting": self._total - done - counts["running"] - self._left_out}
        return TrackedView(
            title=self._title,
            done=done,
            total=self._total,
            fraction=done / self._total if self._total else None,
            facts=f"{done} of {self._total} hosts · {seconds_text(now - self._began)}",
            rows=tuple(rows),
            rest=" · ".join(f"{number} {word}" for word, number in counts.items() if number),
        )

    def tail(self, row: str) -> Sequence[str]:
        """Return the last lines of a host."""
        with self._lock:
            host = self._running.get(row)
            return tuple(host.tail) if host is not None else self._tails.get(row, ())

    def cancel(self) -> None:
        """Interrupt the cell, which waits for the hosts."""
        if self._thread == threading.main_thread().ident:
            signal.pthread_kill(self._thread, signal.SIGINT)


class RunWatch(Listener):
    """Shows a `run` in progress, and what came of it; also what had come when it was interrupted."""

    def __init__(self) -> None:
        self._end = contextlib.ExitStack()
        self._names: Sequence[str] = ()
        self._rows: dict[str, dict[str, Any]] = {}

    def hosts(self, names: Sequence[str], what: str) -> None:
        """Begin."""
        self._names, self._rows = names, {}
        self._source = HostsSource(names, what)
        self._changed = self._end.enter_context(track(self._source, self._record))

    def began(self, instance: str) -> None:
        """Show that a host's turn has come."""
        self._source.began(instance)
        self._changed(None)

    def said(self, instance: str, stream: str, line: str) -> None:  # noqa: ARG002 - both stand where they came
        """Show a line."""
        self._source.said(instance, line)
        self._changed(None)

    def ended(self, row: dict[str, Any]) -> None:
        """Show what came of a host."""
        self._rows[row["instance"]] = row
        self._source.ended(row)
        self._changed(None)

    def end(self) -> None:
        """Leave what there is in the cell. Nothing, when no run had begun."""
        if not self._names:
            return
        try:
            self._end.close()
            if not in_kernel():
                show(self._record())
        finally:
            self._names, self._rows = (), {}

    def _record(self) -> RunOutput:
        return RunOutput([self._rows[name] for name in self._names if name in self._rows], len(self._names))


def _running_row(name: str, host: _WatchedHost, now: float) -> TrackedRow:
    line = host.tail[-1] if host.tail else ""
    return TrackedRow(id=name, name=name, state="● running", tone="run", seconds=now - host.began, line=line)


def _bad_row(row: dict[str, Any], tail: Sequence[str]) -> TrackedRow:
    name = row["instance"]
    line = row["error"] or (tail[-1] if tail else "")
    return TrackedRow(
        id=name, name=name, state=AlikeHosts(rows=(row,)).status(), tone="bad", seconds=row["seconds"] or 0.0, line=line
    )
