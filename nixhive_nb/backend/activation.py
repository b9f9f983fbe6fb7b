"""Making an instance run a system, in the plain order: set the profile, then switch."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.backend import nix
from nixhive_nb.errors import HiveError, LinkLost, StepFailed
from nixhive_nb.plan.event import Result

if TYPE_CHECKING:
    from nixhive_nb.backend.base import Tell
    from nixhive_nb.backend.transfer import Remote
    from nixhive_nb.plan.plan import Options

LOOK_TIMEOUT = 30
ACTIVATION_TIMEOUT = 1800
"""Seconds that a switch may take; some units take minutes to stop."""

SETS_PROFILE = ("switch", "boot")
CHANGES_RUNNING = ("switch", "test")
_MEANING = {
    1: "a pre-switch check, the boot loader or the usage",
    2: "the activation script failed",
}
_WARNINGS = {
    4: "switched, but some units failed (exit status 4)",
    100: "switched, but a reboot is needed (exit status 100)",
}


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """What a host runs and boots, and whether the wanted path is a system there. Paths are empty where unknown."""

    current: str = ""
    profile: str = ""
    root: bool = False
    is_system: bool = False


def look(path: str) -> str:
    """Give the shell words that print what `HostState` holds, changing nothing."""
    wanted = shlex.quote(path)
    return (
        f'printf "current=%s\\n" "$(readlink -f {nix.CURRENT_SYSTEM})"; '
        f'printf "profile=%s\\n" "$(readlink -f {nix.SYSTEM_PROFILE})"; '
        'printf "uid=%s\\n" "$(id -u)"; '
        f"if test -x {wanted}/{nix.SWITCH} && test -e {wanted}/nixos-version; then echo system=yes; fi"
    )


def parse_look(output: str) -> HostState:
    """Read what `look` printed."""
    found = dict(line.partition("=")[::2] for line in output.splitlines())
    return HostState(
        current=_store_path(found.get("current", "")),
        profile=_store_path(found.get("profile", "")),
        root=found.get("uid") == "0",
        is_system=found.get("system") == "yes",
    )


def set_profile(path: str, *, root: bool) -> str:
    """Give the shell words that make a path the system that the host boots."""
    return _as_root(["nix-env", "--profile", nix.SYSTEM_PROFILE, "--set", path], root=root)


def switch(path: str, action: str, *, root: bool) -> str:
    """Give the shell words that run a system's own activation."""
    return _as_root([f"{path}/{nix.SWITCH}", action], root=root)


def is_unchanged(host: HostState, path: str, action: str) -> bool:
    """Tell whether a host is already what an activation of `path` would make of it."""
    runs = host.current == path or action not in CHANGES_RUNNING
    boots = host.profile == path or action not in SETS_PROFILE
    return action != "dry-activate" and runs and boots


async def activate(instance: str, path: str, options: Options, remote: Remote, tell: Tell) -> Result:
    """Make an instance run `path`. Nothing is changed on a host that is so already, or that is no NixOS."""
    host = parse_look((await remote(instance, look(path), timeout=LOOK_TIMEOUT)).stdout)
    if not host.is_system:
        raise StepFailed(f"{path} has no {nix.SWITCH} on {instance}: it is not a NixOS system. Nothing was changed.")
    if is_unchanged(host, path, options.type) and not options.force:
        return Result(outcome="unchanged", path=path)
    if options.type in SETS_PROFILE:
        await _set_profile(instance, path, host, remote, tell)
    return await _switch(instance, path, host, options.type, remote, tell)


async def _set_profile(instance: str, path: str, host: HostState, remote: Remote, tell: Tell) -> None:
    command = set_profile(path, root=host.root)
    ended = await remote(instance, command, timeout=LOOK_TIMEOUT * 4, on_line=tell.line)
    if ended.exited == 0:
        return
    said = _last(ended.stderr)
    if said.startswith("sudo:"):
        raise StepFailed(
            f"sudo was refused ({said.removeprefix('sudo:').strip()}). Let the login user use sudo without a password, "
            "or log in as root. Nothing was changed.",
            log=ended.stderr.splitlines(),
        )
    raise StepFailed(f"setting the system profile failed: {said}", log=ended.stderr.splitlines())


async def _switch(instance: str, path: str, host: HostState, action: str, remote: Remote, tell: Tell) -> Result:
    try:
        command = switch(path, action, root=host.root)
        ended = await remote(instance, command, timeout=ACTIVATION_TIMEOUT, on_line=tell.line)
    except LinkLost as error:
        return await _after_lost_link(instance, path, action, remote, error)
    if ended.exited == 0:
        return Result(path=path)
    if ended.exited in _WARNINGS:
        return Result(path=path, warning=_WARNINGS[ended.exited])
    meaning = _MEANING.get(ended.exited, "see its log")
    boots = f" The profile is set already: {instance} boots the new system." if action in SETS_PROFILE else ""
    raise StepFailed(f"switch-to-configuration {action} ended with {ended.exited}: {meaning}.{boots}")


async def _after_lost_link(instance: str, path: str, action: str, remote: Remote, lost: LinkLost) -> Result:
    """Ask the host anew, over a new connection, what became of an activation whose link broke."""
    try:
        host = parse_look((await remote(instance, look(path), timeout=LOOK_TIMEOUT)).stdout)
    except HiveError:
        raise LinkLost(f"{lost} The host does not answer any more: what it runs is unknown.") from None
    if action in CHANGES_RUNNING and host.current == path:
        return Result(path=path, warning="the link was lost; the host runs the wanted system now")
    raise LinkLost(f"{lost} The host answers again and runs {host.current or 'an unknown system'}.")


def _as_root(words: list[str], *, root: bool) -> str:
    return shlex.join(words if root else ["sudo", "-n", "--", *words])


def _store_path(text: str) -> str:
    return text if text.startswith("/nix/store/") else ""


def _last(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
