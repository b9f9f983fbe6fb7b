"""What is wrong between the instances of a deployment, and not with one of them: circles, and hosts that are one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.deployment.ways import address_of, circles, first_values, own_address, shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nixhive_nb.deployment.inventory import Instance

Problem = tuple[str, str, str]
"""An instance, what of it is wrong (`store`, an ssh option, or empty for the instance itself), and why."""


def look_at_whole(instances: Mapping[str, Instance]) -> tuple[list[Problem], list[str]]:
    """Return the problems of some instances with each other, and the warnings."""
    said = {name: first_values(instance.ssh) for name, instance in instances.items()}
    problems = [
        *_circles(instances),
        *_circles_of_stores(instances),
        *_twins_by_case(instances),
        *_aliases(instances, said),
    ]
    return problems, [*_one_host(instances, said), *_other_case(instances), *_several_jumps(instances)]


def _circles(instances: Mapping[str, Instance]) -> Iterator[Problem]:
    jumps = {name: instance.hops for name, instance in instances.items()}
    for names in circles(jumps):
        way = " → ".join(names)
        yield names[0], "ProxyJump", f"instance {names[0]} is reached through itself: {way}; take a `ssh.ProxyJump` out"


def _circles_of_stores(instances: Mapping[str, Instance]) -> Iterator[Problem]:
    """Find relays that read from each other. One that reads from itself reads from none."""
    read = {name: store_host(instance.store) for name, instance in instances.items()}
    relays = {name: (host,) if host in instances and host != name else () for name, host in read.items()}
    for names in circles(relays):
        way = " → ".join(names)
        yield names[0], "store", f"instance {names[0]} reads from itself: {way}; take a `store` of these out"


def _twins_by_case(instances: Mapping[str, Instance]) -> Iterator[Problem]:
    found: dict[str, str] = {}
    for name in instances:
        first = found.setdefault(name.lower(), name)
        if first != name:
            why = "host keys and name servers do not tell upper from lower case"
            yield name, "", f"instances {first} and {name} have one name: {why}"


def _aliases(instances: Mapping[str, Instance], said: Mapping[str, Mapping[str, str]]) -> Iterator[Problem]:
    """Find instances whose keys would be accepted for each other: one name stands for both in our known_hosts."""
    found: dict[str, Instance] = {}
    keyed = [instance for instance in instances.values() if instance.host_keys and not instance.host_cas]
    aliases = {one.name: said[one.name].get("hostkeyalias", "") for one in keyed}
    # Those that are called so themselves come first.
    for instance in sorted(keyed, key=lambda one: bool(aliases[one.name])):
        alias = (aliases[instance.name] or instance.name).lower()
        first = found.setdefault(alias, instance)
        if first is not instance and set(first.host_keys) != set(instance.host_keys):
            what = f"`ssh.HostKeyAlias` of instance {instance.name} stands for instance {first.name} too"
            why = "which has other `hostKeys`: ssh would accept the keys of either for both"
            yield instance.name, "HostKeyAlias", f"{what}, {why}"


def _one_host(instances: Mapping[str, Instance], said: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    addresses = ((name, address_of(name, options)) for name, options in said.items())
    for names in shared(addresses):
        hostname, port, *_ = own_address(names[0], instances[names[0]].ssh)
        differ = len({instances[name].system for name in names}) > 1
        what = "each deploy of one undoes the other." if differ else "take all but one of them out."
        yield f"{' and '.join(names)} are one host, {hostname} port {port}: {what}"


def _other_case(instances: Mapping[str, Instance]) -> Iterator[str]:
    lower = {name.lower(): name for name in instances}
    for name, instance in instances.items():
        for hop in instance.hops:
            if hop not in instances and hop.lower() in lower:
                why = "ssh tells upper from lower case there"
                yield f"{name} is reached through {hop}, which is not instance {lower[hop.lower()]}: {why}."


def _several_jumps(instances: Mapping[str, Instance]) -> Iterator[str]:
    for name, instance in instances.items():
        for keyword, values in instance.ssh:
            if len(values) > 1 and keyword.lower() == "proxyjump":
                what = f"`ssh.{keyword}` of instance {name} is a list, of which ssh takes the first"
                yield f'{what}; for a chain write "{",".join(values)}".'
