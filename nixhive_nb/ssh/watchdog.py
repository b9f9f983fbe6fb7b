"""Deadlines that hold: paramiko's own do not fire while a server is stalled."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)
_ENOUGH = 256
"""So many deadlines are kept before it is seen which of them are over."""


class Limit:
    """One deadline. `expired` tells that it passed, and so that its action was taken."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.expired = False
        self._lock = threading.Lock()
        self._action: Callable[[], None] | None = action

    def fire(self) -> None:
        """Take the action, unless the work was done before."""
        with self._lock:
            action, self._action = self._action, None
            self.expired = self.expired or action is not None
        if action is not None:
            action()

    @property
    def is_over(self) -> bool:
        """Whether its action was taken, or will not be."""
        return self._action is None

    def done(self) -> None:
        """Say that the work is done; from here on the action is not taken."""
        with self._lock:
            self._action = None


class Watchdog:
    """Takes an action when its time has come, in one thread for any number of deadlines. The thread starts when needed.

    An action must not block: closing a socket, setting an event. The owner calls `close`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[tuple[float, int, Limit]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._enough = _ENOUGH

    @contextlib.contextmanager
    def limit(self, seconds: float | None, action: Callable[[], None]) -> Iterator[Limit]:
        """Take `action` unless the block ends within `seconds`; None for no limit."""
        limit = self.after(seconds, action)
        try:
            yield limit
        finally:
            limit.done()

    def after(self, seconds: float | None, action: Callable[[], None]) -> Limit:
        """Take `action` in `seconds`, unless `done` is called on the result before; None for never."""
        limit = Limit(action)
        if seconds is not None:
            with self._changed:
                entry = (time.monotonic() + seconds, next(self._numbers), limit)
                self._forget_some()
                heapq.heappush(self._entries, entry)
                self._start()
                if self._entries[0] is entry:  # else it wakes in time as it is
                    self._changed.notify()
        return limit

    def close(self) -> None:
        """End the thread. What is pending is forgotten."""
        with self._changed:
            self._closed = True
            self._entries.clear()
            self._changed.notify()

    def _forget_some(self) -> None:
        """Let go of what is over, now and then: commands come faster than their deadlines pass."""
        if len(self._entries) > self._enough:
            self._entries[:] = [entry for entry in self._entries if not entry[2].is_over]
            heapq.heapify(self._entries)
            self._enough = max(_ENOUGH, 2 * len(self._entries))

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._watch, name="hive-watchdog", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while not self._closed:
            limit = self._next()
            if limit is not None:
                try:
                    limit.fire()
                except Exception:  # noqa: BLE001 - whatever it is
                    # The other deadlines hold all the same.
                    _log.debug("the action of a deadline failed", exc_info=True)

    def _next(self) -> Limit | None:
        """Return the deadline that has passed; None after a wait that ended for another reason."""
        with self._changed:
            if self._closed:
                return None
            wait = self._entries[0][0] - time.monotonic() if self._entries else None
            if wait is None or wait > 0:
                self._changed.wait(None if wait is None else min(wait, threading.TIMEOUT_MAX))
                return None
            return heapq.heappop(self._entries)[2]
