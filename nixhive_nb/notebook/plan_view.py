"""A plan as a cell shows it: what would happen, as far as it is known, and a picture of its waves and relays."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from nixhive_nb.notebook.bundle import Bundle
from nixhive_nb.util import html
from nixhive_nb.view.plan import most_telling, plan_facts, plan_rows, plan_table, plan_text, plan_ways, rest_text, title
from nixhive_nb.view.plan_picture import svg
from nixhive_nb.view.plan_rows import InstanceRow
from nixhive_nb.view.words import FATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.view.plan import Row

ROWS = 50
_NOTHING = "Nothing was changed."
_NUMBERS = ("wave", "lacks", "generation")
_DIM = ("system", "now → wanted", "result")


class PlanView(Bundle):
    """A plan that was not run."""

    def __init__(self, plan: Plan) -> None:
        """Show `plan`."""
        self.plan = plan

    def text(self) -> str:
        """Return it as a table of text."""
        return f"{plan_text(self.plan, most=ROWS)}\n{_NOTHING}"

    def html(self) -> str:
        """Return it as a table, with the picture below where that has something to tell."""
        plan = self.plan
        rows = plan_rows(plan)
        shown = most_telling(rows, ROWS)
        parts = [html.head(html.escaped(title(plan)), map(html.escaped, plan_facts(plan, rows)))]
        if ways := plan_ways(plan):
            parts.append(f"<div>{html.dim(html.escaped(' · '.join(ways)))}</div>")
        parts.append(_table(plan, shown))
        if len(shown) < len(rows):
            parts.append(html.note(html.escaped(rest_text(plan, rows, shown))))
        parts += [
            f"<div>{html.coloured(html.WARN, '⚠ warning')} {html.escaped(text, most=2000)}</div>"
            for text in plan.warnings
        ]
        return "".join([*parts, *_picture(plan), html.note(_NOTHING)])


def _table(plan: Plan, rows: Sequence[Row]) -> str:
    header, table = plan_table(plan, rows)
    cells = ["".join(_cell(name, texts, row) for name in header) for row, texts in zip(rows, table, strict=True)]
    return html.table([(name, name in _NUMBERS) for name in header], cells)


def _cell(name: str, texts: Mapping[str, str], row: Row) -> str:
    text = html.escaped(texts[name])
    if about := _whole(name, row):
        text = f'<span title="{html.escaped(about)}">{text}</span>'
    return html.cell(
        html.coloured(colour, text) if (colour := _colour(name, texts, row)) else text, number=name in _NUMBERS
    )


def _colour(name: str, texts: Mapping[str, str], row: Row) -> str:
    if name == "what will happen":
        return FATES[row.fate].colour
    if name == "reboot":
        return html.WARN if texts[name] == "needed" else html.DIM
    return html.DIM if name in _DIM else ""


def _whole(name: str, row: Row) -> str:
    """Return the whole of what a cell shows in short, for those who point at it."""
    if isinstance(row, InstanceRow):
        shown = {"now → wanted": " → ".join(filter(None, (row.current, row.wanted))), "what will happen": row.store}
        return shown.get(name, "")
    return row.wanted if name == "result" else ""


def _picture(plan: Plan) -> Iterable[str]:
    """Return the picture of a plan that has more than one wave or batch, or a relay.

    As an image, since JupyterLab drops inline SVG from saved notebooks.
    """
    places = {(target.wave, target.batch) for target in plan.targets}
    if len(places) > 1 or any(step.kind == "push" for step in plan.steps):
        data = b64encode(svg(plan).encode()).decode()
        image = (
            f'<img alt="waves and relays of the plan" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
        )
        yield html.folded(html.dim("waves and relays"), image, is_open=True)
