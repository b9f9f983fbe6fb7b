"""The widget that shows how a run goes, in the place of HTML: one for each run, told in few and small messages.

Each message has a number. Most are deltas: what has changed since the one before. Every two seconds the state itself
is sent instead, as the trait `snapshot`: a page that was loaded late, or that missed a number, goes on from there. The
last lines of the rows go with it and with nothing else: they are opened on the page alone, since a kernel that waits
in a cell answers no page.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import traitlets

from nixhive_nb.notebook.follow.model import PlainView, near
from nixhive_nb.notebook.own_widget import OwnWidget, script, style
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.words import wave_look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nixhive_nb.notebook.display import Bundle
    from nixhive_nb.notebook.follow.model import TrackedRow, TrackedView

SCRIPT = Path(__file__).with_name("tracker.js")
STYLE = Path(__file__).with_name("tracker.css")
ROWS = 30
"""How many rows a page draws."""
SNAPSHOT = 2.0
"""Seconds from one snapshot to the next."""
TAIL = 10
"""How many of the last lines of a row go to the page."""
_LONGEST = 200
_LONGEST_NAME = 80
GONE = "The kernel is gone: this view is not updated any more."

State = dict[str, Any]


class RunTracker(OwnWidget):
    """Shows what is followed. One thread at a time may call its methods."""

    _esm = script(SCRIPT)
    _css = style(STYLE)
    snapshot = traitlets.Dict().tag(sync=True)
    """The state of the page: `n` the number of the message, the parts of `state_of`, `tails`."""

    def __init__(
        self,
        view: TrackedView,
        tail: Callable[[str], Sequence[str]],
        *,
        blocking: bool,
        on_cancel: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with a view. `tail` gives the last lines of a row, `on_cancel` is called when the page wants an end.

        `blocking` says that the kernel waits in the cell, so that an end is asked for by an interrupt.
        """
        self._view = view
        self._blocking = blocking
        self._clock = clock
        self._on_cancel = on_cancel
        self._number = self._cancels = 0
        self._told = state_of(view, blocking=blocking)
        self._complete = clock()
        super().__init__(snapshot=self._whole(tail), gone=_gone(view.told_by))

    def show(self, view: TrackedView, tail: Callable[[str], Sequence[str]]) -> None:
        """Show another view: one message, none when nothing has changed."""
        self._view = view
        state = state_of(view, blocking=self._blocking, heard=self._cancels)
        delta = delta_of(self._told, state)
        if not delta:
            return
        self._told = state
        self._number += 1
        now = self._clock()
        if now - self._complete < SNAPSHOT:
            self.send({"n": self._number, **delta})
            return
        self._complete = now
        self.snapshot = self._whole(tail)

    def finish(self, record: Bundle) -> None:
        """Return the page the record: one that was loaded anew in the meantime is not told of the output."""
        self.stays = record._repr_mimebundle_()

    def __repr__(self) -> str:
        return repr(PlainView(self._view))

    def _whole(self, tail: Callable[[str], Sequence[str]]) -> State:
        tails = {name: [_line(text) for text in tail(name)[-TAIL:]] for name in self._told["order"]}
        return {"n": self._number, **self._told, "tails": tails}

    def told(self, content: dict[str, Any]) -> None:
        """Take that a page wants an end."""
        if content.get("cancel"):
            self._cancels += 1
            self._on_cancel()


def _gone(told_by: str) -> str:
    return f"{GONE} How it ended: {told_by}" if told_by else GONE


def state_of(view: TrackedView, *, blocking: bool, heard: int = 0) -> State:
    """Return what a page draws: harmless text, cut to what can be read, of the rows that are drawn.

    `heard` counts how often the page has cancelled, as far as that was heard.
    """
    rows = view.rows[:ROWS]
    waves = near(view.waves) if len(view.waves) > 1 else ()
    return {
        "head": {
            "title": _line(view.title),
            "fraction": _fraction(view.fraction),
            "facts": _line(view.facts),
            "rest": _line(view.rest),
            "more": len(view.rows) - len(rows),
            "stopping": view.stopping,
            "heard": heard,
        },
        "words": {"cancelling": _line(view.cancelling), "leaving": _line(view.leaving), "blocking": blocking},
        "waves": [
            {
                **msgspec.structs.asdict(wave),
                "label": _line(wave.label),
                **msgspec.structs.asdict(wave_look(wave.done, wave.failed, wave.total)),
            }
            for wave in waves
        ],
        "order": [row.id for row in rows],
        "rows": {row.id: _row(row) for row in rows},
    }


def delta_of(old: State, new: State) -> State:
    """Return what has changed: of the rows only those that did, of the rest each part that did, whole."""
    parts = {name: new[name] for name in ("head", "words", "waves", "order") if new[name] != old[name]}
    rows = {name: row for name, row in new["rows"].items() if _differs(old["rows"].get(name), row)}
    return {**parts, "rows": rows} if rows else parts


def _differs(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Return whether a row is to be told. That time goes on while it runs is known to the page."""
    passing = {"seconds": new["seconds"]} if new["tone"] == "run" else {}
    return old is None or {**old, **passing} != new


def _row(row: TrackedRow) -> State:
    return {
        **msgspec.structs.asdict(row),
        "name": _line(row.name, _LONGEST_NAME),
        "state": _line(row.state),
        "fraction": _fraction(row.fraction),
        "amount": _line(row.amount),
        "seconds": round(row.seconds, 1),
        "line": _line(row.line),
    }


def _fraction(fraction: float | None) -> float | None:
    return None if fraction is None else round(min(1.0, max(0.0, fraction)), 3)


def _line(text: str, most: int = _LONGEST) -> str:
    line = " ".join(strip_control(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
