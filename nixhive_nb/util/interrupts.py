"""Interrupts (Ctrl-C, SIGTERM, SIGHUP): seen soon by whoever waits, held back where half a beginning would be left."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    """Hold interrupts back until this is left: for what takes no time. Only the main thread ever gets one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in INTERRUPTS}
    held = {one: action for one, action in before.items() if action not in (None, signal.SIG_IGN)}
    heard: list[tuple[int, Any]] = []
    for one in held:
        signal.signal(one, lambda *told: heard.append(told))
    try:
        yield
    finally:
        for one, action in held.items():
            signal.signal(one, action)
        if heard:
            _pass_on(heard[0], held[signal.Signals(heard[0][0])])


class Caught:
    """The interrupts of a program of ours: SIGTERM and SIGHUP are such, too, unless they are ignored (`nohup`)."""

    def __init__(self) -> None:
        """Take them from here on. In the main thread."""
        self.first: int | None = None
        """The number of the first."""
        for one in INTERRUPTS:
            if signal.getsignal(one) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(one, self._hear)

    def _hear(self, number: int, frame: Any) -> None:  # noqa: ANN401 - a frame of Python's
        self.first = self.first or number
        signal.default_int_handler(number, frame)


def _pass_on(told: tuple[int, Any], action: Any) -> None:  # noqa: ANN401 - what `signal` takes
    if callable(action):
        action(*told)
    else:
        signal.raise_signal(told[0])
