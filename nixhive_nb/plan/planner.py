"""Inventory, targets and options → a plan."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from nixhive_nb.plan.plan import Options, Plan, Target, Verb
from nixhive_nb.plan.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Instance, Inventory
    from nixhive_nb.deployment.targets import Targets

ALL = "all"
"""The limit that every step on a host or a store counts against."""

_COSTS = (
    "No signing.keyFile in the deployment: instances refuse an unsigned path from their relay, so this machine sends "
    "the whole system to each of {count} instances with a store. To make a key: nix-store --generate-binary-cache-key."
)
_JUMP = re.compile(r"^(?:ssh://)?(?:[^@]*@)?(\[[^\]]*\]|[^:]*)")


def plan_build(
    inventory: Inventory, systems: Sequence[str], options: Options, known: Mapping[str, str] | None = None
) -> Plan:
    """Give the plan that builds `systems`; those in `known` (result by system) are taken as they are."""
    steps = tuple(_build_steps(inventory, systems, known or {}, realise=options.realise))
    return Plan(verb="build", source=inventory.source, systems=tuple(systems), targets=(), steps=steps, options=options)


def plan_transfer(
    inventory: Inventory, targets: Targets, verb: Verb, options: Options, known: Mapping[str, str] | None = None
) -> Plan:
    """Give the plan that pushes, and for `deploy` activates, the systems of the targeted instances.

    Each (system, store) pair is pushed once. An instance fetches as soon as its own relay has its system. Waves gate
    activation alone: content may move ahead.
    """
    chosen = tuple(
        _target(inventory.instances[name], number)
        for number, wave in enumerate(targets.waves, start=1)
        for name in wave.instances
    )
    systems = tuple(dict.fromkeys(target.system for target in chosen))
    steps = _build_steps(inventory, systems, known or {}, realise=True)
    ready = {system: f"build:{system}" for system in systems}
    if inventory.signing_key:
        signs = [_sign_step(system) for system in systems]
        steps += signs
        ready |= {step.system: step.id for step in signs}
    steps += _push_steps(chosen, ready)
    steps += [_fetch_step(inventory, target, ready) for target in chosen]
    if verb == "deploy":
        steps += _activate_steps(inventory, chosen)
    return Plan(
        verb=verb,
        source=inventory.source,
        systems=systems,
        targets=chosen,
        steps=tuple(steps),
        options=options,
        warnings=tuple(_signing_warning(inventory, chosen)),
    )


def jump_hosts(instance: Instance) -> tuple[str, ...]:
    """Give the names of the hosts that `ProxyJump` leads through, in the order in which they are passed."""
    value = next((values[-1] for name, values in instance.ssh if name.lower() == "proxyjump"), "none")
    if value.lower() == "none":
        return ()
    found = (_JUMP.match(hop.strip()) for hop in value.split(","))
    return tuple(hop[1].strip("[]") for hop in found if hop and hop[1])


def store_host(url: str) -> str:
    """Give the host that an `ssh://` or `ssh-ng://` store names; empty for other stores."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("ssh", "ssh-ng"):
        return ""
    authority = rest.partition("?")[0].partition("/")[0]
    found = _JUMP.match(authority)
    return found[1].strip("[]") if found else ""


def _target(instance: Instance, wave: int) -> Target:
    return Target(instance=instance.name, system=instance.system, store=instance.store, wave=wave)


def _build_steps(
    inventory: Inventory, systems: Sequence[str], known: Mapping[str, str], *, realise: bool
) -> list[Step]:
    new = [system for system in systems if not known.get(system)]
    steps = [
        Step(id=f"instantiate:{'+'.join(group)}", kind="instantiate", systems=group, locks=("evaluate",))
        for group in _groups(inventory, new)
    ]
    evaluated = tuple(step.id for step in steps)
    if realise and new:
        steps.append(Step(id="realise", kind="realise", systems=tuple(new), after=evaluated))
        evaluated = ("realise",)
    steps += [
        Step(
            id=f"build:{system}",
            kind="build",
            systems=(system,),
            path=known.get(system, ""),
            after=evaluated if system in new else (),
        )
        for system in systems
    ]
    return steps


def _groups(inventory: Inventory, systems: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """Cut the systems into those that share their include paths, so that each group is evaluated by one process."""
    ordered = sorted(systems, key=lambda system: (inventory.include_paths(system), system))
    for _, group in groupby(ordered, key=inventory.include_paths):
        yield tuple(group)


def _sign_step(system: str) -> Step:
    return Step(id=f"sign:{system}", kind="sign", systems=(system,), needs=(f"build:{system}",))


def _push_steps(targets: Sequence[Target], ready: Mapping[str, str]) -> list[Step]:
    pairs = dict.fromkeys((target.store, target.system) for target in targets if target.store)
    stores = dict.fromkeys(store for store, _ in pairs)
    return [
        Step(
            id=f"push:{system}>{store}",
            kind="push",
            systems=(system,),
            store=store,
            needs=(ready[system],),
            locks=(ALL, f"store:{store}"),
        )
        for wanted in stores
        for store, system in pairs
        if store == wanted
    ]


def _fetch_step(inventory: Inventory, target: Target, ready: Mapping[str, str]) -> Step:
    own = f"ssh://{target.instance}"
    needs = [ready[target.system]]
    if target.store:
        needs.append(f"push:{target.system}>{target.store}")
    # What is pushed to this very host as a relay counts against the same limit, so that two copies to one store
    # never send the paths that they share twice.
    locks = (ALL, f"store:{own}", *(f"jump:{hop}" for hop in jump_hosts(inventory.instances[target.instance])))
    return Step(
        id=f"fetch:{target.instance}",
        kind="fetch",
        systems=(target.system,),
        instance=target.instance,
        store=target.store,
        wave=target.wave,
        needs=tuple(needs),
        locks=locks,
    )


def _activate_steps(inventory: Inventory, targets: Sequence[Target]) -> list[Step]:
    steps: list[Step] = []
    gate: tuple[str, ...] = ()
    for number, members in groupby(targets, key=lambda target: target.wave):
        wave = tuple(members)
        names = {target.instance for target in wave}
        relied = {target.instance: _relies_on(inventory, target) & names for target in wave}
        ordered = _leaders_first(wave, relied)
        steps += [
            Step(
                id=f"activate:{target.instance}",
                kind="activate",
                systems=(target.system,),
                instance=target.instance,
                wave=number,
                needs=(f"fetch:{target.instance}",),
                after=gate + tuple(f"activate:{name}" for name in sorted(relied[target.instance])),
                locks=(ALL,),
            )
            for target in ordered
        ]
        steps.append(
            Step(id=f"wave:{number}", kind="wave", wave=number, after=tuple(f"activate:{t.instance}" for t in ordered))
        )
        gate = (f"wave:{number}",)
    return steps


def _relies_on(inventory: Inventory, target: Target) -> set[str]:
    """Give the hosts that an instance is reached through or reads from: they come first within a wave."""
    hosts = {*jump_hosts(inventory.instances[target.instance]), store_host(target.store)}
    return hosts - {target.instance}


def _leaders_first(wave: Sequence[Target], relied: Mapping[str, set[str]]) -> list[Target]:
    """Put each target after those that it relies on; two that rely on each other keep their order."""
    by_name = {target.instance: target for target in wave}
    ordered: dict[str, Target] = {}
    trail: list[str] = []

    def place(name: str) -> None:
        if name in ordered or name in trail:
            # Seen, or a circle: then the edge that closes it is dropped, since no order could satisfy it.
            return
        trail.append(name)
        for leader in sorted(relied[name]):
            if leader in trail:
                relied[name].discard(leader)
            place(leader)
        trail.pop()
        ordered[name] = by_name[name]

    for target in wave:
        place(target.instance)
    return list(ordered.values())


def _signing_warning(inventory: Inventory, targets: Sequence[Target]) -> Iterable[str]:
    count = sum(1 for target in targets if target.store)
    if count and not inventory.signing_key:
        yield _COSTS.format(count=count)
