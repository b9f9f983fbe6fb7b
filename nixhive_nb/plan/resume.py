"""Where a rollback goes, and what a resumed run need not do again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.planner import Goal
from nixhive_nb.plan.status import standings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.plan.facts import Generation
    from nixhive_nb.plan.plan import Options, Survey, Verb

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


def confirmed(survey: Survey, verb: Verb, options: Options) -> frozenset[str]:
    """Return the instances of which the hosts themselves say that nothing is left to do."""
    if verb == "push":
        return frozenset(one.instance for one in survey.seen if one.moves == 0)
    if verb != "deploy" or options.type != "switch":
        return frozenset()
    done = {name for name, state in standings(survey).items() if state in ("in sync", "reboot needed")}
    if options.reboot == "never":
        return frozenset(done)
    # A reboot was the last thing to do: what was booted tells whether it was done.
    booted = {one.instance for one in survey.seen if one.facts is not None and one.facts.booted == one.facts.current}
    return frozenset(done & booted)


def _goal(generations: Sequence[Generation], to: int) -> Goal | None:
    current = next((one.number for one in generations if one.current), 0)
    fit = (one for one in generations if (one.number == to if to else one.number < current))
    return next((Goal(one.path, one.number) for one in fit), None)


def _has(generations: Sequence[Generation]) -> str:
    if not generations:
        return "it has none"
    numbers = [f"{one.number}{' (current)' if one.current else ''}" for one in generations]
    return f"it has {', '.join(numbers[:_NAMED])}{' …' if len(numbers) > _NAMED else ''}"
