"""What a cell shows: what all of it has in common, lines about the work, the record of a run, and a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from typing import TYPE_CHECKING

from IPython.display import display

from nixhive_nb.util import html
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.plan import most_telling, plan_facts, plan_rows, plan_table, plan_text, plan_ways, rest_text, title
from nixhive_nb.view.plan_picture import svg
from nixhive_nb.view.plan_rows import InstanceRow
from nixhive_nb.view.record import MAGIC, ROWS, record_html
from nixhive_nb.view.report import report_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from IPython.display import DisplayHandle

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.report import Report
    from nixhive_nb.view.plan import Row
    from nixhive_nb.view.plan_rows import Fate

PLAN_ROWS = 50
_NOTHING = "Nothing was changed."
_NUMBERS = ("wave", "lacks", "generation")
_DIM = ("system", "now → wanted", "result")
_COLOURS: dict[Fate, str] = {"act": "", "nothing": html.DIM, "unreachable": html.BAD, "broken": html.BAD}


class Bundle(ABC):
    """Something with an HTML form, and a text form for terminals and for notebooks on the web."""

    @abstractmethod
    def text(self) -> str:
        """Return it as plain text."""

    @abstractmethod
    def html(self) -> str:
        """Return it as HTML; every text from elsewhere is escaped."""

    def __repr__(self) -> str:
        return strip_control(self.text())

    def _repr_mimebundle_(
        self,
        include: Collection[str] | None = None,  # noqa: ARG002 - IPython's protocol; it filters by itself
        exclude: Collection[str] | None = None,  # noqa: ARG002 - the same
    ) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html()}


class Notice(Bundle):
    """A warning, before the work begins."""

    def __init__(self, message: str) -> None:
        """Show `message`."""
        self.message = message

    def text(self) -> str:
        """Return it in a line."""
        return f"⚠ warning: {self.message}"

    def html(self) -> str:
        """Return it with a colour for the word."""
        return f"<div>{html.coloured(html.WARN, '⚠ warning', bold=True)} {html.escaped(self.message, most=2000)}</div>"


def in_slot(content: str, slot: str) -> str:
    """Return HTML that a widget stands in for, on pages that can show it: `widgets/slot.js` finds it by its class."""
    return f'<div class="hive-slot-{slot}">{content}</div>'


class Slotted(Bundle):
    """A view as HTML that a widget stands in for, on pages that can show it."""

    def __init__(self, view: Bundle, slot: str) -> None:
        """Show `view`; `slot` is that of the widget."""
        self.view = view
        self.slot = slot

    def text(self) -> str:
        """Return the view as text."""
        return self.view.text()

    def html(self) -> str:
        """Return the view as HTML, in the slot."""
        return in_slot(self.view.html(), self.slot)


class Hint(Bundle):
    """A line that helps, standing back."""

    def __init__(self, words: str) -> None:
        """Show `words`."""
        self.words = words

    def text(self) -> str:
        """Return the line."""
        return self.words

    def html(self) -> str:
        """Return the line, standing back."""
        return html.note(html.escaped(self.words, most=2000))


def show(view: Bundle) -> None:
    """Show a view in the cell."""
    display(view)  # type: ignore[no-untyped-call]


class Live:
    """One output of a cell that can be replaced. In a kernel only: a terminal would print each anew."""

    def __init__(self, view: Bundle) -> None:
        """Show `view` first."""
        self._handle: DisplayHandle = display(view, display_id=True)  # type: ignore[no-untyped-call]

    def update(self, view: Bundle) -> None:
        """Show `view` in its place. Any thread may do so: it lands in the cell that it began in."""
        self._handle.update(view)  # type: ignore[no-untyped-call]


class Record(Bundle):
    """A report as a cell shows it, and as the notebook keeps it."""

    def __init__(self, report: Report) -> None:
        """Show `report`."""
        self.report = report

    def text(self) -> str:
        """Return the headline, the table and the reasons."""
        return report_text(self.report, most=ROWS, program=MAGIC)

    def html(self) -> str:
        """Return the same with lanes on a time axis, and the last lines of what failed."""
        return record_html(self.report)


class PlanView(Bundle):
    """A plan that was not run."""

    def __init__(self, plan: Plan) -> None:
        """Show `plan`."""
        self.plan = plan

    def text(self) -> str:
        """Return it as a table of text."""
        return f"{plan_text(self.plan, most=PLAN_ROWS)}\n{_NOTHING}"

    def html(self) -> str:
        """Return it as a table, with the picture below where that has something to tell."""
        plan = self.plan
        rows = plan_rows(plan)
        shown = most_telling(rows, PLAN_ROWS)
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
        return _COLOURS[row.fate]
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
