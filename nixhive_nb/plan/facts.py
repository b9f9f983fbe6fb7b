"""What a host says of itself, in one round trip, and what a check found. Sizes are bytes, times are seconds."""

from __future__ import annotations

import re

import msgspec

from nixhive_nb.said import Whole


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
    """The kernel, initrd and kernel modules that were booted, resolved."""
    current_kernel: tuple[str, ...] = ()
    """The same of what runs: where they differ, a reboot is needed."""
    profile_kernel: tuple[str, ...] = ()
    """The same of what the next boot starts."""
    failed_units: tuple[str, ...] | None = None
    """Failed systemd units; None where systemd does not run."""
    root: bool = False
    """Whether we are logged in as root; otherwise sudo is needed to change something."""
    holder: str = ""
    """Who is activating something there at this moment."""

    def can_run(self, platform: str) -> bool:
        """Tell whether its kernel runs what is made for a platform; also where that is not known."""
        plain = re.sub(r"^x86_64-v[1-4]-", "x86_64-", platform)
        return not self.runs or not plain or plain in self.runs

    @property
    def reboot_needed(self) -> bool | None:
        """Whether kernel, initrd or modules of what runs differ from what was booted; None where that is not known."""
        if not self.booted_kernel or not self.current_kernel:
            return None
        return self.booted_kernel != self.current_kernel


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


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as it was found when a plan was made."""

    instance: str
    facts: HostFacts | None = None
    """None for one that could not be reached."""
    error: str = ""
    """Why it could not be reached."""
    moves: Whole | None = None
    """Content that the instance lacks of its wanted system, in bytes; None when that is not known."""
    reboot: bool | None = None
    """Whether the wanted system needs a reboot: its kernel, initrd or modules are not those that were booted."""
