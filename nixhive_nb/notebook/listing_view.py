"""A listing as a cell shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.notebook.bundle import Bundle
from nixhive_nb.notebook.pump import in_kernel
from nixhive_nb.view.listing_html import listing_html
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.screen import ENDLESS, Screen, screen_of

if TYPE_CHECKING:
    from nixhive_nb.view.listing import Table

ROWS = 50
"""A notebook keeps what it shows, whatever the size of the fleet."""


class ListingView(Bundle):
    """A listing of which a cell shows the beginning; the value of the command has all of it."""

    def __init__(self, table: Table, *, wide: bool = False) -> None:
        """Show `table`; `wide` has all its columns."""
        self.table = table.cut(ROWS)
        self.wide = wide

    def text(self) -> str:
        """Return it as a table of text, in a terminal fitted to that."""
        return listing_text(self.table, screen(), wide=self.wide)

    def html(self) -> str:
        """Return it as a table."""
        return listing_html(self.table, wide=self.wide)


def screen() -> Screen:
    """Return what text is shown on: a terminal where this is one, without its colours; else what has no width."""
    return ENDLESS if in_kernel() else Screen(width=screen_of().width)
