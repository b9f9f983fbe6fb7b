"""HTML in small pieces, for what a notebook keeps: cells, records and timelines.

JupyterLab drops `<style>`, `<svg>`, `role` and `aria-*` from saved notebooks: meaning is in words, looks are inline.
Colours are those of the theme; each has a fallback that can be seen on light and on dark ground. To be read with ease,
words need more contrast than some have: they are mixed with the ink. In a notebook from somebody else JupyterLab keeps
`color` and `background-color` with `var(…)` only where that falls back to `rgb(…)`, also in a `color-mix`, and not
`background`, `border-bottom` and other shorthands (measured on 4.6).
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OK = "var(--jp-success-color0,rgb(56,142,60))"
BAD = "var(--jp-error-color1,rgb(229,72,77))"
RUN = "var(--jp-brand-color1,rgb(30,136,229))"
WARN = "var(--jp-warn-color0,rgb(217,115,13))"
AWAY = "rgb(195,80,140)"
"""For a host that reboots."""
DIM = "var(--jp-content-font-color2,rgb(128,128,128))"
LINE = "var(--jp-border-color2,rgb(128,128,128))"
SOFT = "var(--jp-cell-editor-background,rgba(128,128,128,0.15))"
MOST_TEXT = 600
"""How many characters of one line from elsewhere a cell shows."""

_LINE = (
    f'<tr style="border-bottom-width:1px;border-bottom-style:solid;border-bottom-color:{LINE};'
    'background-color:transparent">'
)
_CELL = "text-align:left;padding:2px 12px 2px 0;border:none;white-space:nowrap"
_NUMBER = "text-align:right;padding:2px 12px 2px 0;border:none;white-space:nowrap"
_SHADE = "rgba(128,128,128,0.13)"
_FRAMED = "box-sizing:border-box;border-width:1px;border-style:dashed;border-color:rgb(128,128,128)"
_LINES = "linear-gradient(to right,rgba(128,128,128,0.4) 1px,transparent 1px)"
_LEAST = 0.7
"""How many percent of a lane a span has at least."""
_WINDOW = 1200
"""Pixels of a window that shows a lane as wide as it is meant to be."""
_PROSE = "text-align:left;padding:2px 12px 2px 0;border:none;white-space:normal"


def escaped(value: object, most: int = MOST_TEXT) -> str:
    """Return text that may come from a host or a deployment: harmless, and not longer than `most` characters."""
    text = strip_control(str(value))
    return html.escape(text if len(text) <= most else f"{text[: most - 1]}…")


def coloured(colour: str, content: str, *, bold: bool = False) -> str:
    """Return HTML in a colour. A sign that stands alone (`■`) has the very colour of the spans that it explains."""
    weight = ";font-weight:600" if bold else ""
    looks = _ink(colour) if any(map(str.isalnum, content)) else f"color:{colour}"
    return f'<span style="{looks}{weight}">{content}</span>'


def _ink(colour: str) -> str:
    """Return words a colour: with three tenths of the ink, each has a contrast of 4.5 in all themes that we know."""
    return f"color:color-mix(in srgb,{colour} 70%,currentcolor)"


def head(title: str, facts: Iterable[str], colour: str = "") -> str:
    """Return the first line of a view: the title, and what is to know beside it."""
    ink = f"{_ink(colour)};" if colour else ""
    bold = f'<span style="{ink}font-weight:600;font-size:110%">{title}</span>'
    return f'<div style="margin-bottom:4px">{bold}&ensp;{dim(" · ".join(facts))}</div>'


def dim(content: str) -> str:
    """Return HTML that stands back."""
    return coloured(DIM, content)


def note(content: str) -> str:
    """Return a line below a table."""
    return f'<div style="margin-top:4px;{_ink(DIM)}">{content}</div>'


def cell(content: str, *, number: bool = False, prose: bool = False) -> str:
    """Return a cell of a table; a `number` stands to the right, `prose` may be broken into lines."""
    return f'<td style="{_NUMBER if number else _PROSE if prose else _CELL}">{content}</td>'


def across(content: str, columns: int) -> str:
    """Return the one cell of a row, as wide as so many columns."""
    return f'<td colspan="{columns}" style="{_PROSE};padding-top:8px">{content}</td>'


def table(header: Sequence[tuple[str, bool]], rows: Iterable[str]) -> str:
    """Return a table. `header` holds (title as HTML, whether of numbers); a row is its cells as HTML."""
    titles = "".join(
        f'<th scope="col" style="{_NUMBER if number else _CELL};font-weight:600;{_ink(DIM)}">{title}</th>'
        for title, number in header
    )
    body = "".join(f"{_LINE}{row}</tr>" for row in [titles, *rows])
    return f'<table style="border-collapse:collapse;margin:0">{body}</table>'


def block(text: str) -> str:
    """Return lines of output as they are; the caller has escaped them."""
    looks = (
        "margin:2px 0 6px;padding:4px 8px;border:none;white-space:pre-wrap;overflow-wrap:break-word;"
        "font-family:monospace,monospace;font-size:92%;line-height:1.4"
    )
    return f'<pre style="{looks};background-color:{SOFT}">{text}</pre>'


def folded(summary: str, content: str, *, is_open: bool = False) -> str:
    """Return something that can be opened and closed."""
    return (
        f'<details{" open" if is_open else ""} style="margin-top:4px"><summary>{summary}</summary>{content}</details>'
    )


def bar(done: float, total: float, width: int = 120) -> str:
    """Return a bar that is `done` of `total` full."""
    return f'<progress value="{done:.0f}" max="{max(1.0, total):.0f}" style="width:{width}px"></progress>'


def code(text: str) -> str:
    """Return words that can be typed as they stand, such as a command or a path; the caller has escaped them."""
    return f'<span style="font-family:monospace,monospace">{text}</span>'


class LanePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a lane, from `start` to `end` seconds."""

    start: float
    end: float
    colour: str
    """Empty for one that is only framed."""
    title: str
    """What it is, as escaped text: it is shown to those who point at it."""
    mark: str = ""
    """A sign at its end."""


def lane(spans: Iterable[LanePart], total: float, *, width: int = 120, height: int = 8, tick: float = 0.0) -> str:
    """Return a lane on a time axis from 0 to `total` seconds, `width` and `height` in pixels; a line every `tick`."""
    scale = 100 / max(total, 1e-9)
    parts = []
    for span in spans:
        left = min(max(span.start, 0.0) * scale, 100 - _LEAST)
        # Too short a span could not be seen at all.
        wide = min(max((span.end - span.start) * scale, _LEAST), 100 - left)
        looks = f"background-color:{span.colour}" if span.colour else _FRAMED
        parts.append(
            f'<div title="{span.title}" style="{_at(left)};width:{wide:.1f}%;height:{height}px;{looks}"></div>'
        )
        if span.mark:
            mark = (
                f"{_at(min(left + wide + _LEAST, 96))};color:{span.colour};line-height:{height}px;font-size:{height}px"
            )
            parts.append(f'<div style="{mark}">{span.mark}</div>')
    lines = f";background-image:{_LINES};background-size:{tick * scale:.3f}% 100%" if tick else ""
    looks = f"position:relative;{_wide(width)};height:{height}px;background-color:{_SHADE}{lines}"
    return f'<div style="{looks}">{"".join(parts)}</div>'


def axis(ticks: Iterable[tuple[float, str]], total: float, *, width: int) -> str:
    """Return the words over such a lane; a tick is (seconds, text)."""
    scale = 100 / max(total, 1e-9)
    words = "".join(f'<div style="{_at(when * scale)}">{text}</div>' for when, text in ticks)
    return f'<div style="position:relative;{_wide(width)};height:1.5em">{words}</div>'


def _wide(width: int) -> str:
    """Return a width in pixels, and its share of a window that is smaller than most."""
    return f"width:{width}px;max-width:{100 * width / _WINDOW:.0f}vw"


def _at(left: float) -> str:
    return f"position:absolute;left:{left:.1f}%"
