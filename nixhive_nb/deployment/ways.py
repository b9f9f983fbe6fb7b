"""How instances are reached: their jumps and addresses, as their ssh options say it, before anything is tried."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.names import host_problem, port_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SshOptions = tuple[tuple[str, tuple[str, ...]], ...]
"""Options of one `Host` block in the order of their names; an option with several values is written once for each."""

_log = logging.getLogger(__name__)

_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^\]]+\]|[^:@/\[\]]+)(?::(?P<port>[^:/]+))?/?")
_SIGN = re.compile("%([%h])")
_SSH_PORT = "22"
_LONGEST_WAY = 32
"""More jumps than that are a mistake."""


class Hop(msgspec.Struct, frozen=True):
    """One host of a `ProxyJump` chain, as it is written there."""

    host: str
    user: str = ""
    port: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user + '@' if self.user else ''}{host}{':' + self.port if self.port else ''}"


class MalformedJump(ValueError):  # noqa: N818 - named for what is wrong
    """A part of a `ProxyJump` that is not `[user@]host[:port]`. `str()` says what is wrong with it."""


class Circle(Exception):  # noqa: N818 - what is found, and not yet a message
    """A host is reached through itself. `names` leads from it, over its jumps, back to it."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(" → ".join(names))
        self.names = tuple(names)


def read_hops(value: str) -> tuple[Hop, ...]:
    """Read a value of `ProxyJump`: its hosts, the first to connect to first. Raises `MalformedJump`."""
    if not value or value.lower() == "none":
        return ()
    return tuple(_hop(part.strip()) for part in value.split(","))


def jump_problem(value: str) -> str:
    """Return why `ssh.ProxyJump` cannot have a value; empty for a good one, and for one with ssh's %-words."""
    try:
        hops = () if "%" in value else read_hops(value)
    except MalformedJump as error:
        return str(error)
    problems = (
        host_problem(f"[{hop.host}]" if ":" in hop.host else hop.host) or (port_problem(hop.port) if hop.port else "")
        for hop in hops
    )
    return next(filter(None, problems), "")


def _hop(part: str) -> Hop:
    found = _HOP.fullmatch(part)
    if found is None:
        raise MalformedJump(f"{part!r} is not [user@]host[:port]")
    return Hop(found["host"].strip("[]"), found["user"] or "", found["port"] or "")


def option(options: SshOptions, keyword: str) -> str:
    """Return the value of an option of a `Host` block, empty without one. Of several, ssh takes the first."""
    wanted = keyword.lower()
    for name, values in options:
        if values and name.lower() == wanted:
            return values[0]
    return ""


def first_values(options: SshOptions) -> dict[str, str]:
    """Return the values that ssh takes, by keyword in lower case: of several the first."""
    found: dict[str, str] = {}
    for name, values in options:
        if values:
            found.setdefault(name.lower(), values[0])
    return found


def own_jumps(options: SshOptions) -> tuple[str, ...]:
    """Return the hosts of the `ProxyJump` of a block; none for one that is malformed, or is made of ssh's %-words."""
    return _hosts_of(option(options, "ProxyJump"))


@lru_cache(maxsize=4096)
def _hosts_of(value: str) -> tuple[str, ...]:
    """Return the hosts of a value of `ProxyJump`. Thousands of instances share a few."""
    try:
        return () if "%" in value else tuple(hop.host for hop in read_hops(value))
    except MalformedJump:
        _log.debug("%s is no chain of jumps", value, exc_info=True)
        return ()


def own_address(name: str, options: SshOptions) -> tuple[str, str, str, str]:
    """Return where a block leads to: host name, port, `ProxyJump`, `ProxyCommand`. Equal ones are one host."""
    return address_of(name, first_values(options))


def hostname_of(address: str) -> str:
    """Return the value of `Hostname` for an address: a percent sign, as of a zone of IPv6, is written twice there."""
    return address.replace("%", "%%")


def expanded(hostname: str, name: str) -> str:
    """Return the address that a value of `Hostname` is for the host of a name."""
    return _SIGN.sub(lambda sign: "%" if sign[1] == "%" else name, hostname)


def address_of(name: str, said: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Return the same by the values that ssh takes; see `first_values`."""
    hostname = expanded(said.get("hostname") or name, name)
    jump = said.get("proxyjump", "")
    return (
        hostname.lower().rstrip("."),
        said.get("port") or _SSH_PORT,
        "" if jump.lower() == "none" else jump,
        said.get("proxycommand", ""),
    )


def way_to(name: str, jumps_of: Callable[[str], Sequence[str]]) -> tuple[str, ...]:
    """Return all hosts that are passed on the way to one, the first to connect to first.

    The first host of a chain has a way of its own; the later ones are reached through the one before. Raises `Circle`.
    """
    way: tuple[str, ...] = ()
    trail = [name]
    hops = tuple(jumps_of(name))
    while hops:
        for hop in hops:
            if hop in trail or len(trail) > _LONGEST_WAY:
                raise Circle([*trail[trail.index(hop) if hop in trail else 0 :], hop])
        way = hops + way
        trail.append(hops[0])
        hops = tuple(jumps_of(hops[0]))
    return way


def circles(jumps: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return each circle of hosts that are reached through each other once, with its first name again at its end."""
    found: dict[frozenset[str], tuple[str, ...]] = {}
    passed: set[str] = set().union(*jumps.values())
    good: set[tuple[str, ...]] = set()
    for name in sorted(jumps):
        # Where nobody passes through a host, its way ends as that of any other behind the same jumps.
        if jumps[name] in good and name not in passed:
            continue
        try:
            way_to(name, lambda host: jumps.get(host, ()))
        except Circle as circle:
            found.setdefault(frozenset(circle.names), circle.names)
        else:
            good.add(jumps[name])
    return list(found.values())


def shared(addresses: Iterable[tuple[str, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """Return the names that have one address, for each address that several have."""
    by_address: dict[tuple[str, ...], list[str]] = {}
    for name, address in addresses:
        by_address.setdefault(address, []).append(name)
    return [tuple(names) for names in by_address.values() if len(names) > 1]
