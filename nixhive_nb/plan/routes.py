"""How an instance is reached and where it reads from, and the limits that follow from that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nixhive_nb.deployment.stores import shown_store
from nixhive_nb.deployment.ways import own_jumps

if TYPE_CHECKING:
    from nixhive_nb.deployment.inventory import Instance

ALL = "all"
"""The limit that every step on a host or a store counts against."""

_JUMP = re.compile(r"^(?:ssh://)?(?:[^@]*@)?(\[[^\]]*\]|[^:]*)")


def jump_hosts(instance: Instance) -> tuple[str, ...]:
    """Return the names of the hosts on the way to an instance, in the order in which they are passed.

    As OpenSSH was found to read it; where it was not asked, those that the deployment names for this instance.
    """
    return own_jumps(instance.ssh) if instance.jumps is None else instance.jumps


def store_host(url: str) -> str:
    """Return the host that an `ssh://` or `ssh-ng://` store names; empty for other stores."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("ssh", "ssh-ng"):
        return ""
    authority = rest.partition("?")[0].partition("/")[0]
    found = _JUMP.match(authority)
    return found[1].strip("[]") if found else ""


def relies_on(instance: Instance, *, reads: bool = True) -> set[str]:
    """Return the hosts that an instance is reached through and, with `reads`, the one that it reads from."""
    source = store_host(instance.store) if reads else ""
    return {*jump_hosts(instance), source} - {instance.name, ""}


def login_locks(instance: Instance) -> tuple[str, ...]:
    """Return the limits that each login on an instance counts against."""
    return (ALL, *(f"jump:{hop}" for hop in jump_hosts(instance)))


def fetch_locks(instance: Instance) -> tuple[str, ...]:
    """Return the limits that a copy to an instance counts against.

    What is pushed to this very host as a relay counts against the same limit, so that two copies to one store never
    send the paths that they share twice. And a relay's sshd must not get more than a few logins at once.
    """
    relay = (f"relay:{shown_store(instance.store)}",) if instance.store else ()
    return (*login_locks(instance), f"store:ssh://{instance.name}", *relay)
