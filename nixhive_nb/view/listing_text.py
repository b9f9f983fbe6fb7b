"""A listing as text, fitted to a screen: columns that matter less go, prose is broken, a headline between words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from nixhive_nb.util.text import strip_control
from nixhive_nb.view.listing import Cell
from nixhive_nb.view.screen import ENDLESS
from nixhive_nb.view.words import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nixhive_nb.view.listing import Column, Ink, Row, Table
    from nixhive_nb.view.screen import Screen

_GAP = "  "
_LEAST_PROSE = 38
_LEAST_CUT = 20
"""How narrow a column may become before another one goes."""
_NARROW_PROSE = 20
"""How narrow prose may become before names are cut."""
_FEWEST = 8
_WIDEST = 10**9
_BELOW = "    "
"""What stands before the lines below a row."""
_CODES = {"green": "32", "yellow": "33", "red": "31", "blue": "34", "dim": "2"}
"""How a terminal is told of a style."""
_BOLD = "1"


def listing_text(table: Table, screen: Screen = ENDLESS, *, wide: bool = False) -> str:
    """Return a table as text for a screen. `wide` shows all columns whole, however long the lines become."""
    if table.rows or not table.empty:
        lines = [*_head(table, screen), *(_body(table, screen, wide=wide) if table.columns else ())]
    else:
        lines = [table.empty]
    for snippet in table.snippets:
        lines += ["", *(_painted(line, snippet.tone, screen) for line in wrapped(snippet.title, screen.width))]
        # Who copies them wants them whole, whatever the screen makes of a long one.
        lines += [f"{_BELOW}{strip_control(line)}" for line in snippet.lines]
    if table.snippets and table.notes:
        lines.append("")
    for note in table.notes:
        lines += [_painted(line, note.tone, screen) for line in wrapped(note.text, screen.width)]
    return "\n".join(lines)


def wrapped(text: str, width: int | None) -> list[str]:
    """Return a text in lines of at most so many characters, broken between words."""
    plain = strip_control(text)
    if width is None or len(plain) <= width:
        return plain.split("\n")
    return textwrap.wrap(
        plain, width, subsequent_indent=_GAP, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def _head(table: Table, screen: Screen) -> Iterator[str]:
    """Yield the lines of the headline, what stands beside it, and the line below."""
    if not table.headline:
        return
    facts = f"  ({' · '.join(table.facts)})" if table.facts else ""
    whole = f"{table.headline}{facts}"
    if screen.width is None or len(whole) <= screen.width:
        yield _painted(strip_control(table.headline), table.tone, screen, bold=True) + strip_control(facts)
    else:
        for line in wrapped(table.headline, screen.width):
            yield _painted(line, table.tone, screen, bold=True)
        if table.facts:
            yield from wrapped(f"{_GAP}({' · '.join(table.facts)})", screen.width)
    if table.ways:
        yield from wrapped(" · ".join(table.ways), screen.width)


def _body(table: Table, screen: Screen, *, wide: bool) -> Iterator[str]:
    """Yield the lines of the columns that have room, with the titles of sections between them."""
    columns, rows = table.columns, table.rows
    indent = _GAP if any(section.title for section in table.sections) else ""
    room = None if screen.width is None or wide else screen.width - len(indent)
    shown = table.shown(wide=wide)
    below = [at for at in shown if columns[at].below]
    widths = _natural(columns, rows, shown)
    if room is not None and _total(widths.values()) > room:
        widths = _fitted(columns, {at: width for at, width in widths.items() if at not in below}, room)
    else:
        below = []
    yield indent + _painted(_lines(columns, [Cell(one.name) for one in columns], widths, None)[0], "dim", screen)
    for section in table.sections:
        if section.title:
            yield from (_painted(line, "", screen, bold=True) for line in wrapped(section.title, screen.width))
        for row in section.rows:
            yield from (f"{indent}{line}" for line in _lines(columns, row.cells, widths, screen))
            for cell in (row.cells[at] for at in below if row.cells[at].text):
                told = (_painted(line, cell.tone, screen) for line in wrapped(cell.text, (room or 0) - len(_BELOW)))
                yield from (f"{indent}{_BELOW}{line}" for line in told)


def _natural(columns: Sequence[Column], rows: Sequence[Row], shown: list[int]) -> dict[int, int]:
    """Return how wide each column is that is shown, by its place."""
    return {at: max([len(columns[at].name), *(len(row.cells[at].text) for row in rows)]) for at in shown}


def _fitted(columns: Sequence[Column], widths: dict[int, int], room: int) -> dict[int, int]:
    """Return the widths of the columns for which there is room."""
    found = dict(widths)
    while True:
        going = max(found, key=lambda at: (columns[at].rank, at))
        least = (min(width, _least(columns[at])) for at, width in found.items())
        if _total(least) <= room or not columns[going].rank:
            return _shrunk(columns, found, room)
        del found[going]


def _least(column: Column) -> int:
    """Return how narrow a column may become before another one goes."""
    return _LEAST_PROSE if column.prose else _LEAST_CUT if column.cut else _WIDEST


def _shrunk(columns: Sequence[Column], widths: Mapping[int, int], room: int) -> dict[int, int]:
    """Return the widths made as narrow as there is need: ends that may be cut first, then prose, and names last."""
    found = dict(widths)
    for floor, may in (
        (_LEAST_CUT, [at for at in found if columns[at].cut]),
        (_LEAST_PROSE, [at for at in found if columns[at].prose]),
        (_NARROW_PROSE, [at for at in found if columns[at].prose]),
        (_FEWEST, list(found)),
    ):
        while _total(found.values()) > room and (wide := [at for at in may if found[at] > floor]):
            found[max(wide, key=lambda at: found[at])] -= 1
    return found


def _total(widths: Iterable[int]) -> int:
    known = list(widths)
    return sum(known) + len(_GAP) * (len(known) - 1)


def _lines(
    columns: Sequence[Column], cells: Sequence[Cell], widths: Mapping[int, int], screen: Screen | None
) -> list[str]:
    """Return a row as lines: more than one where prose is broken. Without a screen nothing is painted."""
    pieces = {at: _pieces(columns[at], cells[at].text, width) for at, width in widths.items()}
    lines = []
    for number in range(max(map(len, pieces.values()))):
        parts = []
        for at, width in widths.items():
            text = pieces[at][number] if number < len(pieces[at]) else ""
            blanks = " " * (width - len(text))
            told = _painted(text, cells[at].tone, screen) if screen is not None else text
            parts.append(f"{blanks}{told}" if columns[at].number else f"{told}{blanks}")
        lines.append(_GAP.join(parts).rstrip())
    return lines


def _pieces(column: Column, text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    if column.prose:
        return textwrap.wrap(text, width, break_on_hyphens=False)
    return [f"{text[: width - 1]}…"]


def _painted(text: str, tone: Ink, screen: Screen, *, bold: bool = False) -> str:
    codes = ";".join(filter(None, [_BOLD if bold else "", _CODES[STYLES[tone]] if tone else ""]))
    return f"\x1b[{codes}m{text}\x1b[0m" if screen.colour and codes and text else text
