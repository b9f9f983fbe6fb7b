"""A fleet that is not there, as values: how its hosts answer, and what is wrong with them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal, Self, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Fault = Literal[
    "unreachable",
    "disk full",
    "locked",
    "lost before",
    "lost after",
    "checks fail",
    "breaks later",
]
"""What is wrong with a host.

unreachable   it answers no login; those behind it cannot be reached either
disk full     no system can be copied to it
locked        somebody else is activating there, without end
lost before   the link is lost in an activation, before anything is changed
lost after    the link is lost in an activation, when all is done
checks fail   its checks do not hold after a switch
breaks later  its checks hold after the switch, and do not at the end of the wave
"""
FAULTS: tuple[Fault, ...] = get_args(Fault)
EXITS = (0, 1, 2, 4, 100)
"""How `switch-to-configuration` may exit."""
_MEGABYTE = 1_000_000


class HostModel(msgspec.Struct, frozen=True, kw_only=True):
    """One host. Times are seconds, sizes bytes."""

    latency: float = 0.02
    """What each login takes."""
    bandwidth: float = 50.0 * _MEGABYTE
    """A second."""
    activation: float = 5.0
    """What a `switch-to-configuration` takes."""
    restart: float = 40.0
    """How long it is away when it is rebooted."""
    exit: int = 0
    """How `switch-to-configuration` exits."""
    faults: tuple[Fault, ...] = ()
    runs: str = ""
    """The store path that it runs and boots at first; empty for none."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated run meets."""

    hosts: dict[str, HostModel] = {}
    """By name; one that is missing has no fault."""
    sizes: dict[str, int] = {}
    """Bytes by system; one that is missing has `size`."""
    size: int = 200 * _MEGABYTE
    recipe: int = 2 * _MEGABYTE
    """Bytes of what builds a system: what is sent where it is built elsewhere."""
    revision: str = "1"
    """What tells the results of this deployment from those of another."""
    evaluation: float = 2.0
    building: float = 30.0
    unevaluable: tuple[str, ...] = ()
    """Systems that cannot be evaluated."""
    unbuildable: tuple[str, ...] = ()
    """Systems that can be evaluated, and not be built."""

    @classmethod
    def seeded(cls, names: Iterable[str], seed: int, *, share: float = 0.1) -> Self:
        """Return a world in which about this share of the hosts has a fault; one seed always gives the same."""
        chance = random.Random(seed)  # noqa: S311 - no secret
        return cls(hosts={name: _host(chance, share) for name in names})

    def path(self, system: str) -> str:
        """Return the store path that a system builds to."""
        return f"/nix/store/simulated-{self.revision}-{system}"

    def size_of(self, system: str) -> int:
        """Return the size of a system's closure, in bytes."""
        return self.sizes.get(system, self.size)


def _host(chance: random.Random, share: float) -> HostModel:
    is_faulty = chance.random() < share
    # An exit status is one fault more.
    fault = chance.choice((*FAULTS, None)) if is_faulty else None
    return HostModel(
        latency=chance.uniform(0.002, 0.3),
        bandwidth=chance.uniform(1, 100) * _MEGABYTE,
        activation=chance.uniform(1, 30),
        exit=chance.choice(EXITS[1:]) if is_faulty and fault is None else 0,
        faults=(fault,) if fault else (),
    )
