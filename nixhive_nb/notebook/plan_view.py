"""A plan as a cell shows it: what would happen, as far as it is known without asking a host."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nixhive_nb.frames import action_text
from nixhive_nb.notebook import html
from nixhive_nb.notebook.bundle import Bundle
from nixhive_nb.plan.planner import store_host
from nixhive_nb.text import table_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.plan.plan import Plan, Target

ROWS = 50
_NOTHING = "Nothing was changed."


class PlanView(Bundle):
    """A plan that was not run."""

    def __init__(self, plan: Plan) -> None:
        """Show `plan`."""
        self.plan = plan

    def text(self) -> str:
        """Give it as a table of text."""
        header, rows = self._table()
        lines = [f"{self._title()}  ({' · '.join(self._facts())})", table_text(header, rows[:ROWS])]
        lines += [f"warning: {warning}" for warning in self.plan.warnings]
        return "\n".join([*lines, *self._rest(rows), _NOTHING])

    def html(self) -> str:
        """Give it as a table."""
        header, rows = self._table()
        cells = ["".join(_cell(title, value) for title, value in zip(header, row, strict=True)) for row in rows[:ROWS]]
        parts = [
            html.head(html.escaped(self._title()), map(html.escaped, self._facts())),
            html.table([(title, title == "wave") for title in header], cells),
        ]
        parts += [
            f"<div>{html.coloured(html.WARN, '⚠ warning')} {html.escaped(text, most=2000)}</div>"
            for text in self.plan.warnings
        ]
        return "".join([*parts, *map(html.note, [*map(html.escaped, self._rest(rows)), _NOTHING])])

    def _title(self) -> str:
        return f"Plan {self.plan.digest}"

    def _facts(self) -> list[str]:
        plan = self.plan
        kinds = Counter(step.kind for step in plan.steps)
        known = sum(1 for step in plan.steps if step.kind == "build" and step.path)
        new = len(plan.systems) - known
        verb = "build" if plan.options.realise else "instantiate"
        facts = [f"{plan.verb} {plan.source}"]
        if plan.targets:
            waves = len({target.wave for target in plan.targets})
            facts += [_count(len(plan.targets), "instance"), _count(waves, "wave")]
        facts.append(f"{_count(new, 'system')} to {verb}")
        if known:
            facts.append(f"{known} as last built")
        if kinds["push"]:
            facts.append(_count(kinds["push"], "push to a store", "pushes to stores"))
        return facts

    def _table(self) -> tuple[list[str], list[list[str]]]:
        plan = self.plan
        if plan.verb == "build":
            verb = "build" if plan.options.realise else "instantiate"
            known = {step.system for step in plan.steps if step.kind == "build" and step.path}
            rows = [[name, "nothing: as last built" if name in known else verb] for name in plan.systems]
            return ["system", "what will happen"], rows
        return ["wave", "instance", "system", "what will happen", "via"], [_row(plan, one) for one in plan.targets]

    def _rest(self, rows: Sequence[object]) -> list[str]:
        return [f"… and {len(rows) - ROWS} more"] if len(rows) > ROWS else []


def _row(plan: Plan, target: Target) -> list[str]:
    action = action_text(plan, store_host(target.store) or target.store)
    return [str(target.wave), target.instance, target.system, action, target.store]


def _cell(title: str, value: str) -> str:
    text = html.escaped(value)
    return html.cell(html.dim(text) if title == "via" else text, number=title == "wave")


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"
