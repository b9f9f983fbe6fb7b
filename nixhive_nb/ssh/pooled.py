"""What is held of one host: its connection, who uses it, and what ends when that is broken off."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from nixhive_nb.ssh.attempt import Attempt, Cancelled
from nixhive_nb.ssh.config import SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.ssh.opened import Opened


class PooledHost:
    """What we hold of one host."""

    def __init__(self, name: str, *, urgent: bool = False) -> None:
        self.name = name
        self.urgent = urgent
        """Whether its login waits for no other."""
        self.opening = threading.Semaphore(1)
        self.sessions = threading.Semaphore(SESSIONS)
        self.opened: Opened | None = None
        self.attempt = Attempt()
        """What whoever begins now belongs to; `abort` ends it and makes another for those who begin later."""
        self.logging_in = False
        self._users = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Have it count as not idle during the block."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1

    def is_idle(self) -> bool:
        """Return whether it has a connection that nobody uses."""
        opened = self.opened
        return not self._users and not self.logging_in and opened is not None and not opened.busy

    def is_busy(self) -> bool:
        """Return whether a session or a tunnel is open in its connection."""
        opened = self.opened
        return opened is not None and opened.busy

    def last_heard(self) -> float:
        """Return when something was heard from it at last, by the monotonic clock."""
        opened = self.opened
        return opened.heard if opened is not None else 0.0

    def keep(self, opened: Opened, attempt: Attempt) -> Opened:
        """Keep a connection for the next commands, unless its attempt was ended meanwhile."""
        with self._lock:
            if not attempt.cancelled.is_set():
                self.opened = opened
                return opened
        opened.close()
        raise Cancelled

    def drop(self, opened: Opened | None) -> None:
        """Close a connection, and keep it no longer."""
        with self._lock:
            if self.opened is opened:
                self.opened = None
        if opened is not None:
            opened.close()

    def close(self) -> None:
        """Close what is open."""
        self.drop(self.opened)

    def end(self) -> None:
        """Close what is open for good: whoever begins later, or tries again just now, is given up."""
        with self._lock:
            attempt = self.attempt
            attempt.cancelled.set()
        self.close()
        attempt.cancel()

    def abort(self, reason: str) -> None:
        """End what is under way, without waiting."""
        with self._lock:
            attempt, self.attempt = self.attempt, Attempt()
            attempt.cancelled.set()
            opened = self.opened
        if opened is not None:
            opened.break_(reason)
        attempt.cancel()
