"""One wish to log in, which another thread may end wherever it is."""

from __future__ import annotations

import threading
from typing import Protocol, TypeVar

_POLL = 0.2


class Cancelled(Exception):  # noqa: N818 - a signal between our threads, never shown
    """What was under way was given up by `abort`."""


class Breakable(Protocol):
    """What a login waits for."""

    def break_(self, reason: str = "") -> None:
        """End it from any thread, without waiting."""


B = TypeVar("B", bound=Breakable)


class Attempt:
    """One wish to log in. `cancel` ends it from another thread, wherever it is."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._held: Breakable | None = None

    def cancel(self) -> None:
        """End it without waiting."""
        self.cancelled.set()
        held = self._held
        if held is not None:
            held.break_()

    def hold(self, breakable: B) -> B:
        """Return what is waited for from here on, which `cancel` breaks. Raises `Cancelled`."""
        self._held = breakable
        # `cancel` finds it from here on; before, it had set the event.
        if self.cancelled.is_set():
            breakable.break_()
            raise Cancelled
        return breakable


class Slot:
    """Holds one place of a semaphore; the wait for it ends with `Cancelled` when the event is set."""

    def __init__(self, semaphore: threading.Semaphore, cancel: threading.Event) -> None:
        self._semaphore = semaphore
        self._cancel = cancel

    def __enter__(self) -> None:
        while not self._semaphore.acquire(timeout=_POLL):
            if self._cancel.is_set():
                raise Cancelled

    def __exit__(self, *_: object) -> None:
        self._semaphore.release()
