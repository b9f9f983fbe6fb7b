"""What `doctor` finds out of an instance: what the host says, by which way it said so, and what is amiss.

Sizes are bytes, times are seconds. What is not known is None, or empty.
"""

from __future__ import annotations

import msgspec

from nixhive_nb.plan.facts import HostFacts
from nixhive_nb.util.said import Whole


class ClockSpan(msgspec.Struct, frozen=True, kw_only=True):
    """What a host's clock said, between two moments of ours: when it was asked, and when its answer came."""

    said: float
    """Seconds since the epoch, as the host has them."""
    grain: float = 0.0
    """The host's clock may be later than it said by so much."""
    asked: float
    heard: float

    @property
    def offset(self) -> float:
        """How far its clock is ahead of ours; 0 where the time of the round trip may explain all of it."""
        early, late = self.said - self.heard, self.said + self.grain - self.asked
        if early > 0:
            return early
        return min(late, 0.0)


class RelayTried(msgspec.Struct, frozen=True, kw_only=True):
    """How the store that an instance fetches from looks from that instance."""

    is_reached: bool
    said: str = ""
    """Why it is not reached, as Nix or ssh says it there."""


class HostExamined(msgspec.Struct, frozen=True, kw_only=True):
    """What a host said when it was examined."""

    facts: HostFacts
    clock: ClockSpan | None = None
    nix: str = ""
    """The version of Nix; empty where its login has none on PATH."""
    settings: dict[str, str] | None = None
    """Some settings of Nix, by name; None where it does not tell them."""
    names: tuple[str, ...] = ()
    """The login user and its groups, those with `@` before them, as `trusted-users` names them."""
    power: int | None = None
    """Exit status of the probe that becomes root; None where that was not tried, as for root."""
    power_said: str = ""
    relay: RelayTried | None = None
    """None where it has none, or that could not be tried."""
    takes_from: str = ""
    """The substituter of its Nix that leads to its relay; empty where none does."""
    takes_other: str = ""
    """Another substituter that is reached by ssh, which may be the relay by another name; empty where none is."""
    boot: str = ""
    """Where its boot loader has kernels, if that is a file system of its own."""
    boot_free: Whole | None = None
    lacks: Whole | None = None
    """Bytes of the wanted system that are not there; None where that is not known."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance was logged in to."""

    key: str = ""
    """The kind of key that was taken, such as `ssh-ed25519`."""
    key_from: str = ""
    """Where it was from: `file PATH`, `agent NAME`, or `certificate PATH`."""


class WayThere(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance is reached, by its ssh configuration."""

    carrier: str = ""
    address: str = ""
    port: Whole | None = None
    through: str = ""
    """Its chain of jumps, or the ProxyCommand."""
    user: str = ""
    identities: tuple[str, ...] = ()
    """The files of keys that are tried, as far as they are there."""
    public_key: str = ""
    """The public half of the first of them; empty where there is none beside it."""
    expired: tuple[tuple[str, str], ...] = ()
    """Certificates that are not valid now: the file, and until when it was."""
    own: tuple[str, ...] = ()
    """What the user's own ssh configuration changes: `proxyjump portico (without: none)`."""


class ThisMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has for a fleet."""

    public_key: str = ""
    """The public half of the signing key; empty where there is none, or it cannot be read."""
    key_problem: str = ""
    """Why the signing key cannot be used."""
    builds: dict[str, str] = {}
    """Where each wanted platform is built: `here`, or `builder NAME`; empty where nowhere."""
    platforms: tuple[str, ...] = ()
    """What it builds itself."""


class Shortcoming(msgspec.Struct, frozen=True, kw_only=True):
    """Something that keeps an instance from being deployed well, with the lines that mend it."""

    kind: str
    """One of `KINDS`."""
    text: str
    """A sentence that names no instance: the same of many is told once."""
    lines: tuple[str, ...] = ()
    """To copy: the first is a comment that says where they go."""


KINDS = ("reach", "nix", "root", "trust", "relay", "store", "boot", "clock", "platform", "build", "systemd", "system")
"""The kinds of shortcomings, in the order in which they matter."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found out of one instance."""

    instance: str
    system: str
    relay: str = ""
    """The name of its store, without secrets."""
    way: WayThere
    login: Login = Login()
    host: HostExamined | None = None
    """None for one that could not be asked."""
    error: str = ""
    elevate: tuple[str, ...] = ()
    """The words that make its login root; none for one that is root."""
    builds: str = ""
    boot_needs: Whole | None = None
    """Bytes that the kernel and initrd of the wanted system need beside those that are there."""
    trust: str = ""
    """Why what is pushed there is taken: `root`, `trusted user`, `signature`, `unsigned`, or `nothing`."""
    is_signed: bool | None = None
    """Whether the host takes what our key has signed; None where there is no key, or that is not known."""
    is_allowed: bool | None = None
    """Whether the relay is among its substituters; None where one of them may be it, or that is not known."""
    shortcomings: tuple[Shortcoming, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is amiss."""
        return not self.shortcomings

    @property
    def root_by(self) -> str:
        """What makes its login root: `login` where it is, else a program such as `sudo`, or `none`."""
        if self.host is None:
            return ""
        if self.host.facts.root:
            return "login"
        return self.elevate[0].rpartition("/")[2] if self.elevate else "none"

    @property
    def asks(self) -> bool | None:
        """Whether a password is asked for to become root; None where that is not known."""
        if self.host is None or (self.host.power is None and not self.host.facts.root):
            return None
        return bool(self.host.power) and "password" in self.host.power_said
