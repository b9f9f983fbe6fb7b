"""What waits for something to come of a host, in a thread or in none."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

AWAKE = 1.0
"""Seconds after which a wait looks for an interrupt: one that comes just as Python begins to wait is not seen else."""


class Ears:
    """Wakes whoever waits at whatever comes: output, room for input, an end. It has no thread."""

    def __init__(self) -> None:
        self._came: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._act: Callable[[], None] | None = None

    def set(self) -> None:
        """Hear that something has come."""
        with self._lock:
            act, self._act = self._act, None
            if act is None:
                self._came.put(None)
        if act is not None:
            act()

    def wait(self, seconds: float) -> None:
        """Wait until something has come since the last time, for so many seconds at most."""
        with contextlib.suppress(Empty):
            self._came.get(timeout=seconds)
        self._heard()

    def then(self, act: Callable[[], None]) -> None:
        """Call `act` once when something has come since the last time, on the thread that it comes by."""
        with self._lock:
            if not self._heard():
                self._act = act
                return
        act()

    def _heard(self) -> bool:
        """Return whether something has come since the last time."""
        count = self._came.qsize()
        for _ in range(count):
            self._came.get_nowait()
        return count > 0


Steps = Generator[Ears, None, T]
"""What is done step by step: each yields what the next waits for."""


def waited(steps: Steps[T]) -> T:
    """Do all steps in this thread, which waits between them."""
    with contextlib.closing(steps):
        while True:
            try:
                ears = next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            ears.wait(AWAKE)
