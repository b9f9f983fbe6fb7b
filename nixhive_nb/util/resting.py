"""How long to rest after work that is done again and again, so that it takes a small part of the time at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARE = 9
"""Rest for so many times what the work took: a tenth of the time is work."""


class Resting:
    """Measures work, and says how long to rest after it.

    What took long once is no measure: the first time imports what is needed, and a machine that stood still for a
    while is counted as work. After that, a rest of nine times as long would be taken for a run that hangs.
    """

    def __init__(self, worked: Callable[[], float]) -> None:
        """`worked` is the clock of the work: seconds, from whatever moment."""
        self._worked = worked
        self._began = self._before = 0.0

    def begin(self) -> None:
        """Take that the work begins."""
        self._began = self._worked()

    def end(self) -> float:
        """Take that the work has ended; return for how many seconds to rest."""
        took = self._worked() - self._began
        usual, self._before = min(took, self._before), took
        return _SHARE * usual
