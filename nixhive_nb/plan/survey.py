"""Surveys: a run that changes nothing, and tells what is wanted of instances and how they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_names
from nixhive_nb.plan.building import host_step, instantiate_steps
from nixhive_nb.plan.facts import Seen, Wanted
from nixhive_nb.plan.placing import asking_steps, measuring_steps
from nixhive_nb.plan.plan import Options, Plan, Survey, Target
from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.targets import Targets
    from nixhive_nb.plan.step import Step


def targets_of(inventory: Inventory, targets: Targets) -> tuple[Target, ...]:
    """Return each targeted instance with what is wanted there, its store by name, and the number of its wave."""
    stores = store_names(instance.store for instance in inventory.instances.values())
    return tuple(
        Target(
            instance=name,
            system=inventory.instances[name].system,
            store=stores.get(inventory.instances[name].store, ""),
            wave=number,
        )
        for number, wave in enumerate(targets.waves, start=1)
        for name in wave.instances
    )


def plan_survey(
    inventory: Inventory,
    targets: Targets,
    options: Options,
    known: Mapping[str, str] | None = None,
    *,
    evaluate: bool = True,
    measure: bool = False,
    places: Mapping[str, str] | None = None,
) -> Plan:
    """Return the plan that asks the targeted instances and evaluates their systems, changing nothing.

    Results in `known` (by system) are taken as they are. `measure` also asks what each instance lacks. `places` has the
    store that builds for each instance whose system is not built here: these are asked, too.
    """
    chosen = targets_of(inventory, targets)
    systems = tuple(dict.fromkeys(target.system for target in chosen))
    taken = {system: known[system] for system in systems if known and known.get(system)}
    steps = [host_step(inventory, target, "probe") for target in chosen]
    probes = {step.instance: step.id for step in steps}
    evaluations = instantiate_steps(inventory, [one for one in systems if one not in taken]) if evaluate else []
    asking = asking_steps(inventory, chosen, places or {})
    steps += [*evaluations, *asking]
    if measure:
        steps += measuring_steps(asking, evaluations)
        groups = {system: step.id for step in evaluations for system in step.systems}
        steps += [_missing_step(inventory, target, taken, probes, groups) for target in chosen]
    return Plan(
        verb="survey",
        source=inventory.source,
        systems=systems,
        targets=chosen,
        steps=tuple(steps),
        options=options,
        wanted=tuple(Wanted(system=system, path=path) for system, path in taken.items()),
    )


def plan_evaluation(inventory: Inventory, systems: Sequence[str]) -> Plan:
    """Return the plan that evaluates systems and asks no host."""
    return Plan(
        verb="survey",
        source=inventory.source,
        systems=tuple(systems),
        targets=(),
        steps=tuple(instantiate_steps(inventory, systems)),
    )


def plan_checks(inventory: Inventory, targets: Targets) -> Plan:
    """Return the plan that runs the checks of those targeted instances that have some."""
    chosen = tuple(one for one in targets_of(inventory, targets) if inventory.instances[one.instance].checks)
    return Plan(
        verb="survey",
        source=inventory.source,
        systems=(),
        targets=chosen,
        steps=tuple(
            # Whatever system it runs.
            msgspec.structs.replace(host_step(inventory, target, "check"), systems=())
            for target in chosen
        ),
    )


def taken_along_text(wanted: Iterable[Wanted]) -> tuple[str, ...]:
    """Return a warning for each file and folder of ours that is there, and that systems take into the store."""
    takers: dict[str, list[str]] = {}
    for one in wanted:
        for path in one.takes:
            takers.setdefault(path, []).append(one.system)
    return tuple(
        f"The folder of the deployment goes into the store with {count_text(len(systems), 'system')} "
        f"({', '.join(systems)}), and {path} with it: everybody can read it there, and each change of it makes another "
        "system. Move it out of that folder (journals and the like: --state-dir), or leave it out: "
        f'builtins.path {{ path = ./.; filter = path: type: baseNameOf path != "{Path(path).name}"; }}.'
        for path, systems in takers.items()
        if Path(path).exists()
    )


def evaluation_warnings(wanted: Iterable[Wanted]) -> tuple[str, ...]:
    """Return the warnings of evaluations, each once, with the systems that it may be about."""
    systems: dict[str, list[str]] = {}
    for one in wanted:
        for text in one.warnings:
            systems.setdefault(text, []).append(one.system)
    return tuple(f"{text}\n(in system {', '.join(names)})" for text, names in systems.items())


def seen_among(survey: Survey | None, targets: Sequence[Target]) -> tuple[Seen, ...]:
    """Return how these targets were found, without those that the survey has beside them."""
    names = {target.instance for target in targets}
    return tuple(one for one in survey.seen if one.instance in names) if survey else ()


def wanted_among(survey: Survey | None, systems: Iterable[str]) -> tuple[Wanted, ...]:
    """Return what these systems evaluated to, without those that the survey has beside them."""
    names = set(systems)
    return tuple(one for one in survey.wanted if one.system in names) if survey else ()


def _missing_step(
    inventory: Inventory,
    target: Target,
    known: Mapping[str, str],
    probes: Mapping[str, str],
    groups: Mapping[str, str],
) -> Step:
    return msgspec.structs.replace(
        host_step(inventory, target, "missing"),
        store=target.store,
        path=known.get(target.system, ""),
        needs=(probes[target.instance],) if probes else (),
        after=(groups[target.system],) if target.system in groups else (),
    )
