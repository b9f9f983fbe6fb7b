"""Threads that are there at once, however many are wanted, and of which a few are kept for the next time."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Work = tuple["Future[Any]", "Callable[[], Any]"]


class Workers:
    """Does work in threads: in one that waits for work, or in a new one, so that none queues behind another.

    It is for work that waits for others. Python's own pools either have work wait for a thread, or keep as many as were
    ever wanted.
    """

    def __init__(self, name: str, *, kept: int = 32) -> None:
        """`kept` threads wait for more work when there is none; the others end. They do not keep Python from ending."""
        self._name = name
        self._kept = kept
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = 0
        self._closed = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have it done at once, and give what comes of it."""
        future: Future[T] = Future()
        self.begin(future, work)
        return future

    def begin(self, future: Future[T], work: Callable[[], T]) -> None:
        """Have it done at once; the future gets what comes of it."""
        with self._lock:
            waiting = self._idle > 0
            self._idle -= waiting
        self._queue.put((future, work))
        if not waiting:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def close(self) -> None:
        """End the threads that wait; those at work end with it. What is begun after that is done all the same."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._queue.put(None)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            do(*task)
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
