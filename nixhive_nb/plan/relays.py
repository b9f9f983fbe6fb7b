"""The tree of relays: a relay that is an instance with a store of its own reads from that, as any instance does.

What is pushed to a relay is pushed before to the one that it reads from, so each link carries a system once. By names
of stores: see `deployment.stores`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host, store_names
from nixhive_nb.plan.placing import built_before
from nixhive_nb.plan.routes import ALL
from nixhive_nb.plan.step import Step, step_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.plan import Target


class RelayTree:
    """Which store each store of a deployment reads from."""

    def __init__(self, inventory: Inventory) -> None:
        """Nothing is worked out before it is asked for: thousands of instances share a few stores."""
        self._instances = inventory.instances
        self._names = store_names(instance.store for instance in inventory.instances.values())
        self._above: dict[str, tuple[str, ...]] = {"": ()}

    def above(self, store: str) -> tuple[str, ...]:
        """Return the stores that content passes on its way to a store, the nearest first; none for one at the top."""
        if store not in self._above:
            self._above[store] = self._climbed(store)
        return self._above[store]

    def _climbed(self, store: str) -> tuple[str, ...]:
        trail = [store]
        while parent := self._parent(trail[-1]):
            if parent in trail:
                # A circle is told when a deployment is loaded. Here nothing stands above those that are in one.
                return tuple(trail[1 : trail.index(parent) + 1])
            trail.append(parent)
        return tuple(trail[1:])

    def _parent(self, store: str) -> str:
        host = store_host(store)
        relay = self._instances.get(host)
        if relay is None or store_host(relay.store) == host:
            return ""
        return self._names.get(relay.store, "")


def push_steps(
    tree: RelayTree,
    targets: Iterable[Target],
    ready: Mapping[str, str],
    elsewhere: tuple[Mapping[str, str], Sequence[Step]],
    *,
    reroute: bool = False,
) -> list[Step]:
    """Return a step for each system and each store on its way to the targets, those of the upper stores first.

    `ready` has the step after which a system can be sent, `elsewhere` the store that builds it for an instance, where
    that is not here, and the steps of that. A relay waits for the one above it. With `reroute` it does not need it: it
    can be passed by.
    """
    places, builds = elsewhere
    pairs: dict[tuple[str, str], str] = {}
    for target in targets:
        if target.store:
            place = places.get(target.instance, "")
            for store in way(tree, target.store, place)[::-1]:
                pairs.setdefault((store, target.system), place)
    found = []
    stores = _by_store(pairs)
    for store, systems in sorted(stores.items(), key=lambda one: len(tree.above(one[0]))):
        for system in systems:
            place = pairs[store, system]
            before = tuple(step_id("push", system, one) for one in way(tree, store, place)[1:])
            step = Step(
                id=step_id("push", system, store),
                kind="push",
                systems=(system,),
                store=store,
                needs=(ready[system],),
                locks=(ALL, f"store:{store}", *([f"relay:{tree.above(store)[0]}"] if before else [])),
            )
            found.append(after_relays(built_before(step, place, builds), before, reroute=reroute))
    return found


def after_relays(step: Step, pushes: Sequence[str], *, reroute: bool) -> Step:
    """Return a step that waits for the pushes to the stores above it, the nearest first.

    It needs that nearest one; with `reroute` none of them, and each must have ended.
    """
    if reroute:
        return msgspec.structs.replace(step, after=(*step.after, *pushes))
    return msgspec.structs.replace(step, needs=(*step.needs, *pushes[:1]))


def sources_of(step: Step, pushes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the stores that what a step moves may come from, the nearest first: its own, and those that it waits for.

    `pushes` has the store of each step of a plan that pushes.
    """
    own = (step.store,) if step.kind == "fetch" and step.store else ()
    above = (pushes[name] for name in (*step.needs, *step.after) if name in pushes)
    return tuple(dict.fromkeys([*own, *above]))


def reads_from(steps: Iterable[Step]) -> dict[str, str]:
    """Return for each store that steps push to the store that it reads from, the upper ones first.

    That is empty where this machine sends.
    """
    pushes = {step.id: step for step in steps if step.kind == "push"}
    stores = {name: step.store for name, step in pushes.items()}
    found: dict[str, str] = {}
    for step in pushes.values():
        above = sources_of(step, stores)
        found[step.store] = found.get(step.store) or (above[0] if above else "")
    return found


def way(tree: RelayTree, store: str, place: str = "") -> tuple[str, ...]:
    """Return a store and those above it, the nearest first, as far as content comes from there.

    Content that another machine builds at a `place` passes no store above that.
    """
    if not store:
        return ()
    every = (store, *tree.above(store))
    hosts = [store_host(one) for one in every]
    built_by = store_host(place)
    return every[: hosts.index(built_by) + 1] if built_by in hosts else every


def _by_store(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for store, system in pairs:
        found.setdefault(store, []).append(system)
    return found
