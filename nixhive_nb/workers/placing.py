"""Which worker is near an instance, and carries it: by the names of places that workers are for. Pure values."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host, store_names
from nixhive_nb.plan.relays import RelayTree
from nixhive_nb.plan.subtrees import Subtree
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from nixhive_nb.deployment.inventory import Inventory


_NAMED = 3
"""How many hosts of a subtree are named."""


class Placed(msgspec.Struct, frozen=True):
    """A subtree of a plan, or a part of it, on the worker that carries it."""

    subtree: Subtree
    worker: str
    """Empty: this machine carries it, or none that is near it is there."""

    @property
    def text(self) -> str:
        """Who carries how much of a plan, and to which hosts, in a line."""
        hosts, count = self.subtree.hosts, len(self.subtree.steps)
        more = f" and {len(hosts) - _NAMED} more" if hosts[_NAMED:] else ""
        who = f"worker {self.worker}" if self.worker else "this machine"
        if self.subtree.place and not self.worker:
            who = f"no worker that is near {self.subtree.place} is there now"
        return strip_control(f"{who}: {count} step{'s' * (count > 1)} on {', '.join(hosts[:_NAMED])}{more}")


class NearestPlaces:
    """The places of the instances of a deployment, the nearest first: itself, its relays up the tree, its tags."""

    def __init__(self, inventory: Inventory) -> None:
        """Nothing is worked out before it is asked for."""
        self._inventory = inventory
        self._tree = RelayTree(inventory)
        self._names = store_names(one.store for one in inventory.instances.values())

    def of(self, instance: str) -> tuple[str, ...]:
        """Return the names of workers that may carry an instance, the nearest first; none for a host that is none."""
        one = self._inventory.instances.get(instance)
        if one is None:
            return ()
        store = self._names.get(one.store, "")
        stores = (store, *self._tree.above(store)) if store else ()
        relays = (store_host(name) for name in stores)
        return tuple(dict.fromkeys(name for name in (instance, *relays, *one.tags) if name))


def part_of(inventory: Inventory, names: Iterable[str]) -> Inventory:
    """Return what a worker has to know to reach some instances, and those on the way to them: no store, no check.

    No key and no password is in it: ssh options name files, which the worker has of its own.
    """
    wanted, left = dict[str, None](), list(names)
    while left:
        name = left.pop()
        if name in inventory.instances and name not in wanted:
            wanted[name] = None
            left += inventory.instances[name].hops
    return type(inventory)(
        source=inventory.source,
        instances={
            name: msgspec.structs.replace(inventory.instances[name], store="", tags=(), checks=(), elevate=())
            for name in sorted(wanted)
        },
    )


def placed(subtree: Subtree, workers: Collection[str]) -> tuple[Placed, ...]:
    """Place a subtree on the workers near it: all steps of a host on one of them, and the hosts evenly on all."""
    if not workers:
        return (Placed(subtree, ""),)
    found: dict[str, set[str]] = {}
    for host in subtree.hosts:
        found.setdefault(chosen(host, workers), set()).add(host)
    return tuple(Placed(subtree.part(found[worker]), worker) for worker in sorted(found))


def chosen(instance: str, workers: Iterable[str]) -> str:
    """Return the worker of an instance among some: the same one while it is there, and evenly of many."""
    return max(workers, key=lambda worker: (zlib.crc32(f"{instance} {worker}".encode()), worker))
