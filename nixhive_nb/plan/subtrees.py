"""The parts of a plan by where they are done: what goes to the hosts near one place, as to a relay and below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.plan.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


class Subtree(msgspec.Struct, frozen=True, kw_only=True):
    """The steps that go to the hosts near one place, in the order of the plan."""

    place: str
    """Empty: what goes there from this machine."""
    hosts: tuple[str, ...]
    steps: tuple[Step, ...]

    def part(self, hosts: Collection[str]) -> Subtree:
        """Return what of it goes to some of its hosts."""
        return Subtree(
            place=self.place,
            hosts=tuple(one for one in self.hosts if one in hosts),
            steps=tuple(step for step in self.steps if _host_of(step) in hosts),
        )


def subtrees(steps: Iterable[Step], place_of: Callable[[str], str]) -> tuple[Subtree, ...]:
    """Return the steps that go to a host, by the place that this is near; those of this machine come last.

    `place_of` gives the place of an instance, empty for one that is reached from this machine.
    """
    found: dict[str, tuple[dict[str, None], list[Step]]] = {}
    for step in steps:
        if host := _host_of(step):
            hosts, own = found.setdefault(place_of(host), ({}, []))
            hosts[host] = None
            own.append(step)
    return tuple(
        Subtree(place=place, hosts=tuple(found[place][0]), steps=tuple(found[place][1]))
        for place in sorted(found, key=lambda name: (not name, name))
    )


def _host_of(step: Step) -> str:
    return step.instance or store_host(step.store)
