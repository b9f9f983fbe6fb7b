"""Where a rollback goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.planner import Goal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.plan.facts import Generation

_NAMED = 8


def goals_of(generations: Mapping[str, Sequence[Generation]], to: int) -> dict[str, Goal]:
    """Return where each instance goes back to: generation `to`, or with 0 the one before its current one.

    `generations` are the newest first. Raises `OptionError` that names the instances which have no such one.
    """
    goals = {name: _goal(found, to) for name, found in generations.items()}
    lacking = [f"  {name}: {_has(generations[name])}" for name, goal in goals.items() if goal is None]
    if lacking:
        what = f"no generation {to}" if to else "no generation before the current one"
        raise OptionError("\n".join([f"There is {what} on:", *lacking]))
    return {name: goal for name, goal in goals.items() if goal is not None}


def _goal(generations: Sequence[Generation], to: int) -> Goal | None:
    current = next((one.number for one in generations if one.current), 0)
    fit = (one for one in generations if (one.number == to if to else one.number < current))
    return next((Goal(one.path, one.number) for one in fit), None)


def _has(generations: Sequence[Generation]) -> str:
    if not generations:
        return "it has none"
    numbers = [f"{one.number}{' (current)' if one.current else ''}" for one in generations]
    return f"it has {', '.join(numbers[:_NAMED])}{' …' if len(numbers) > _NAMED else ''}"
