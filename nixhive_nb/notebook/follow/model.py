"""What is followed in a cell, as values, and how a page without widgets shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from nixhive_nb.notebook.display import Bundle
from nixhive_nb.util import html
from nixhive_nb.util.text import seconds_text
from nixhive_nb.view.words import COLOURS, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = 20
"""How many rows the HTML shows. The widget shows a few more."""
STOPPING = "Stopping…"


class TrackedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a view has a row for."""

    id: str
    """One of its kind in the view; it stays as long as the row is about the same thing."""
    name: str
    """An instance, a store or a system."""
    state: str
    """A symbol and words: `● fetching`, `✕ fetch failed`, `✓ exit status 0`."""
    tone: Tone
    fraction: float | None = None
    """How far it is, from 0 to 1; None for no bar."""
    amount: str = ""
    """In words: `27.1 MB of 60.2 MB`."""
    seconds: float = 0.0
    line: str = ""
    """Its last line, or the reason."""


class TrackedWave(msgspec.Struct, frozen=True, kw_only=True):
    """A wave of instances: how many of them are done, how many failed."""

    label: str
    done: int
    failed: int
    total: int


class TrackedView(msgspec.Struct, frozen=True, kw_only=True):
    """What is in progress, at one moment."""

    title: str
    done: int
    total: int
    fraction: float | None
    """How far the whole is, from 0 to 1; None for no bar."""
    facts: str
    """What stands beside the title: counts, bytes, time."""
    waves: tuple[TrackedWave, ...] = ()
    rows: tuple[TrackedRow, ...]
    """Those that matter, the most important first: there may be more than are shown."""
    rest: str
    """What is counted only: `1 done · 0 waiting`."""
    stopping: bool = False
    """Whether it was asked to end."""
    cancelling: str = "Nothing more is started; activations in progress are finished."
    """What happens when it is cancelled."""
    leaving: str = "Activations in progress are not waited for: how they end will not be known."
    """What happens when it is cancelled once more."""
    told_by: str = ""
    """The command that tells how it ended, should nobody see it end here; empty where none does."""


class Followable(Protocol):
    """What can be followed. Any thread may call any of it."""

    def view(self) -> TrackedView:
        """Return where it is now."""

    def tail(self, row: str) -> Sequence[str]:
        """Return the last lines of a row, the newest last; none for a row that there is not."""

    def cancel(self) -> None:
        """End early: the first time in good order, the second time at once. Quick."""


class PlainView(Bundle):
    """A view as HTML and text, for a page without widgets."""

    def __init__(self, view: TrackedView) -> None:
        """Show `view`."""
        self.view = view

    def text(self) -> str:
        """Return the head and the counts in a line."""
        return f"{self._title()}: {self.view.facts} · {self.view.rest}"

    def html(self) -> str:
        """Return the head with a bar, the waves, and a row for each that matters."""
        view = self.view
        title = f'<span style="font-weight:600;font-size:110%">{html.escaped(self._title())}</span>'
        bar = "" if view.fraction is None else f"&ensp;{html.bar(1000 * view.fraction, 1000, width=220)}"
        parts = [f'<div style="margin-bottom:4px">{title}{bar}&ensp;{html.dim(html.escaped(view.facts))}</div>']
        if len(view.waves) > 1:
            parts.append(html.note(html.escaped(" · ".join(map(wave_text, near(view.waves))))))
        if view.rows:
            parts.append(html.table(_HEADER, map(_row, view.rows[:ROWS])))
        more = len(view.rows) - ROWS
        rest = f" · {more} of these not shown" if more > 0 else ""
        return "".join([*parts, html.note(html.escaped(view.rest + rest)), *self._until()])

    def _until(self) -> list[str]:
        """Return the line for a notebook that was saved just now, which nobody may write on."""
        command = self.view.told_by
        return [html.note(f"So far. How it ended: {html.code(html.escaped(command))}")] if command else []

    def _title(self) -> str:
        return STOPPING if self.view.stopping else self.view.title


_HEADER = [("on", False), ("step", False), ("", False), ("how far", True), ("time", True), ("last line", False)]
_WAVES_BEFORE, _WAVES = 2, 8


def wave_text(wave: TrackedWave) -> str:
    """Return a wave in words: `wave 2: 3 of 17 done, 1 failed`."""
    failed = f", {wave.failed} failed" if wave.failed else ""
    return f"{wave.label}: {wave.done} of {wave.total} done{failed}"


def near(waves: Sequence[TrackedWave]) -> Sequence[TrackedWave]:
    """Return the waves about the first that has not come to its end: batches of one make very many."""
    current = next((at for at, wave in enumerate(waves) if wave.done + wave.failed < wave.total), len(waves))
    start = max(0, min(current - _WAVES_BEFORE, len(waves) - _WAVES))
    return waves[start : start + _WAVES]


def _row(row: TrackedRow) -> str:
    bar = "" if row.fraction is None else html.bar(1000 * row.fraction, 1000)
    return (
        html.cell(html.escaped(row.name, most=60))
        + html.cell(html.coloured(COLOURS[row.tone], html.escaped(row.state)))
        + html.cell(bar)
        + html.cell(html.escaped(row.amount), number=True)
        + html.cell(seconds_text(row.seconds), number=True)
        + html.cell(html.dim(html.escaped(row.line, most=100)))
    )
