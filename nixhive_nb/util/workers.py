"""Threads that are there at once, however many are wanted, and of which a few are kept for the next time."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Waking(Protocol):
    """What steps wait for between two of them."""

    def then(self, act: Callable[[], None]) -> None:
        """Call `act` once, from whatever thread, when something has come; at once where that was before."""


class Workers:
    """Does work in threads: in one that waits for work, or in a new one, so that none queues behind another.

    It is for work that waits for others. Python's own pools either have work wait for a thread, or keep as many as were
    ever wanted.
    """

    def __init__(self, name: str, *, kept: int = 4) -> None:
        """`kept` threads wait for more work when there is none; the others end. They do not keep Python from ending."""
        self._name = name
        self._kept = kept
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = 0
        self._closed = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have it done at once, and give what comes of it."""
        future: Future[T] = Future()
        self.begin(future, work)
        return future

    def begin(self, future: Future[T], work: Callable[[], T]) -> None:
        """Have it done at once; the future gets what comes of it."""
        self._do(lambda: do(future, work))

    def drive(self, steps: Generator[Waking, None, T]) -> Future[T]:
        """Have steps done one after another, and give what the last returns; no thread waits between two of them.

        Each yields what it is that the next waits for.
        """
        future: Future[T] = Future()

        def go_on() -> None:
            try:
                waking = next(steps)
            except StopIteration as end:
                future.set_result(end.value)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
                _log.debug("work in a thread failed", exc_info=True)
                future.set_exception(error)
            else:
                waking.then(lambda: self._do(go_on))

        def begin() -> None:
            if future.set_running_or_notify_cancel():
                go_on()

        self._do(begin)
        return future

    def keep(self, kept: int) -> None:
        """Let so many threads wait for more work from here on, and no more: those that are too many end."""
        with self._lock:
            self._kept = kept
            many = max(0, self._idle - kept)
            self._idle -= many
        for _ in range(many):
            self._queue.put(None)

    def close(self) -> None:
        """End the threads that wait; those at work end with it. What is begun after that is done all the same."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._queue.put(None)

    def _do(self, work: Callable[[], None]) -> None:
        """Have it done at once; it raises nothing."""
        with self._lock:
            waiting = self._idle > 0
            self._idle -= waiting
        self._queue.put(work)
        if not waiting:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task()
            del task  # what it holds is not kept while we wait
            with self._lock:
                if self._closed or self._idle >= self._kept:
                    return
                self._idle += 1


def do(future: Future[Any], work: Callable[[], Any]) -> None:
    """Do work, and have a future tell what came of it; nothing is done where that was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
        _log.debug("work in a thread failed", exc_info=True)
        future.set_exception(error)
    else:
        future.set_result(result)
