"""What a host says of itself, in one round trip, and what a check found. Sizes are bytes, times are seconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.plan.places import BuildNeed
from nixhive_nb.util.said import Moment, Whole

if TYPE_CHECKING:
    from collections.abc import Iterable

_FILES = 3
"""Of what is told of a kernel, so many are files; what follows is the hash of its parameters."""


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A host as it was when it was asked. Paths are resolved store paths, empty where there is none."""

    current: str = ""
    """What runs: `/run/current-system`."""
    booted: str = ""
    """What was booted: `/run/booted-system`."""
    profile: str = ""
    """What the next boot starts: the system profile."""
    generation: Whole | None = None
    """Number of the profile's generation."""
    boot_id: str = ""
    machine_id: str = ""
    """A hash of `/etc/machine-id`: two containers on one kernel have one boot id."""
    runs: tuple[str, ...] = ()
    """The platforms that its kernel runs, such as `x86_64-linux`; empty where that is not known."""
    uptime: float | None = None
    free: Whole | None = None
    """Free space on `/nix`, for a user that is not root."""
    booted_kernel: tuple[str, ...] = ()
    """The kernel, initrd and kernel modules that were booted, resolved, and a hash of the kernel's parameters."""
    current_kernel: tuple[str, ...] = ()
    """The same of what runs."""
    specialisation: str = ""
    """The name of the specialisation that runs; empty where a system itself does."""
    base: str = ""
    """The system that it is a specialisation of."""
    unclean: str = ""
    """The system whose activation did not end well, so that what runs is a mixture; empty where there is none."""
    loader: str = ""
    """What the boot loader starts; empty where that is not known."""
    inhibitors: tuple[tuple[str, str], ...] = ()
    """The switch inhibitors of what runs, by name: what must not change while it does."""
    failed_units: tuple[str, ...] | None = None
    """Failed systemd units, and those that fail again and again; None where systemd does not run."""
    root: bool = False
    """Whether we are logged in as root; otherwise sudo is needed to change something."""
    holder: str = ""
    """Who is activating something there at this moment."""
    revision: str = ""
    """`system.configurationRevision` of what runs; empty where it has none."""
    kept: tuple[str, ...] = ()
    """The scripts of ours that are kept there, by their hashes: see `hosts.scripts`."""

    def can_run(self, platform: str) -> bool:
        """Return whether its kernel runs what is made for a platform; also where that is not known."""
        plain = re.sub(r"^x86_64-v[1-4]-", "x86_64-", platform)
        return not self.runs or not plain or plain in self.runs

    def does_run(self, path: str) -> bool:
        """Return whether a system runs, itself or as one of its specialisations."""
        return bool(path) and path in (self.current, self.base)

    def runs_well(self, path: str) -> bool:
        """Return whether a system runs, and its activation has ended well."""
        return self.does_run(path) and not self.unclean

    def does_boot(self, path: str) -> bool:
        """Tell whether the next boot starts a system: by the profile, and by the boot loader as far as it is known."""
        return self.profile == path and self.loader in ("", path)

    @property
    def reboot_needed(self) -> bool | None:
        """Whether a reboot would start what does not run yet; None where that is not known.

        That is another system, or one with another kernel, initrd, modules or kernel parameters than were booted.
        """
        starts = self.loader or self.profile
        if starts and not self.does_run(starts):
            return True
        return kernels_differ(self.current_kernel, self.booted_kernel)


def inhibited(runs: Iterable[tuple[str, str]], wanted: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the switch inhibitors that differ between two systems, as `dbus: dbus → broker`.

    As NixOS does it, only those count that both have.
    """
    new = dict(wanted)
    return tuple(f"{name}: {value} → {new[name]}" for name, value in runs if name in new and new[name] != value)


def kernels_differ(one: tuple[str, ...], other: tuple[str, ...]) -> bool | None:
    """Return whether a reboot is needed from one to the other (see `booted_kernel`); None where one is not known."""
    if not one or not other:
        return None
    # Parameters that could not be read say nothing.
    parameters = {*one[_FILES:], *other[_FILES:]} - {""}
    return one[:_FILES] != other[:_FILES] or len(parameters) > 1


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of a host's system profile."""

    number: Whole
    path: str
    created: float | None
    """Seconds since the epoch; None where what the host says is in no calendar."""
    current: bool = False
    """Whether the profile points to it."""
    running: bool = False
    version: str = ""
    """The content of `nixos-version`."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one check went on one instance."""

    name: str
    kind: str
    ok: bool
    reason: str = ""
    """One line: what was found in place of what was wanted. Empty when it holds."""
    tries: Whole = 1
    seconds: float = 0.0
    description: str = ""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a system evaluates to. `error` is one line where it cannot be evaluated; the paths are then empty."""

    system: str
    path: str = ""
    derivation: str = ""
    error: str = ""
    log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What its evaluation warned of, or that of the systems that were evaluated with it."""
    takes: tuple[str, ...] = ()
    """Files and folders of ours that it takes into the store with the folder that they lie in, or would."""
    needs: tuple[BuildNeed, ...] = ()
    """What it and all that builds it ask of a machine, its own need first; empty for one that is built here."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as it was found when a plan was made."""

    instance: str
    facts: HostFacts | None = None
    """None for one that could not be reached."""
    asked: Moment = 0.0
    """When it was asked, in seconds since the epoch; 0 where that is not known."""
    error: str = ""
    """Why it could not be reached."""
    moves: Whole | None = None
    """Content that the instance lacks of its wanted system, in bytes; None when that is not known."""
    reboot: bool | None = None
    """Whether the wanted system needs a reboot: see `kernels_differ`."""
    inhibited: tuple[str, ...] = ()
    """What keeps the host from switching to it without a reboot: see `inhibited`."""
    powerless: str = ""
    """Why its login does not become root, and what to do; empty where it does, or that was not asked."""
    noted: str = ""
    """The revision that what runs was made from, as our own runs have noted it; empty where they have not."""

    @property
    def revision(self) -> str:
        """The revision that what runs was made from: what the host says, else what our runs noted; else empty."""
        return (self.facts.revision if self.facts else "") or self.noted
