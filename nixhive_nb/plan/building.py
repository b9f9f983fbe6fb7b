"""The steps that make systems (evaluate, build, sign), and those that do something on one host."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from nixhive_nb.plan.routes import login_locks
from nixhive_nb.plan.step import Step, step_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.plan import Survey, Target
    from nixhive_nb.plan.step import Kind


NODES_A_PROCESS = 8
"""Of other formats, where each node is a configuration of its own: how many one process evaluates.

Some nodes share the start of an evaluation, and too many its memory: half a gigabyte a node, which a set of all nodes
holds on to. It is a number, and nothing of the machine, since a plan is the same plan on each.
"""


def instantiate_steps(inventory: Inventory, systems: Iterable[str]) -> list[Step]:
    """Return a step for each group of systems that share their include paths, so that one process evaluates it.

    Of other formats than ours a group is small, so that several are evaluated side by side.
    """
    ordered = sorted(systems, key=lambda system: (inventory.include_paths(system), system))
    shared = (tuple(group) for _, group in groupby(ordered, key=inventory.include_paths))
    groups = [part for group in shared for part in _parted(group, inventory.format)]
    return [
        Step(id=step_id("instantiate", *group), kind="instantiate", systems=group, locks=("evaluate",))
        for group in groups
    ]


def build_steps(
    inventory: Inventory,
    systems: Sequence[str],
    known: Mapping[str, str],
    survey: Survey | None,
    *,
    realise: bool,
    elsewhere: Collection[str] = (),
) -> list[Step]:
    """Return the steps from the expressions to a verdict on each system.

    What is known is taken as it is. What a survey has evaluated is not evaluated again; where that failed, the step
    `register` fails with what was said then. Those that are built elsewhere are only evaluated here.
    """
    evaluated = {one.system: one for one in survey.wanted} if survey else {}
    new = [system for system in systems if not known.get(system)]
    steps = instantiate_steps(inventory, [system for system in new if system not in evaluated])
    before = tuple(step.id for step in steps)
    buildable = tuple(system for system in new if system not in evaluated or not evaluated[system].error)
    here = tuple(system for system in buildable if system not in elsewhere)
    evaluated_by = before
    if realise and here:
        build = Step(id=step_id("build"), kind="build", systems=here, after=before)
        steps.append(build)
        before = (build.id,)
    steps += [
        Step(
            id=step_id("register", system),
            kind="register",
            systems=(system,),
            path=known.get(system, ""),
            after=() if system not in buildable else before if system in here else evaluated_by,
        )
        for system in systems
    ]
    return steps


def _parted(group: tuple[str, ...], format_: str) -> Iterator[tuple[str, ...]]:
    size = len(group) if format_ == "hive" else NODES_A_PROCESS
    return (group[start : start + size] for start in range(0, len(group), size))


def host_step(inventory: Inventory, target: Target, kind: Kind, *, needs: tuple[str, ...] = ()) -> Step:
    """Return the step that does something on one instance, over a login."""
    return Step(
        id=step_id(kind, target.instance),
        kind=kind,
        systems=(target.system,),
        instance=target.instance,
        wave=target.wave,
        needs=needs,
        locks=login_locks(inventory.instances[target.instance]),
    )


def sign_step(system: str) -> Step:
    """Return the step that signs the closure of a system."""
    return Step(id=step_id("sign", system), kind="sign", systems=(system,), needs=(step_id("register", system),))
