"""A sign of life where no terminal shows progress: a line whenever nothing was said for a minute.

CI ends a job that says nothing for long, and a person who reads its log wants to know what it waits for.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from nixhive_nb.util import streams
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

EVERY = 60.0
_doing: list[Callable[[], str]] = []
"""What reports progress; the last one knows best."""


@contextlib.contextmanager
def doing(words: Callable[[], str]) -> Iterator[None]:
    """Have a sign of life say this during the block."""
    _doing.append(words)
    try:
        yield
    finally:
        _doing.remove(words)


@contextlib.contextmanager
def beating(every: float = EVERY) -> Iterator[None]:
    """Report progress on standard error whenever nothing was written for so many seconds."""
    over = threading.Event()
    began = time.monotonic()
    thread = threading.Thread(target=_beat, args=(over, every, began), name="hive-pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _beat(over: threading.Event, every: float, began: float) -> None:
    while not over.wait(max(0.0, max(began, streams.last_written()) + every - time.monotonic())):
        if time.monotonic() - max(began, streams.last_written()) >= every and _doing:
            said = ""
            with swallowed(_log, "asking what is in progress", Exception):  # it may end just now
                said = _doing[-1]()
            streams.write(f"{said or 'it is running'}\n", error=True)
