"""Interrupts (Ctrl-C): seen soon by whoever waits, and held back where half a beginning would be left."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AWAKE = 1.0
"""Seconds after which a wait looks for an interrupt."""


def wait_awake(wait: Callable[[float], bool], timeout: float | None = None) -> bool:
    """Wait in short pieces, at most `timeout` seconds; tell whether what is waited for has come.

    `wait` waits for the seconds that it is given. An interrupt that comes just as Python begins to wait is not seen
    before that wait ends.
    """
    until = None if timeout is None else time.monotonic() + timeout
    while until is None or (left := until - time.monotonic()) > _AWAKE:
        if wait(_AWAKE):
            return True
    return wait(max(0.0, left))


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold an interrupt back until this is left: for what takes no time. Only the main thread ever gets one."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    heard: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda *told: heard.append(told))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard and callable(before):
            before(*heard[0])
