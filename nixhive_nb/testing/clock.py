"""A time of its own: an event loop in which waiting takes no time."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from heapq import heappop, heappush
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = count()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        """Loops of this clock that run, by their threads."""

    def time(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._start + self.elapsed

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait for so long: as `asyncio.sleep`, for half of what that costs where the loop is one of this clock."""
        # asyncio's own way to the loop asks the system for the process each time, which costs as much as all else here.
        loop = self._loops.get(get_ident())
        if seconds <= 0 or loop is None:
            await asyncio.sleep(seconds)
            return
        awake: asyncio.Future[None] = loop.create_future()
        heappush(self._sleepers, (self.elapsed + seconds, next(self._arrivals), awake))
        await awake

    def wake(self, within: float | None) -> bool:
        """Move on to the next who sleeps, and wake who sleeps until then; tell whether there is one in that time."""
        sleepers = self._sleepers
        while sleepers and sleepers[0][2].done():
            heappop(sleepers)  # it was cancelled
        if not sleepers or (within is not None and sleepers[0][0] > self.elapsed + within):
            return False
        self.elapsed = max(self.elapsed, sleepers[0][0])
        while sleepers and sleepers[0][0] <= self.elapsed:
            awake = heappop(sleepers)[2]
            if not awake.done():
                awake.set_result(None)
        return True

    @contextlib.contextmanager
    def running(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Have a loop run in this time in this thread."""
        self._loops[get_ident()] = loop
        try:
            yield
        finally:
            del self._loops[get_ident()]

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return a new event loop that lives in this time."""
        return _Loop(self)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_Selector(clock))

    def run_forever(self) -> None:
        with self._virtual.running(self):
            super().run_forever()

    def time(self) -> float:
        return self._virtual.elapsed


class _Selector(selectors.PollSelector):
    """Moves time on where a loop would wait for its next timer. Without a timer it waits, for another thread."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # What other threads call stands in the queue of the loop already: the system knows no more, and asking costs.
        self._turns += 1
        if self._turns >= _TURNS:
            self._turns = 0
            if ready := super().select(0):
                return ready
        if timeout == 0 or self._clock.wake(timeout):
            return []
        if timeout is None:
            return super().select(None)
        self._clock.advance(timeout)
        return []
