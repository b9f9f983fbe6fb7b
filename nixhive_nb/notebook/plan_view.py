"""A plan as a cell shows it: what would happen, as far as it is known, and a picture of its waves and relays."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from nixhive_nb.notebook.bundle import Bundle
from nixhive_nb.notebook.listing_view import screen
from nixhive_nb.util import html
from nixhive_nb.view.listing_html import listing_html
from nixhive_nb.view.plan import plan_listing, plan_text
from nixhive_nb.view.plan_picture import svg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixhive_nb.plan.plan import Plan

ROWS = 50
_NOTHING = "Nothing was changed."


class PlanView(Bundle):
    """A plan that was not run."""

    def __init__(self, plan: Plan, *, wide: bool = False) -> None:
        """Show `plan`; `wide` has all columns of its table."""
        self.plan = plan
        self.wide = wide

    def text(self) -> str:
        """Return it as a table of text."""
        return f"{plan_text(self.plan, most=ROWS, screen=screen(), wide=self.wide)}\n{_NOTHING}"

    def html(self) -> str:
        """Return it as a table, with the picture below where that has something to tell."""
        table = listing_html(plan_listing(self.plan, most=ROWS), wide=self.wide)
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
