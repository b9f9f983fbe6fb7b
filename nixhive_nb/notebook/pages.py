"""Which pages can show widgets of ours: those that have said so.

A page is what the kernel knows of it: the session of its messages. It says hello when the extension has been loaded
(`hello`), and when it has made a widget; a kernel that is busy hears that later: nothing waits for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 5.0
"""Seconds in which a page says hello to a kernel that has nothing else to do."""
HINT = (
    "This page cannot show the picker and the tracker: install anywidget where Jupyter itself runs "
    "(pip install anywidget), and reload the page. Without, %config Hive.widgets = 'none'."
)


class Pages:
    """The pages that were met."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of none. `clock` gives seconds, from whatever moment."""
        self._clock = clock
        self._ended: float | None = None
        self._heard: set[str] = set()
        self._asked: set[str] = set()
        self._silent: set[str] = set()
        self._told: set[str] = set()

    def heard(self) -> None:
        """Take that the page whose message this is can show widgets."""
        self._heard.add(here())

    def shows(self, page: str) -> bool:
        """Return whether a page has said that it can."""
        return page in self._heard

    def ask(self, page: str) -> None:
        """Take that a page was given a widget, and may say hello."""
        self._asked.add(page)

    def cell_begins(self, *_: object) -> None:
        """Take that a cell begins: who has said nothing though the kernel was idle says nothing."""
        if self._ended is not None and self._clock() - self._ended >= PATIENCE:
            self._silent |= self._asked

    def cell_ends(self, *_: object) -> None:
        """Take that a cell has ended."""
        self._ended = self._clock()

    def hint(self, page: str) -> str:
        """Return, once a page, what is to be installed for it; empty where nothing is, or that is not known."""
        if page not in self._silent - self._heard - self._told:
            return ""
        self._told.add(page)
        return HINT


pages = Pages()


def show_hint(page: str) -> None:
    """Show in the cell what is to be installed for a page, once, where that is known."""
    words = pages.hint(page)
    if words:
        from nixhive_nb.notebook.display import Hint, show  # noqa: PLC0415 - views, which few cells need

        show(Hint(words))


def here() -> str:
    """Return the page whose message the kernel is at; empty outside of a kernel."""
    kernel: Any = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel is not None else {}
    return str((parent or {}).get("header", {}).get("session", ""))
