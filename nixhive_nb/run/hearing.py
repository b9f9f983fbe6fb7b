"""Who hears of a run: each listener on one thread of its own, at its own pace, and none of them touches the run."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from nixhive_nb.plan.events import Event, StepLine, StepProgress

OnEvent = Callable[[Event], None]
_log = logging.getLogger(__name__)
BEHIND = 10_000
"""Events that wait for a slow listener; beyond that it misses lines and progress, and nothing else."""


class Hearing:
    """Tells one listener every event, in order. One that raises is told nothing more: `failure` is why."""

    def __init__(self, listener: Callable[[Event], None], *, behind: int = BEHIND) -> None:
        """No thread is there before there is something to tell."""
        self.failure: BaseException | None = None
        self._listener = listener
        self._behind = behind
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._over = False

    def tell(self, event: Event) -> None:
        """Have it told, and return at once. Events come in the order of these calls."""
        with self._changed:
            if self._over or self.failure is not None:
                return
            if len(self._waiting) >= self._behind and isinstance(event, (StepLine, StepProgress)):
                return
            self._waiting.append(event)
            if self._thread is None:
                self._thread = threading.Thread(target=self._tell, name="hive-hearing", daemon=True)
                self._thread.start()
            self._changed.notify()

    def tell_now(self, event: Event) -> None:
        """Have it told before this returns, on the caller's thread."""
        if self.failure is None:
            self._hear(event)

    def end(self, timeout: float | None = None) -> bool:
        """Tell nothing more but what waits; wait for that at most `timeout` seconds, and tell whether all was heard."""
        with self._changed:
            self._over = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _tell(self) -> None:
        while (event := self._next()) is not None:
            self._hear(event)

    def _hear(self, event: Event) -> None:
        try:
            self._listener(event)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the listener's and not the run's
            _log.debug("a listener of a run failed, and hears nothing more of it", exc_info=True)
            with self._changed:
                self.failure = error
                self._waiting.clear()
                self._over = True

    def _next(self) -> Event | None:
        with self._changed:
            while not self._waiting and not self._over:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None
