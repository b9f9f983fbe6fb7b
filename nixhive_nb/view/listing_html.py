"""A listing as HTML, in the looks of all that a cell keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.util import html
from nixhive_nb.view.words import COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.view.listing import Cell, Column, Ink, Section, Snippet, Table


def listing_html(table: Table, *, wide: bool = False) -> str:
    """Return a table as HTML: the headline, the columns that say something, and the lines below."""
    if table.rows or not table.empty:
        parts = [head_html(table)] if table.headline else []
        parts += [table_html(table, wide=wide)] if table.columns else []
    else:
        parts = [f"<div>{html.escaped(table.empty)}</div>"]
    return "".join([*parts, *map(_snippet, table.snippets), *map(_note, table.notes)])


def head_html(table: Table) -> str:
    """Return the headline with what is to know beside it, and the line below."""
    head = html.head(html.escaped(table.headline), map(html.escaped, table.facts), _colour(table.tone))
    ways = f"<div>{html.dim(html.escaped(' · '.join(table.ways)))}</div>" if table.ways else ""
    return head + ways


def table_html(table: Table, *, wide: bool = False) -> str:
    """Return the columns that say something, without headline and notes."""
    shown = table.shown(wide=wide)
    columns = [table.columns[at] for at in shown]
    rows = (row for section in table.sections for row in _rows(section, columns, shown))
    return html.table([(html.escaped(column.name), column.number) for column in columns], rows)


def _rows(section: Section, columns: list[Column], shown: list[int]) -> Iterator[str]:
    if section.title:
        yield html.across(f"<b>{html.escaped(section.title)}</b>", len(columns))
    for row in section.rows:
        yield "".join(_cell(column, row.cells[at]) for column, at in zip(columns, shown, strict=True))


def _cell(column: Column, cell: Cell) -> str:
    text = html.escaped(cell.text)
    if cell.whole:
        text = f'<span title="{html.escaped(cell.whole)}">{text}</span>'
    told = html.coloured(_colour(cell.tone), text) if cell.tone and text else text
    return html.cell(told, number=column.number, prose=column.prose)


def _snippet(snippet: Snippet) -> str:
    title = html.coloured(_colour(snippet.tone), html.escaped(snippet.title, most=2000))
    return f"<div>{title}</div>{_lines(snippet) if snippet.lines else ''}"


def _lines(snippet: Snippet) -> str:
    return html.block("\n".join(html.escaped(line, most=2000) for line in snippet.lines))


def _note(note: Cell) -> str:
    told = html.escaped(note.text, most=2000)
    return html.note(told) if note.tone in ("", "dim") else f"<div>{html.coloured(_colour(note.tone), told)}</div>"


def _colour(tone: Ink) -> str:
    return COLOURS[tone] if tone else ""
