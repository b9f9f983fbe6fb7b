"""The rows of a picker, and what they look like: in its table, and as JSON for the page of its widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from nixhive_nb.util import html
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.words import look_of

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMED = 8
"""How many names the line about the selection shows."""
HEADER = ("", "instance", "system", "tags", "via", "runs")

_Text = TypeVar("_Text", str, tuple[str, ...])


class PickerRow(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that can be picked."""

    instance: str
    system: str
    tags: tuple[str, ...]
    via: str
    """The jump hosts that it is reached through; empty for none."""
    runs: str = ""
    """How it stands to what is wanted, one of `plan.standing.STANDINGS`; empty when that is not known."""


def selection_line(names: Sequence[str]) -> str:
    """Return the line about the names that are selected, and what can be done with them."""
    return f"{selected(names)} → %hive deploy @picked" if names else selected(names)


def selected(names: Sequence[str]) -> str:
    """Return in words which names are selected."""
    if not names:
        return "Nothing is selected."
    order = ", in this order" if len(names) > 1 else ""
    return f"{len(names):,} selected{order}: {listed(names)}"


def compact(rows: Sequence[PickerRow]) -> dict[str, Any]:
    """Return the rows as JSON for the page: each text once, and for each row the places of its texts.

    `names` are as they are, since they come back; those that cannot be shown so have their text in `plain`, by place.
    `sets` are the sets of tags that occur, each as places in `tags`; `runs` are objects of text, symbol, tone.
    Row n is names[n], systems[system[n]], sets[set[n]], vias[via[n]] and runs[run[n]].
    """
    names = [row.instance for row in rows]
    systems, system = _coded([one_line(row.system) for row in rows])
    vias, via = _coded([one_line(row.via) for row in rows])
    texts, run = _coded([one_line(row.runs) for row in rows])
    sets, tags_of = _coded([tuple(dict.fromkeys(map(one_line, row.tags))) for row in rows])
    tags, _ = _coded([tag for one in sets for tag in one])
    places = {tag: place for place, tag in enumerate(tags)}
    shown = ((place, name, one_line(name)) for place, name in enumerate(names))
    return {
        "names": names,
        "plain": {str(place): text for place, name, text in shown if text != name},
        "systems": systems,
        "system": system,
        "tags": tags,
        "sets": [[places[tag] for tag in one] for one in sets],
        "set": tags_of,
        "vias": vias,
        "via": via,
        "runs": [_run(text) for text in texts],
        "run": run,
    }


def _coded(values: Sequence[_Text]) -> tuple[list[_Text], list[int]]:
    """Return the values that differ, in order, and for each value its place among them."""
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return list(places), [places[value] for value in values]


def _run(text: str) -> dict[str, str]:
    look = look_of(text)
    return {"text": text, "symbol": look.symbol, "tone": look.tone}


def one_line(text: str) -> str:
    """Return a text without what could not be shown, in one line."""
    return " ".join(strip_control(text).split())


def short(text: str, most: int = 60) -> str:
    """Return the beginning of a text that is too long for a cell."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cells(row: PickerRow, mark: str) -> dict[str, str]:
    """Return the texts of a row by column, and the colour of what it runs."""
    run = one_line(row.runs)
    look = look_of(run)
    return {
        "": mark,
        "instance": one_line(row.instance),
        "system": one_line(row.system),
        "tags": " ".join(map(one_line, row.tags)),
        "via": one_line(row.via),
        "runs": f"{look.symbol} {run}".strip(),
        "colour": look.colour,
    }


def cell(name: str, row: dict[str, str]) -> str:
    """Return one of the texts of a row as a cell of HTML."""
    text = html.escaped(row[name], most=60)
    colour = row["colour"] if name == "runs" else html.DIM if name == "tags" else ""
    return html.cell(html.coloured(colour, text) if colour and text else text)


def listed(names: Sequence[str]) -> str:
    """Return some names, and how many more there are."""
    shown = ", ".join(short(one_line(name)) for name in names[:NAMED])
    return shown + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
