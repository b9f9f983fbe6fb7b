"""A listing as a value: the headline, the columns, and rows of cells with what they mean.

What a face shows of anything that has rows is one of these, composed once (`status.py`, `tables.py`, `plan.py` …).
`listing_text.py` makes text of it, fitted to a screen; `listing_html.py` makes HTML. A cell holds text for people:
short paths, sizes, durations. Whole values are in the DataFrame, and in `--json` and `--csv`.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from nixhive_nb.util.said import is_moment
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.words import Tone

if TYPE_CHECKING:
    from collections.abc import Sequence

Ink = Tone | Literal[""]
"""What a cell means, which a face may show as a colour. It is never in the colour alone."""
_STORE = "/nix/store/"
_HASH = 32
"""How long the hash in the name of a store path is."""
_SHOWN = 8


class Cell(msgspec.Struct, frozen=True, gc=False):
    """What stands in a row below one column."""

    text: str = ""
    tone: Ink = ""
    whole: str = ""
    """The whole of what `text` has in short, such as a store path."""


class Column(msgspec.Struct, frozen=True):
    """What the cells of a column have in common."""

    name: str
    rank: int = 0
    """Where it is narrow, columns of a higher rank go first, and those of rank 0 stay."""
    number: bool = False
    """It stands to the right."""
    prose: bool = False
    """It may be broken into lines."""
    below: bool = False
    """Prose for which there is no room stands below its row."""
    cut: bool = False
    """Its end may be left out where it is narrow."""
    wide: bool = False
    """It is shown only where all columns are asked for."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A cell for each column."""

    cells: tuple[Cell, ...]
    kind: str = ""
    """What rows that are not shown are counted by."""


class Section(msgspec.Struct, frozen=True):
    """Rows that belong together."""

    rows: tuple[Row, ...]
    title: str = ""


class Snippet(msgspec.Struct, frozen=True):
    """Lines to copy, which nothing breaks, and what they are for."""

    title: str
    lines: tuple[str, ...]
    tone: Ink = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A listing. Columns in which no row has anything are not shown, but for the first."""

    headline: str = ""
    tone: Ink = ""
    facts: tuple[str, ...] = ()
    """What is to know beside the headline."""
    ways: tuple[str, ...] = ()
    """What stands in a line of its own below the headline."""
    columns: tuple[Column, ...] = ()
    sections: tuple[Section, ...] = ()
    snippets: tuple[Snippet, ...] = ()
    """What stands below the table, with lines to copy."""
    notes: tuple[Cell, ...] = ()
    """Lines below the table."""
    empty: str = ""
    """The sentence that stands in place of a table without rows."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows."""
        return tuple(row for section in self.sections for row in section.rows)

    def shown(self, *, wide: bool = False) -> list[int]:
        """Return the places of the columns that have something to say."""
        rows = self.rows
        return [
            at
            for at, column in enumerate(self.columns)
            if (wide or not column.wide) and (not at or any(row.cells[at].text for row in rows))
        ]

    def cut(self, most: int) -> Table:
        """Return it with at most so many rows, and a line that counts the others."""
        rows = self.rows
        if len(rows) <= most:
            return self
        left, sections = most, []
        for section in self.sections:
            if left > 0:
                sections.append(Section(section.rows[:left], section.title))
            left -= len(section.rows)
        counts = Counter(row.kind for row in rows[most:] if row.kind)
        more = f": {', '.join(f'{number} {kind}' for kind, number in counts.items())}" if counts else ""
        note = Cell(f"… and {len(rows) - most} more{more}", "dim")
        return msgspec.structs.replace(self, sections=tuple(sections), notes=(note, *self.notes))


def listing(rows: Sequence[Row]) -> tuple[Section, ...]:
    """Return rows as the one section of a table."""
    return (Section(tuple(rows)),)


def plain(text: object) -> str:
    """Return text from elsewhere in one line, without terminal control."""
    return " ".join(strip_control(str(text)).split())


def short_path(path: str) -> str:
    """Return a store path in short: `9k2fabcd…-nixos-system-www`."""
    name = strip_control(path.removeprefix(_STORE))
    key, dash, rest = name.partition("-")
    return f"{key[:_SHOWN]}…-{rest}" if dash and len(key) == _HASH else name


def path_cell(path: str) -> Cell:
    """Return the cell of a store path."""
    return Cell(short_path(path), "dim", path)


def moment_text(when: float | None) -> str:
    """Return a moment of UTC to the minute, empty where it is not known: `2026-11-27 22:57`."""
    return "" if when is None or not is_moment(when) else datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M")
