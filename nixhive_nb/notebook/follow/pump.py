"""What shows things while they run: a thread of its own, seldom, and only with news."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from nixhive_nb.util.resting import Resting
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds between two updates of an output that is HTML."""


class Pump:
    """A thread that publishes when something has changed, and then pauses.

    It works for a tenth of its time at most: a large fleet is shown more seldom, and does not get in the way.
    """

    def __init__(
        self,
        publish: Callable[[], None],
        *,
        pause: float = PAUSE,
        first: float | None = None,
        idle: float | None = None,
        ended: threading.Event | None = None,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        """`publish` is called on the thread of the pump alone.

        `pause` is the seconds between two calls, `first` those before the first one. With `idle`, it is called after
        so many seconds also when nothing has changed.
        """
        self._publish = publish
        self.pause = pause
        self._first = pause if first is None else first
        self._idle = idle
        self._changed = threading.Event()
        self._ended = ended or threading.Event()
        self._resting = Resting(worked)
        self._thread = threading.Thread(target=self._work, name="hive-display", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def note(self, _: object = None) -> None:
        """Take notice that something has changed. Quick, and safe on any thread."""
        self._changed.set()

    def stop(self) -> None:
        """End; when this returns, nothing more is published."""
        self._ended.set()
        self._changed.set()
        self._thread.join()

    def _work(self) -> None:
        pause = self._first
        while not self._ended.wait(pause):
            self._changed.wait(self._idle)
            self._changed.clear()
            self._resting.begin()
            if not self._ended.is_set():
                # A view that cannot be made is no reason to fail; what broke the run itself is told by `Run.report`.
                with swallowed(_log, "showing a run", Exception):
                    self._publish()
            pause = max(self.pause, self._resting.end())
