"""What has failed so far, and what may therefore not be begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.plan.events import BAD, GOOD
from nixhive_nb.plan.step import CHANGING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nixhive_nb.plan.events import StepEnded
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.step import Step


class Policy:
    """Counts failed instances, and judges gates and steps by them."""

    def __init__(self, plan: Plan, ended: Mapping[str, StepEnded]) -> None:
        """Take the records that the engine fills, step by step (`ended`)."""
        self._allowed = plan.allowed
        self._steps = {step.id: step for step in plan.steps}
        self._own = plan.own_steps()
        self._ended = ended
        self._failed: set[str] = set()

    def note(self, ended: StepEnded) -> None:
        """Take the end of a step into account.

        An instance has failed when a step of its own did, or cannot be tried since a build or a copy failed; not when
        it is held back by a gate, by too many failures, or by a stop.
        """
        instance = self._steps[ended.step].instance
        if instance and (ended.outcome in BAD or (ended.outcome == "skipped" and self._was_broken(ended.cause))):
            self._failed.add(instance)

    def refusal(self, step: Step) -> str:
        """Return why a step must not be begun after what has failed; empty when it may be."""
        return self._too_many() if step.kind in CHANGING else ""

    def verdict(self, gate: Step) -> str:
        """Return why a gate stays closed; empty when what comes after it may be begun."""
        return self._broken_check(gate) or (self._not_as_wanted(gate) if gate.strict else "") or self._too_many()

    def _was_broken(self, cause: str) -> bool:
        return bool(cause) and self._steps[cause].kind != "gate" and self._ended[cause].outcome in BAD

    def _too_many(self) -> str:
        count = len(self._failed)
        if self._allowed is None or count <= self._allowed:
            return ""
        return f"{count} instance{'s' if count > 1 else ''} failed, more than the {self._allowed} allowed"

    def _broken_check(self, gate: Step) -> str:
        checks = (self._ended[name] for name in gate.after if self._steps[name].kind == "check")
        return _said(f"{self._told(one)}" for one in checks if one.outcome in BAD)

    def _not_as_wanted(self, gate: Step) -> str:
        instances = dict.fromkeys(self._steps[name].instance for name in gate.after)
        ends = ((self._ended[name] for name in self._own.get(instance, ())) for instance in instances)
        bad = (next((one for one in found if one.outcome not in GOOD), None) for found in ends)
        return _said(f"canary {self._told(one)}" for one in bad if one)

    def _told(self, ended: StepEnded) -> str:
        step = self._steps[ended.step]
        return f"{step.instance}: {step.kind} {ended.outcome}: {ended.reason}".rstrip(": ")


def _said(reasons: Iterable[str]) -> str:
    found = list(reasons)
    return f"{found[0]} (and {len(found) - 1} more)" if len(found) > 1 else "".join(found)
