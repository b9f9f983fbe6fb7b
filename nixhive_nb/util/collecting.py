"""Python's search for circular garbage: seldom, while very many objects are made that are in no circle.

The search looks at all that is alive, again and again while more is made: of ten thousand instances, a third of the
time that their run takes. All of Python shares one search, so that it is only put off: garbage is found somewhat later.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SELDOM = (50_000, 20, 100)
"""After so many new objects, and so many smaller searches each, as `gc.set_threshold` takes them."""


class _Seldom:
    """How often Python searches, while any number of threads want it to be seldom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = gc.get_threshold()

    def begin(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._before = gc.get_threshold()
            if 0 < self._before[0] < _SELDOM[0]:  # whoever has switched it off, or wants it more seldom, has his way
                gc.set_threshold(*_SELDOM)

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and gc.get_threshold() == _SELDOM:
                gc.set_threshold(*self._before)


_seldom = _Seldom()


@contextlib.contextmanager
def collected_seldom() -> Iterator[None]:
    """Have Python search for circular garbage seldom during a block, and afterwards as often as before."""
    _seldom.begin()
    try:
        yield
    finally:
        _seldom.end()
