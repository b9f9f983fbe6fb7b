"""The values of the practice fleet, and the one error that its user may see."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

import msgspec

Kind = Literal["portico", "www", "depot", "builder"]

Init = Literal["light", "systemd"]
"""What a host is: sshd in namespaces on this machine's own programs, or a container with a system of its own."""

Debian = Literal["bookworm", "trixie"]
DEBIANS: Final[dict[Debian, str]] = {"bookworm": "Debian 12", "trixie": "Debian 13"}

GATEWAY: Final = "portico"
"""The jump host and relay. There is exactly one in a fleet, and it always has this name."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_SIZE = re.compile(r"[1-9][0-9]*[KMG]?")


class LabError(Exception):
    """The practice fleet could not do what was asked; the message says why and what helps."""


class NoFleet(LabError):  # noqa: N818 - named for what is wrong
    """There is no practice fleet."""


class HostSpec(msgspec.Struct, frozen=True, kw_only=False):
    """One host that is wanted.

    `user` is the login user: `root`, or another one, which then gets the operator's key instead of root, and
    passwordless sudo if `sudo` says so. `disk` ("8M") gives the host a Nix store of that size and no more.
    `init` says whether it is a light host or one with systemd, and `debian` what the latter is made of.
    `relay` is the host whose store it reads from; the jump host reads from none.
    """

    name: str
    kind: Kind
    user: str = "root"
    sudo: bool = True
    disk: str | None = None
    init: Init = "light"
    debian: Debian = "bookworm"
    relay: str = GATEWAY

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LabError(f"{self.name!r} cannot be the name of a host: use small letters, digits and dashes.")
        if not _USER.fullmatch(self.user):
            raise LabError(f"{self.user!r} cannot be the name of a user: use small letters, digits and dashes.")
        if self.disk is not None and not _SIZE.fullmatch(self.disk):
            raise LabError(f"{self.disk!r} is not the size of a disk: write it like 8M.")
        if self.init not in get_args(Init) or self.debian not in get_args(Debian):
            raise LabError(f"{self.name} is to be a {self.init} host of {self.debian}: there is no such thing.")
        if (self.kind == GATEWAY) != (self.name == GATEWAY):
            raise LabError(f"The host of kind {GATEWAY} is named {GATEWAY}, and no other one is.")


class HostStatus(msgspec.Struct, frozen=True):
    """One host as it is now. `pid` is its first process, as this machine counts; None when the host is down."""

    instance: str
    address: str
    pid: int | None
    netns: str
    user: str
    port: int
    host_key: str
    running: bool
    init: Init = "light"


class LabRecord(msgspec.Struct, frozen=True):
    """What `lab.json` holds: enough to find, and to clean up, all that the fleet ever made."""

    token: str
    number: int
    hosts: tuple[HostSpec, ...]
    deployment: str | None
    version: int = 1

    def spec(self, name: str) -> HostSpec:
        """Return the host of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise LabError(f"There is no host {name!r} in this practice fleet; there are {known}.")


def plan_hosts(web: int, specs: tuple[HostSpec, ...], systemd: int = 0) -> tuple[HostSpec, ...]:
    """Return the hosts of a fleet: a jump host, web servers and a depot, changed and extended by `specs`.

    Of the web servers `web` are light, and as many more have systemd as `systemd` says.
    """
    if web < 0 or systemd < 0:
        raise LabError("A fleet cannot have fewer than no web servers.")
    usual = [
        HostSpec("portico", "portico"),
        HostSpec("depot", "depot"),
        *(HostSpec(f"www-{number}", "www") for number in range(1, web + 1)),
        *(HostSpec(f"www-{number}", "www", init="systemd") for number in range(web + 1, web + systemd + 1)),
    ]
    hosts = {host.name: host for host in usual} | {host.name: host for host in specs}
    for host in hosts.values():
        if host.relay not in hosts or (host.relay == host.name != GATEWAY):
            raise LabError(f"{host.name} cannot read from {host.relay!r}: name another host of the fleet.")
    return tuple(hosts.values())
