"""What a cell shows: what all of it has in common, lines about the work, listings, the record of a run, a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from typing import TYPE_CHECKING

from IPython.display import display

from nixhive_nb.notebook.private import in_kernel
from nixhive_nb.util import html
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.listing_html import listing_html
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.plan import plan_listing, plan_text
from nixhive_nb.view.plan_picture import svg
from nixhive_nb.view.record import MAGIC, ROWS, record_html
from nixhive_nb.view.report import report_text
from nixhive_nb.view.screen import ENDLESS, Screen, screen_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from IPython.display import DisplayHandle

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.report import Report
    from nixhive_nb.view.listing import Table

TABLE_ROWS = 50
"""A notebook keeps what it shows, whatever the size of the fleet."""
_NOTHING = "Nothing was changed."


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


class ListingView(Bundle):
    """A listing of which a cell shows the beginning; the value of the command has all of it."""

    def __init__(self, table: Table, *, wide: bool = False) -> None:
        """Show `table`; `wide` has all its columns."""
        self.table = table.cut(TABLE_ROWS)
        self.wide = wide

    def text(self) -> str:
        """Return it as a table of text, in a terminal fitted to that."""
        return listing_text(self.table, screen(), wide=self.wide)

    def html(self) -> str:
        """Return it as a table."""
        return listing_html(self.table, wide=self.wide)


def screen() -> Screen:
    """Return what text is shown on: a terminal where this is one, without its colours; else what has no width."""
    return ENDLESS if in_kernel() else Screen(width=screen_of().width)


class PlanView(Bundle):
    """A plan that was not run."""

    def __init__(self, plan: Plan, *, wide: bool = False) -> None:
        """Show `plan`; `wide` has all columns of its table."""
        self.plan = plan
        self.wide = wide

    def text(self) -> str:
        """Return it as a table of text."""
        return f"{plan_text(self.plan, most=TABLE_ROWS, screen=screen(), wide=self.wide)}\n{_NOTHING}"

    def html(self) -> str:
        """Return it as a table, with the picture below where that has something to tell."""
        table = listing_html(plan_listing(self.plan, most=TABLE_ROWS), wide=self.wide)
        return "".join([table, *_picture(self.plan), html.note(_NOTHING)])


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
