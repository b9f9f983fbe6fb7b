"""A time of its own: an event loop in which waiting takes no time."""

from __future__ import annotations

import asyncio
import selectors

_TURNS = 16
"""How many times the loop may turn before it empties the pipe that other threads wake it by."""
START = 1_767_225_600.0
"""When a simulated time begins, if nothing else is said: 2026-01-01 00:00 UTC."""


class VirtualClock:
    """A time that moves on only when all wait, and then at once.

    Give both halves to a run: `Run(…, clock=clock.time, loop_factory=clock.loop)`. It goes on from run to run.
    """

    def __init__(self, start: float = START) -> None:
        """`start` is in seconds since the epoch."""
        self._start = start
        self.elapsed = 0.0

    def time(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._start + self.elapsed

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.elapsed += seconds

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return a new event loop that lives in this time."""
        return _Loop(self)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._virtual.elapsed


class _Selector(selectors.PollSelector):
    """Moves time on where a loop would wait for its next timer. Without a timer it waits, for another thread."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        # What other threads call stands in the queue of the loop already: the system knows no more, and asking costs.
        self._turns += 1
        if self._turns >= _TURNS:
            self._turns = 0
            if ready := super().select(0):
                return ready
        if timeout > 0:
            self._clock.advance(timeout)
        return []
