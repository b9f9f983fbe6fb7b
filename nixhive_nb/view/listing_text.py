"""A listing as text, fitted to a screen: columns that matter less go, prose is broken, a headline between words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from nixhive_nb.util.text import strip_control
from nixhive_nb.view.listing import Cell
from nixhive_nb.view.screen import ENDLESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nixhive_nb.view.listing import Column, Row, Table, Tone
    from nixhive_nb.view.screen import Screen

_GAP = "  "
_LEAST_PROSE = 28
_LEAST_CUT = 20
"""How narrow a column may become before another one goes."""
_FEWEST = 8
_CODES: dict[Tone, str] = {"": "", "ok": "32", "warn": "33", "bad": "31", "run": "36", "dim": "2"}
_BOLD = "1"


def listing_text(table: Table, screen: Screen = ENDLESS, *, wide: bool = False) -> str:
    """Return a table as text for a screen. `wide` shows all columns whole, however long the lines become."""
    lines = [*_head(table, screen)]
    if table.rows:
        lines += _body(table, screen, wide=wide)
    elif table.empty:
        lines.append(table.empty)
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
    rows = table.rows
    indent = _GAP if any(section.title for section in table.sections) else ""
    room = None if screen.width is None or wide else screen.width - len(indent)
    widths = _fitted(table.columns, rows, table.shown(wide=wide), room)
    header = [Cell(column.name) for column in table.columns]
    yield indent + _painted(_lines(table.columns, header, widths, None)[0], "dim", screen)
    for section in table.sections:
        if section.title:
            yield from (_painted(line, "", screen, bold=True) for line in wrapped(section.title, screen.width))
        for row in section.rows:
            yield from (f"{indent}{line}" for line in _lines(table.columns, row.cells, widths, screen))


def _fitted(columns: Sequence[Column], rows: Sequence[Row], shown: list[int], room: int | None) -> dict[int, int]:
    """Return how wide each column is that is shown, by its place."""
    natural = {at: max(len(columns[at].name), *(len(row.cells[at].text) for row in rows)) for at in shown}
    if room is None:
        return natural
    while True:
        least = {at: min(width, _least(columns[at])) for at, width in natural.items()}
        going = max(natural, key=lambda at: (columns[at].rank, at))
        if _total(least) <= room or not columns[going].rank:
            return _shrunk(columns, natural, room)
        del natural[going]


def _least(column: Column) -> int:
    least = _LEAST_PROSE if column.prose else _LEAST_CUT if column.cut else 0
    return max(least, len(column.name)) if least else 10**9


def _shrunk(columns: Sequence[Column], widths: Mapping[int, int], room: int) -> dict[int, int]:
    """Return the widths with the widest that may give way made as narrow as there is need; names give way last."""
    found = dict(widths)
    for may in (
        [at for at in found if columns[at].prose or columns[at].cut],
        list(found),
    ):
        while may and (over := _total(found) - room) > 0:
            widest = max(may, key=lambda at: found[at])
            rest = max((found[at] for at in may if at != widest), default=0)
            least = max(_FEWEST, _least(columns[widest]) if columns[widest].prose or columns[widest].cut else _FEWEST)
            if found[widest] <= least:
                break
            found[widest] = max(least, min(found[widest] - 1, max(found[widest] - over, rest)))
    return found


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


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


def _painted(text: str, tone: Tone, screen: Screen, *, bold: bool = False) -> str:
    codes = ";".join(filter(None, [_BOLD if bold else "", _CODES[tone]]))
    return f"\x1b[{codes}m{text}\x1b[0m" if screen.colour and codes and text else text
