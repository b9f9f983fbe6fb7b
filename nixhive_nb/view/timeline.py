"""The timeline of a run: a static picture of what ran when, as HTML for a notebook or a page, and as text.

It needs nothing from elsewhere, and no script. What is seen in colours stands there in words as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nixhive_nb.errors import OptionError
from nixhive_nb.util import html
from nixhive_nb.util.files import write_whole
from nixhive_nb.util.text import strip_control, table_text
from nixhive_nb.view.lanes import Lanes, lanes_of
from nixhive_nb.view.words import OUTCOMES, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixhive_nb.run.report import Report
    from nixhive_nb.view.lanes import Group, Lane, Span
    from nixhive_nb.view.words import Shown

_WIDTH = 420
_HEIGHT = 12
_COLUMNS = 60
"""How many characters a lane of the text has."""
_NAME = 40
"""How many characters of a name are shown."""
_MINUTE, _HOUR = 60, 3600
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_TICKS = 6
"""How many steps the axis has at most."""
_LAST = 0.9
"""Up to which part of the axis a moment is named: its words need room."""
_ENDS = (".html", ".htm")


class Timeline:
    """What ran when. A cell shows it as a picture, `print` as text; `save` writes a page that stands alone."""

    def __init__(self, lanes: Lanes) -> None:
        """Use `Report.timeline`."""
        self._lanes = lanes

    @classmethod
    def of(cls, report: Report) -> Timeline:
        """Return the timeline of a run."""
        return cls(lanes_of(report))

    def save(self, path: str | Path) -> None:
        """Write it as a page (`.html`) that any browser shows, whole or not at all.

        It is readable by us alone. Raises `OptionError` for another kind of file, and `OSError`.
        """
        file = Path(path)
        if file.suffix.lower() not in _ENDS:
            raise OptionError(f"A timeline is saved as a page: {file.name} would have to end in .html.")
        write_whole(file, _page(self._lanes).encode())

    def __str__(self) -> str:
        return strip_control(_text(self._lanes))

    def __repr__(self) -> str:
        return f"Timeline({strip_control(self._lanes.title)})"

    def _repr_html_(self) -> str:
        return _html(self._lanes)

    def _repr_pretty_(self, printer: _TextPrinter, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's protocol
        printer.text(str(self))


class _TextPrinter(Protocol):
    def text(self, text: str) -> None: ...


def _html(lanes: Lanes) -> str:
    ticks = _ticks(lanes.seconds)
    axis = html.axis([(when, _moment(when)) for when in ticks], lanes.seconds, width=_WIDTH)
    header = [("", False), ("how it ended", False), (axis, False), ("in words", False)]
    step = ticks[1] if len(ticks) > 1 else 0.0
    rows = [row for group in lanes.groups for row in _group_html(group, lanes.seconds, step)]
    colour = html.OK if lanes.is_ok else html.BAD
    parts = [html.head(html.escaped(lanes.title), [html.escaped(lanes.facts)], colour), html.table(header, rows)]
    if lanes.rest:
        parts.append(html.note(html.escaped(lanes.rest)))
    return "".join([*parts, html.note(" &ensp;".join(_legend_html(lanes)))])


def _group_html(group: Group, seconds: float, step: float) -> Iterable[str]:
    span = [html.LanePart(start=group.span[0], end=group.span[1], colour=html.DIM, title="")] if group.span else []
    yield (
        html.cell(html.coloured(html.DIM, html.escaped(group.title), bold=True))
        + html.cell("")
        + html.cell(html.lane(span, seconds, width=_WIDTH, height=3, tick=step))
        + html.cell(html.dim(html.escaped(group.note)))
    )
    for lane in group.lanes:
        spans = [_span_html(span) for span in lane.spans]
        yield (
            html.cell(html.escaped(lane.name, most=_NAME))
            + html.cell(html.coloured(OUTCOMES[lane.outcome].colour, html.escaped(lane.ended)))
            + html.cell(html.lane(spans, seconds, width=_WIDTH, height=_HEIGHT, tick=step))
            + html.cell(html.dim(html.escaped(lane.words)))
        )


def _span_html(span: Span) -> html.LanePart:
    return html.LanePart(
        start=span.start,
        end=span.end,
        colour=html.BAD if span.is_bad else STEPS[span.kind].colour,
        title=html.escaped(span.about),
        mark="✕" if span.is_bad else "",
    )


def _legend_html(lanes: Lanes) -> Iterable[str]:
    """Return a colour and its words for each that occurs."""
    words: dict[str, list[str]] = {}
    for kind in _kinds(lanes):
        words.setdefault(STEPS[kind].colour, []).append(_legend(kind))
    for colour, names in words.items():
        yield f"{html.coloured(colour, '■') if colour else '▭'} {', '.join(names)}"
    if _has_bad(lanes):
        yield f"{html.coloured(html.BAD, '■ ✕')} failed"


def _page(lanes: Lanes) -> str:
    """Return a whole page in the light or dark of its reader."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{html.escaped(lanes.title)}</title></head>\n"
        f'<body style="font-family:system-ui,sans-serif;font-size:14px;margin:24px">{_html(lanes)}</body></html>\n'
    )


def _text(lanes: Lanes) -> str:
    ticks = _ticks(lanes.seconds)
    header = ["", "", f" {_ruler(ticks, lanes.seconds)}", ""]
    rows = [row for group in lanes.groups for row in _group_text(group, lanes.seconds)]
    legend = [f"{STEPS[kind].letter} {_legend(kind)}" for kind in _kinds(lanes)]
    lines = [f"{lanes.title}  ({lanes.facts})", table_text(header, rows), *filter(None, [lanes.rest])]
    return "\n".join([*lines, " · ".join([*legend, *(["✕ failed"] if _has_bad(lanes) else [])])])


def _group_text(group: Group, seconds: float) -> Iterable[list[str]]:
    yield [group.title, "", "", group.note]
    for lane in group.lanes:
        yield [f"  {lane.name[:_NAME]}", lane.ended, f"|{_lane_text(lane, seconds)}|", lane.words]


def _lane_text(lane: Lane, seconds: float) -> str:
    cells = [" "] * _COLUMNS
    for span in lane.spans:
        first = min(int(span.start / seconds * _COLUMNS), _COLUMNS - 1)
        last = max(first, min(round(span.end / seconds * _COLUMNS), _COLUMNS) - 1)
        cells[first : last + 1] = STEPS[span.kind].letter * (last + 1 - first)
        if span.is_bad:
            cells[last] = "✕"
    return "".join(cells)


def _ruler(ticks: Sequence[float], seconds: float) -> str:
    words = ""
    for when in ticks:
        words = words.ljust(int(when / seconds * _COLUMNS)) + f"{_moment(when)} "
    return words.rstrip()


def _ticks(seconds: float) -> list[float]:
    """Return the moments that the axis names."""
    step = next((one for one in _STEPS if seconds / one <= _TICKS), seconds / _TICKS)
    return [step * number for number in range(_TICKS + 1) if step * number <= seconds * _LAST]


def _moment(when: float) -> str:
    if when < _MINUTE:
        return f"{when:.3g} s"
    if when < _HOUR:
        return f"{when // _MINUTE:g} min" + (f" {when % _MINUTE:g} s" if when % _MINUTE else "")
    return f"{when // _HOUR:g} h" + (f" {when % _HOUR // _MINUTE:g} min" if when % _HOUR else "")


def _kinds(lanes: Lanes) -> list[Shown]:
    there = {span.kind for span in _every(lanes)}
    return [kind for kind in STEPS if kind in there]


def _legend(kind: Shown) -> str:
    return STEPS[kind].legend or STEPS[kind].name


def _has_bad(lanes: Lanes) -> bool:
    return any(span.is_bad for span in _every(lanes))


def _every(lanes: Lanes) -> Iterable[Span]:
    return (span for group in lanes.groups for lane in group.lanes for span in lane.spans)
