"""A plan as a picture: this machine, the stores that it pushes to, and the waves of instances that read from them.

The SVG is static and stands alone: no script, no font from elsewhere. It is shown as an image, where it cannot know
whether the page is light or dark, so its colours are read on both: white on middling tones, and a grey for the rest.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.util.text import count_text, strip_control
from nixhive_nb.view.plan_scene import Scene, scene_of
from nixhive_nb.view.words import FATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.view.plan_scene import Box, Relay, SceneColumn, SceneGroup

_INK = "#757d87"
_SOURCE = "#56606c"
_MARGIN = 12
_PAD = 10
_LETTER = 6.9
"""About how wide a letter is, in the unit of the picture."""
_LETTERS = 30
"""How many letters a box shows; the whole text is in its title."""
_BOX = 22
_STEP = 27
"""From one box to the next one below."""
_DEEP = 5
"""How many boxes stand one below the other, if there is room to the right."""
_ACROSS = 6
"""How many stand side by side."""
_LINE = 20
_HEAD = 26
_GAP = 34
_DROP = 44
"""How far an arrow leads down."""
_NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def mermaid(plan: Plan) -> str:
    """Return a plan as a Mermaid flowchart, for pages that draw such."""
    scene = scene_of(plan)
    lines = ["flowchart LR", '  here(["this machine"])']
    for number, relay in enumerate(scene.relays):
        lines.append(f'  store{number}[("{_quoted(relay.label)}")]')
        lines += [f'  {_node(source)} -- "{_systems(relay)}" --> store{number}' for source in relay.sources]
    for number, column in enumerate(scene.columns):
        lines += _mermaid_column(number, column)
    lines += [f"  wave{number} ~~~ wave{number + 1}" for number in range(len(scene.columns) - 1)]
    for fate, words in FATES.items():
        lines.append(f"  classDef {fate} fill:{words.fill},stroke:{words.fill},color:#fff")
    return "\n".join([*lines, ""])


def svg(plan: Plan) -> str:
    """Return a plan as an SVG document."""
    scene = scene_of(plan)
    drawing = _Drawing(f"nixhive-{plan.digest}")
    width, height = _draw(drawing, scene)
    name = drawing.name
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="{name}-title {name}-desc" '
        f'font-family="system-ui, sans-serif" font-size="12">'
        f'<title id="{name}-title">{_escaped(scene.title)}</title>'
        f'<desc id="{name}-desc">{_escaped(scene.about)}</desc>'
        f'<defs><marker id="{name}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0.5 8 4 0 7.5z" fill="{_INK}"/></marker></defs>'
        f"{''.join(drawing.parts)}</svg>\n"
    )


class _Spot(msgspec.Struct, frozen=True):
    """A rectangle that was drawn."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def below(self) -> float:
        return self.y + self.height

    @property
    def right(self) -> float:
        return self.x + self.width


class _Drawing:
    """The parts of an SVG, in the order in which they are painted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[str] = []

    def box(self, at: tuple[float, float], text: str, fill: str, *, about: str = "", width: float = 0.0) -> _Spot:
        x, y = at
        width = width or _wide(text)
        title = f"<title>{_escaped(about)}</title>" if about else ""
        self.parts.append(
            f'<g>{title}<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BOX}" rx="4" fill="{fill}"/>'
            f'<text x="{x + 8:.1f}" y="{y + 15:.1f}" fill="#fff">{_escaped(text)}</text></g>'
        )
        return _Spot(x, y, width, _BOX)

    def words(self, x: float, y: float, text: str, *, bold: bool = False) -> None:
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{_INK}"{weight}>{_escaped(text)}</text>')

    def frame(self, spot: _Spot) -> None:
        self.parts.append(
            f'<rect x="{spot.x:.1f}" y="{spot.y:.1f}" width="{spot.width:.1f}" height="{spot.height:.1f}" rx="6" '
            f'fill="none" stroke="{_INK}" stroke-opacity="0.6"/>'
        )

    def arrow(self, path: str) -> None:
        self.parts.append(f'<path d="{path}" fill="none" stroke="{_INK}" marker-end="url(#{self.name}-tip)"/>')


def _draw(drawing: _Drawing, scene: Scene) -> tuple[float, float]:
    """Draw a scene, and give its width and height."""
    here = drawing.box((_MARGIN, _MARGIN), "this machine", _SOURCE)
    relays = _draw_relays(drawing, scene, here)
    top = max(spot.below for spot in (here, *relays)) + _DROP
    spots = _draw_columns(drawing, scene, top)
    for column, spot in zip(scene.columns, spots, strict=True):
        _draw_sources(drawing, column, spot, here, relays)
    for before, after in pairwise(spots):
        y = top + _HEAD / 2
        drawing.arrow(f"M{before.right + 4:.1f} {y:.1f}H{after.x - 3:.1f}")
    below = max((spot.below for spot in spots), default=here.below) + 14
    right = _draw_legend(drawing, scene, below)
    width = max([right, here.right, *(spot.right for spot in (*relays, *spots))]) + _MARGIN
    return width, below + _BOX + _MARGIN


def _draw_relays(drawing: _Drawing, scene: Scene, here: _Spot) -> list[_Spot]:
    spots: list[_Spot] = []
    x = here.right + _GAP
    for relay in scene.relays:
        text = f"{_cut(relay.label)} · {_systems(relay)}"
        y = here.below + _DROP + relay.level * (_BOX + _DROP)
        spot = drawing.box((x, y), text, _SOURCE, about=relay.about)
        for source in relay.sources:
            _draw_push(drawing, here if source is None else spots[source], spot, is_beside=source is None)
        spots.append(spot)
        x = spot.right + _GAP
    return spots


def _draw_push(drawing: _Drawing, source: _Spot, spot: _Spot, *, is_beside: bool) -> None:
    """Draw an arrow to a relay: from the right side of this machine, or from below the relay that it reads from."""
    if is_beside:
        level = source.y + source.height / 2
        drawing.arrow(f"M{source.right:.1f} {level:.1f}H{spot.middle - 12:.1f}q12 0 12 12V{spot.y - 2:.1f}")
        return
    # Its own children stand to the right of it, above the level where theirs begin.
    turn = spot.y - _DROP / 2
    drawing.arrow(f"M{source.middle:.1f} {source.below:.1f}V{turn:.1f}H{spot.middle - 8:.1f}q8 0 8 8V{spot.y - 2:.1f}")


def _draw_columns(drawing: _Drawing, scene: Scene, top: float) -> list[_Spot]:
    spots: list[_Spot] = []
    x = float(_MARGIN)
    for column in scene.columns:
        spots.append(_draw_column(drawing, column, _origins(scene, column), x, top))
        x = spots[-1].right + _GAP
    return spots


def _draw_column(drawing: _Drawing, column: SceneColumn, origins: Sequence[str], x: float, top: float) -> _Spot:
    drawing.words(x + _PAD, top + 17, column.title, bold=True)
    width, y = _wide(column.title), top + _HEAD
    for group, origin in zip(column.groups, origins, strict=True):
        text = ", ".join(filter(None, [" ".join(filter(None, [_cut(group.system), origin])), _cut(group.built)]))
        drawing.words(x + _PAD, y + 13, text)
        right, y = _draw_boxes(drawing, group, x + _PAD, y + _LINE)
        width = max(width, _wide(text), right - x)
    spot = _Spot(x, top, width + _PAD, y - top + 4)
    drawing.frame(spot)
    return spot


def _draw_boxes(drawing: _Drawing, group: SceneGroup, x: float, top: float) -> tuple[float, float]:
    """Draw the boxes of a group, and give where they end: to the right, and below."""
    texts = [_box_text(box) for box in group.boxes]
    deep = max(_DEEP, -(-len(texts) // _ACROSS))
    width = max(map(_wide, texts), default=0.0)
    for number, (box, text) in enumerate(zip(group.boxes, texts, strict=True)):
        across, down = divmod(number, deep)
        at = x + across * (width + 6), top + down * _STEP
        drawing.box(at, text, FATES[box.fate].fill, about=f"{box.label}: {box.about}", width=width)
    across = -(-len(texts) // deep)
    return x + across * (width + 6) - 6, top + min(len(texts), deep) * _STEP + 4


def _draw_sources(drawing: _Drawing, column: SceneColumn, spot: _Spot, here: _Spot, relays: Sequence[_Spot]) -> None:
    """Draw an arrow to a column from each place that its instances get their systems from."""
    sources = sorted({-1 if one is None else one for group in column.groups for one in group.sources})
    for number, source in enumerate(sources, start=1):
        end = spot.x + spot.width * number / (len(sources) + 1)
        origin = here if source < 0 else relays[source]
        start = here.x + 20 if source < 0 else origin.middle
        y, bend = spot.y - 2, spot.y - _DROP
        curve = f"C{start:.1f} {bend + 28:.1f} {end:.1f} {y - 28:.1f} {end:.1f} {y:.1f}"
        drawing.arrow(f"M{start:.1f} {origin.below:.1f}V{bend:.1f}{curve}")


def _draw_legend(drawing: _Drawing, scene: Scene, y: float) -> float:
    x = float(_MARGIN)
    there = {box.fate for column in scene.columns for group in column.groups for box in group.boxes}
    for words in (words for fate, words in FATES.items() if fate in there):
        drawing.parts.append(f'<rect x="{x:.1f}" y="{y + 5:.1f}" width="11" height="11" rx="2" fill="{words.fill}"/>')
        text = f"{words.symbol} {words.words}".lstrip()
        drawing.words(x + 17, y + 15, text)
        x += 17 + len(text) * _LETTER + 16
    return x


def _origins(scene: Scene, column: SceneColumn) -> list[str]:
    """Get for each group of a column where it gets its system from, in words; nothing where there is one way only."""
    if not scene.relays:
        return [""] * len(column.groups)
    names = {number: _cut(relay.label) for number, relay in enumerate(scene.relays)}
    found = (["here" if one is None else names[one] for one in group.sources] for group in column.groups)
    return [f"from {', '.join(sources)}" for sources in found]


def _mermaid_column(number: int, column: SceneColumn) -> Iterable[str]:
    yield f'  subgraph wave{number}["{_quoted(column.title)}"]'
    boxes = [(one, box) for one, group in enumerate(column.groups) for box in group.boxes]
    for at, (_, box) in enumerate(boxes):
        yield f'    i{number}_{at}["{_quoted(_box_text(box))}"]:::{box.fate}'
    yield "  end"
    for at, (one, _) in enumerate(boxes):
        for source in column.groups[one].sources:
            yield f"  {_node(source)} --> i{number}_{at}"


def _node(source: int | None) -> str:
    return "here" if source is None else f"store{source}"


def _box_text(box: Box) -> str:
    return f"{FATES[box.fate].symbol} {_cut(box.label)}".lstrip()


def _systems(relay: Relay) -> str:
    return count_text(relay.systems, "system")


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _wide(text: str) -> float:
    # How wide a letter is stands in a font that is not here: those that are wide in every one have more.
    wide = sum(text.count(sign) for sign in "=✕×mwMW@%")  # noqa: RUF001 - a sign of ours
    return len(text) * _LETTER + 16 + 4 * wide


def _escaped(text: str) -> str:
    return html.escape(_NO_XML.sub("", strip_control(text)))


def _quoted(text: str) -> str:
    """Return text for between the quotes of Mermaid, where markup and entities would be read."""
    return "".join(one if one.isalnum() or one in " -_.,:@/=✕!×…" else f"#{ord(one)};" for one in text)  # noqa: RUF001 - a sign of ours
