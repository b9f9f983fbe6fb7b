"""Whether a plan still fits: what differs between it and one that was made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.plan.placing import refused_places
from nixhive_nb.plan.terms import changed_terms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.plan import Plan

_NOTHING = "nothing"


def differences(plan: Plan, fresh: Plan) -> tuple[str, ...]:
    """Return a line for each thing that changed since `plan` was made; `fresh` is the same plan, made now.

    An instance that could not be asked, then or now, is no difference: the run will tell.
    """
    found = (
        *_systems(plan, fresh),
        *_instances(plan, fresh),
        *_places(plan, fresh),
        *changed_terms(plan.terms, fresh.terms),
    )
    if not found:
        found = tuple(_left_alone(plan, fresh))
    # What is planned for a host depends on whether it could be asked.
    if not found and _answered(plan) == _answered(fresh) and _what(plan) != _what(fresh):
        return ("the deployment gives other steps than those of the plan",)
    return found


def gone(plan: Plan, inventory: Inventory) -> tuple[str, ...]:
    """Return a line for each instance and system of a plan that a deployment does not have: what nothing can force.

    Without it, ssh would take the name of an instance for that of any host.
    """
    own = dict.fromkeys([*(target.instance for target in plan.targets), *(step.instance for step in plan.steps)])
    instances = (name for name in own if name and name not in inventory.instances)
    others = (name for name in plan.terms.hosts if name not in own and name not in inventory.instances)
    return (
        *(f"{name}: there is no such instance" for name in instances),
        *(f"{name}: there is no such instance, and the plan goes through it, reads or builds there" for name in others),
        *(f"system {name}: there is no such system" for name in plan.systems if name not in inventory.systems),
    )


def _systems(plan: Plan, fresh: Plan) -> Iterator[str]:
    before = {one.system: one for one in plan.wanted}
    for now in fresh.wanted:
        then = before.get(now.system)
        if then is None:
            yield f"system {now.system}: it is not in the plan"
        elif now.error != then.error:
            yield f"system {now.system}: {now.error or 'it can be evaluated now'}"
        elif now.derivation != then.derivation:
            yield f"system {now.system}: it evaluates to {now.derivation}, and was {then.derivation} in the plan"


def _instances(plan: Plan, fresh: Plan) -> Iterator[str]:
    targets = {target.instance: target for target in fresh.targets}
    for target in plan.targets:
        now = targets.pop(target.instance, None)
        if now is None:
            yield f"{target.instance}: it is no longer a target"
        elif now != target:
            yield f"{target.instance}: the deployment says {_said(now)}, and the plan {_said(target)}"
    for name in targets:
        yield f"{name}: it is a target now, and is not in the plan"
    seen = {one.instance: one for one in fresh.seen}
    for then in plan.seen:
        after = seen.get(then.instance)
        if after is None or after.facts is None or then.facts is None:
            continue
        for what, old, new in (
            ("runs", then.facts.current, after.facts.current),
            ("boots", then.facts.profile, after.facts.profile),
            ("was booted with", then.facts.booted, after.facts.booted),
        ):
            if old != new:
                yield f"{then.instance}: it {what} {new or _NOTHING} now, and {old or _NOTHING} when the plan was made"


def _places(plan: Plan, fresh: Plan) -> Iterator[str]:
    pairs = [(step.system, step.store) for step in plan.steps if step.kind == "build" and step.store]
    then, now = refused_places(plan, pairs), refused_places(fresh, pairs)
    for system, store in pairs:
        if (system, store) in then and (system, store) not in now:
            yield f"{store}: it can build {system} now, and could not when the plan was made"
        elif (system, store) not in then and (system, store) in now:
            yield now[system, store]


def _left_alone(plan: Plan, fresh: Plan) -> Iterator[str]:
    """Yield the instances that one of both plans leaves as they are: by more than what they run and boot."""
    then, now, asked = _settled(plan), _settled(fresh), _answered(plan) & _answered(fresh)
    for name in (target.instance for target in plan.targets if target.instance in asked):
        if name in then and name not in now:
            yield f"{name}: the plan leaves it as it is, and now it is not as wanted (a mixture, its boot loader?)"
        elif name in now and name not in then:
            yield f"{name}: it is as wanted now, and was not when the plan was made"


def _settled(plan: Plan) -> set[str]:
    return {step.instance for step in plan.steps if step.kind == "probe"}


def _what(plan: Plan) -> tuple[object, ...]:
    """Return what is compared where no difference can be named: with the above, all that a digest covers."""
    return plan.verb, plan.systems, plan.targets, plan.steps, plan.options, plan.allowed


def _said(target: object) -> str:
    fields = msgspec.to_builtins(target)
    return f"system {fields['system']}, store {fields['store'] or 'none'}, wave {fields['wave']}"


def _answered(plan: Plan) -> set[str]:
    return {one.instance for one in plan.seen if one.facts is not None}
