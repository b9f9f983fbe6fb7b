"""Inventory, targets and options → a plan. What a plan is made of stands in `building`, `waves` and `surveys`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.building import build_steps, host_step, sign_step
from nixhive_nb.plan.placing import (
    builds_elsewhere,
    built_before,
    places_of,
    placing_warnings,
    self_builders,
)
from nixhive_nb.plan.plan import Options, Plan, Survey, Target, Verb
from nixhive_nb.plan.relays import RelayTree, after_relays, push_steps, way
from nixhive_nb.plan.routes import fetch_locks, relies_on
from nixhive_nb.plan.settled import settled
from nixhive_nb.plan.step import Step, step_id
from nixhive_nb.plan.survey import seen_among, targets_of, wanted_among
from nixhive_nb.plan.terms import terms_of
from nixhive_nb.plan.twins import one_by_one, twins, warning
from nixhive_nb.plan.waves import allowed_failures, cut, gated, numbered
from nixhive_nb.util.collecting import collected_seldom

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.targets import Targets
    from nixhive_nb.plan.facts import Seen

_COSTS = (
    "No signing.keyFile in the deployment: instances refuse an unsigned path from their relay, so this machine sends "
    "the whole system to each instance with a store ({count} of them). "
    "To make a key: nix-store --generate-binary-cache-key."
)


class Goal(msgspec.Struct, frozen=True):
    """What an instance goes back to."""

    path: str
    generation: int


def plan_build(
    inventory: Inventory,
    systems: Sequence[str],
    options: Options,
    known: Mapping[str, str] | None = None,
    *,
    survey: Survey | None = None,
) -> Plan:
    """Return the plan that builds `systems`; those in `known` (result by system) are taken as they are."""
    return Plan(
        verb="build",
        source=inventory.source,
        systems=tuple(systems),
        targets=(),
        steps=tuple(build_steps(inventory, systems, known or {}, survey, realise=options.realise)),
        options=options,
        wanted=wanted_among(survey, systems),
        terms=terms_of(inventory, ()),
    )


@collected_seldom()
def plan_transfer(
    inventory: Inventory,
    targets: Targets,
    verb: Verb,
    options: Options,
    known: Mapping[str, str] | None = None,
    *,
    survey: Survey | None = None,
    leave_out: Collection[str] = (),
) -> Plan:
    """Return the plan that pushes, and for `deploy` activates, the systems of the targeted instances.

    Each (system, store) pair is pushed once, from relay to relay where these read from each other. An instance fetches
    as soon as its own relay has its system. Waves gate activation alone: content may move ahead. Targets in `leave_out`
    are not in the plan. For a host that says that a deploy would change nothing there is one step, which sees that this
    is still so. Raises `OptionError`.
    """
    if options.reboot != "never" and options.type in ("test", "dry-activate"):
        raise OptionError(f"-t {options.type} lasts until a reboot at most: --reboot goes with switch and boot alone.")
    chosen = tuple(target for target in targets_of(inventory, targets) if target.instance not in leave_out)
    parts = cut(inventory, chosen, options) if verb == "deploy" else ()
    chosen = numbered(chosen, parts) if parts else chosen
    systems = tuple(dict.fromkeys(target.system for target in chosen))
    so_already = settled(survey, options) if verb == "deploy" else {}
    lacking = [target for target in chosen if target.instance not in so_already]
    needed = tuple(dict.fromkeys(target.system for target in lacking))
    places = places_of(inventory, lacking, options, known or {})
    by_itself = self_builders(inventory, lacking, options)
    elsewhere = {target.system for target in lacking if target.instance in places}
    steps = build_steps(inventory, needed, known or {}, survey, realise=True, elsewhere=elsewhere)
    ready = {system: step_id("register", system) for system in needed}
    if inventory.signing_key:
        signs = [sign_step(system) for system in needed if system not in elsewhere]
        steps += signs
        ready |= {step.system: step.id for step in signs}
    builds = builds_elsewhere(inventory, lacking, places, by_itself)
    from_relays = [target for target in lacking if target.instance not in by_itself]
    tree = RelayTree(inventory)
    pushes = push_steps(tree, from_relays, ready, (places, builds), reroute=options.reroute)
    pushed = {(step.system, step.store): step.id for step in pushes}
    fetches = [
        after_relays(
            built_before(_fetch_step(inventory, target, ready), place, builds),
            [
                pushed[target.system, store]
                for store in way(tree, target.store, place)
                if (target.system, store) in pushed
            ],
            reroute=options.reroute,
        )
        for target, place in ((one, places.get(one.instance, "")) for one in lacking)
    ]
    steps += [*builds, *pushes, *fetches]
    if verb == "deploy":
        fetched = {step.instance: step.id for step in fetches}
        own = _activations(inventory, lacking, options, fetched, pushes)
        own |= {
            target.instance: (_settled_step(inventory, target, so_already[target.instance]),)
            for target in chosen
            if target.instance in so_already
        }
        steps += gated(inventory, parts, options, own)
    seen = seen_among(survey, chosen)
    return Plan(
        verb=verb,
        source=inventory.source,
        systems=systems,
        targets=chosen,
        steps=tuple(one_by_one(steps, twins(seen))),
        options=options,
        warnings=(
            *_signing_warning(inventory, [target for target in lacking if target.instance not in places]),
            *placing_warnings(inventory, lacking, places, by_itself, survey),
            *map(warning, twins(seen)),
            *_platform_warnings(inventory, chosen, seen),
            *(_power_warnings([target.instance for target in lacking], seen) if verb == "deploy" else ()),
        ),
        allowed=allowed_failures(options.max_failures, len(chosen)) if verb == "deploy" else None,
        wanted=wanted_among(survey, systems),
        seen=seen,
        places=tuple(one for one in (survey.places if survey else ()) if one.store in places.values()),
        sendings=tuple(one for one in (survey.sendings if survey else ()) if one.store in places.values()),
        terms=terms_of(inventory, [target.instance for target in chosen]),
    )


def plan_rollback(
    inventory: Inventory, targets: Targets, options: Options, goals: Mapping[str, Goal], survey: Survey
) -> Plan:
    """Return the plan that makes each targeted instance run its goal again, in waves as a deploy does.

    A target without a goal is left out, and the plan has a warning that says so. Raises `OptionError`.
    """
    every = targets_of(inventory, targets)
    chosen = tuple(target for target in every if target.instance in goals)
    why = {one.instance: one.error for one in survey.seen}
    warnings = tuple(
        f"{target.instance} is left out: {why.get(target.instance) or 'no generation to go back to is known'}"
        for target in every
        if target.instance not in goals
    )
    parts = cut(inventory, chosen, options)
    own = {
        target.instance: _with_reboot(_rollback_step(inventory, target, goals[target.instance]), options)
        for target in chosen
    }
    seen = seen_among(survey, chosen)
    return Plan(
        verb="rollback",
        source=inventory.source,
        systems=(),
        targets=numbered(chosen, parts),
        steps=tuple(one_by_one(gated(inventory, parts, options, own), twins(seen))),
        options=options,
        warnings=(
            *warnings,
            *map(warning, twins(seen)),
            *_power_warnings([target.instance for target in chosen], seen),
        ),
        allowed=allowed_failures(options.max_failures, len(chosen)),
        seen=seen,
        terms=terms_of(inventory, [target.instance for target in chosen]),
    )


def plan_reboot(inventory: Inventory, targets: Targets, options: Options, survey: Survey) -> Plan:
    """Return the plan that reboots each targeted instance, in waves as a deploy activates.

    A host that others of its wave jump through is back before they are rebooted. Raises `OptionError`.
    """
    chosen = targets_of(inventory, targets)
    parts = cut(inventory, chosen, options, reads=False)
    own = {target.instance: (_reboot_step(inventory, target),) for target in chosen}
    seen = seen_among(survey, chosen)
    return Plan(
        verb="reboot",
        source=inventory.source,
        systems=(),
        targets=numbered(chosen, parts),
        steps=tuple(one_by_one(gated(inventory, parts, options, own), twins(seen))),
        options=options,
        warnings=(
            *map(warning, twins(seen)),
            *_power_warnings([target.instance for target in chosen], seen),
        ),
        allowed=allowed_failures(options.max_failures, len(chosen)),
        seen=seen,
        terms=terms_of(inventory, [target.instance for target in chosen]),
    )


def _fetch_step(inventory: Inventory, target: Target, ready: Mapping[str, str]) -> Step:
    return Step(
        id=step_id("fetch", target.instance),
        kind="fetch",
        systems=(target.system,),
        instance=target.instance,
        store=target.store,
        wave=target.wave,
        needs=(ready[target.system],),
        locks=fetch_locks(inventory.instances[target.instance]),
    )


def _activations(
    inventory: Inventory,
    targets: Sequence[Target],
    options: Options,
    fetched: Mapping[str, str],
    pushes: Sequence[Step],
) -> dict[str, tuple[Step, ...]]:
    """Return the steps that make each instance run its system; it has fetched before, by the step in `fetched`."""
    # A reboot in the middle of copies from a host, to it, or through it, would cut them.
    copies: dict[str, list[str]] = defaultdict(list)
    for target in targets if options.reboot != "never" else ():
        for host in relies_on(inventory.instances[target.instance]):
            copies[host].append(fetched[target.instance])
    for push in pushes if options.reboot != "never" else ():
        relay = inventory.instances.get(store_host(push.store))
        for host in (*relies_on(relay), relay.name) if relay else ():
            copies[host].append(push.id)
    own = {}
    for target in targets:
        ready = host_step(inventory, target, "activate", needs=(fetched[target.instance],))
        own[target.instance] = _with_reboot(ready, options, after=tuple(copies.get(target.instance, ())))
    return own


def _settled_step(inventory: Inventory, target: Target, path: str) -> Step:
    return msgspec.structs.replace(host_step(inventory, target, "probe"), path=path)


def _rollback_step(inventory: Inventory, target: Target, goal: Goal) -> Step:
    step = host_step(inventory, target, "activate")
    return msgspec.structs.replace(step, path=goal.path, generation=goal.generation)


def _reboot_step(inventory: Inventory, target: Target) -> Step:
    # It is about no system: what the next boot starts is what the instance must run then.
    return msgspec.structs.replace(host_step(inventory, target, "reboot"), systems=())


def _with_reboot(activate: Step, options: Options, after: tuple[str, ...] = ()) -> tuple[Step, ...]:
    if options.reboot == "never":
        return (activate,)
    reboot = msgspec.structs.replace(
        activate, id=step_id("reboot", activate.instance), kind="reboot", needs=(activate.id,), after=after
    )
    return activate, reboot


def _signing_warning(inventory: Inventory, targets: Sequence[Target]) -> Iterable[str]:
    count = sum(1 for target in targets if target.store)
    if count and not inventory.signing_key:
        yield _COSTS.format(count=count)


def _power_warnings(names: Sequence[str], seen: Sequence[Seen]) -> Iterable[str]:
    """Return the instances whose logins do not become root, with what to do."""
    why = {one.instance: one.powerless for one in seen if one.powerless}
    return (f"{name}: {why[name]}" for name in names if name in why)


def _platform_warnings(inventory: Inventory, targets: Sequence[Target], seen: Sequence[Seen]) -> Iterable[str]:
    """Return the instances whose kernel does not run what the deployment says that their system is for."""
    facts = {one.instance: one.facts for one in seen}
    for target in targets:
        platform, found = inventory.systems[target.system].platform, facts.get(target.instance)
        if found is not None and not found.can_run(platform):
            yield (
                f"{target.instance}: its kernel runs {', '.join(found.runs)}, and system {target.system} is for "
                f"{platform}. It is refused before the copy, unless you say --force."
            )
