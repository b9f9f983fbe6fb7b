"""How an instance is reached and where it reads from, and the limits that follow from that."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from nixhive_nb.deployment.stores import shown_store, store_host

if TYPE_CHECKING:
    from nixhive_nb.deployment.inventory import Instance

ALL = "all"
"""The limit that every step on a host or a store counts against."""


def relies_on(instance: Instance, *, reads: bool = True) -> set[str]:
    """Return the hosts that an instance is reached through and, with `reads`, the one that it reads from."""
    source = store_host(instance.store) if reads else ""
    hosts = {*instance.hops, source}
    hosts -= {instance.name, ""}
    return hosts


def login_locks(instance: Instance) -> tuple[str, ...]:
    """Return the limits that each login on an instance counts against."""
    return _login_locks(instance.hops)


@lru_cache(maxsize=4096)
def _login_locks(hops: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same tuple for all that are behind the same hosts: a plan has two of it an instance, or more."""
    return (ALL, *(f"jump:{hop}" for hop in hops))


def fetch_locks(instance: Instance) -> tuple[str, ...]:
    """Return the limits that a copy to an instance counts against.

    What is pushed to this very host as a relay counts against the same limit, so that two copies to one store never
    send the paths that they share twice. And a relay's sshd must not get more than a few logins at once.
    """
    relay = (f"relay:{shown_store(instance.store)}",) if instance.store else ()
    return (*login_locks(instance), f"store:ssh://{instance.name}", *relay)
