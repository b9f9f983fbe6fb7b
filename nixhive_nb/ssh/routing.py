"""How instances are reached, as OpenSSH reads the deployment and the user's own configuration together.

A jump that only `~/.ssh/config` knows is a host that others rely on like any other: for the order of a wave, for the
limits of a jump host, and for who must not be rebooted under whom.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.ways import Circle, option, own_address, own_jumps, way_to
from nixhive_nb.errors import HiveError
from nixhive_nb.ssh.own_files import is_met, read_options

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Instance, Inventory
    from nixhive_nb.ssh.resolve import Resolver

_log = logging.getLogger(__name__)
_AT_ONCE = 8
_CHANGES_WAYS = ("proxyjump", "proxycommand", "hostname", "port", "match", "canonicalizehostname")
"""What a configuration of the user holds that leads to a host in another way than the deployment says."""
_SSH_PORT = "22"


def routed(inventory: Inventory, names: Sequence[str], resolve: Resolver, user_files: Sequence[Path]) -> Inventory:
    """Return the deployment with the jumps of the named instances filled in: `Instance.jumps`.

    A jump host that is an instance has its name, however it is written where it is used. OpenSSH is asked where the
    user's own files (or the deployment) say what only it can read; an instance whose way it cannot tell stays as it is.
    """
    asked, instances = [inventory.instances[name] for name in names], inventory.instances.values()
    if all(map(_is_plain, instances)) and not changes_ways(user_files, _passed(instances)):
        by_address = {own_address(one.name, one.ssh)[:2]: one.name for one in instances}
        ways = {instance.name: _own_way(inventory, by_address, instance.name) for instance in asked}
    else:
        ways = _resolved_ways(inventory, names, resolve)
    filled = {
        name: msgspec.structs.replace(inventory.instances[name], jumps=way)
        for name, way in ways.items()
        if way is not None
    }
    return msgspec.structs.replace(inventory, instances={**inventory.instances, **filled})


def changes_ways(files: Iterable[Path], hosts: Collection[str]) -> bool:
    """Return whether ssh configurations, with what they include, can change how one of these hosts is reached."""
    lines = read_options(files)
    if lines is None:
        return True
    blocks = {line.block for line in lines if line.keyword in _CHANGES_WAYS}
    return any(is_met(block, host) for block in blocks for host in hosts)


def _passed(instances: Collection[Instance]) -> set[str]:
    """Return the hosts that are reached, or passed on the way, as they are called where that is said."""
    return {one.name for one in instances} | {hop for one in instances for hop in own_jumps(one.ssh)}


def _is_plain(instance: Instance) -> bool:
    """Return whether the options of an instance say its way without anything that only OpenSSH can read."""
    words = (option(instance.ssh, "ProxyJump"), option(instance.ssh, "Hostname"))
    return not (
        option(instance.ssh, "Include")
        or option(instance.ssh, "ProxyCommand")
        or any("%" in word or "$" in word for word in words)
    )


def _own_way(inventory: Inventory, by_address: Mapping[tuple[str, str], str], name: str) -> tuple[str, ...] | None:
    instances = inventory.instances

    def named(host: str) -> str:
        return host if host in instances else by_address.get((host.lower(), _SSH_PORT), host)

    try:
        way = way_to(name, lambda host: own_jumps(instances[host].ssh) if host in instances else ())
    except Circle:  # refused at load; of a deployment that was made by hand, connecting will tell
        _log.debug("the way to %s", name, exc_info=True)
        return None
    return tuple(dict.fromkeys(map(named, way)))


def _resolved_ways(inventory: Inventory, names: Sequence[str], resolve: Resolver) -> dict[str, tuple[str, ...] | None]:
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="hive-ways") as pool:
        ways = dict(zip(names, pool.map(lambda name: _way(resolve, name), names), strict=True))
        hops = {hop for way in ways.values() for hop in way or ()}
        places = [*names, *sorted(hops - set(names))]
        addresses = dict(zip(places, pool.map(lambda host: _address(resolve, host), places), strict=True))
    by_address = {addresses[name]: name for name in reversed(names) if addresses[name]}

    def named(host: str) -> str:
        return host if host in inventory.instances else by_address.get(addresses[host], host)

    return {
        name: None if way is None else tuple(dict.fromkeys(hop for hop in map(named, way) if hop != name))
        for name, way in ways.items()
    }


def _way(resolve: Resolver, name: str) -> tuple[str, ...] | None:
    try:
        return resolve.way(name)
    except HiveError:  # whoever connects to it is told
        _log.debug("the way to %s", name, exc_info=True)
        return None


def _address(resolve: Resolver, host: str) -> tuple[str, int] | None:
    try:
        target = resolve(host)
    except HiveError:
        _log.debug("the address of %s", host, exc_info=True)
        return None
    return target.hostname.lower(), target.port
