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

LOOK_SECONDS = 30
PROFILE_SECONDS = 120
ACTIVATION_SECONDS = 1800
"""How long a switch may take; some units take minutes to stop."""

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


class Activation:
    """Making one instance run one system."""

    def __init__(self, instance: str, path: str, remote: Remote, tell: Tell) -> None:
        """Nothing is done yet."""
        self._instance = instance
        self._path = path
        self._remote = remote
        self._tell = tell

    async def run(self, options: Options) -> Result:
        """Do it. Nothing is changed on a host that is so already, or where the path is no NixOS system."""
        host = await self._look()
        if not host.is_system:
            raise StepFailed(
                f"{self._path} has no {nix.SWITCH} on {self._instance}: it is not a NixOS system. Nothing was changed."
            )
        if is_unchanged(host, self._path, options.type) and not options.force:
            return Result(outcome="unchanged", path=self._path)
        if options.type in SETS_PROFILE:
            await self._set_profile(root=host.root)
        return await self._switch(options.type, root=host.root)

    async def _look(self) -> HostState:
        return parse_look((await self._remote(self._instance, look(self._path), seconds=LOOK_SECONDS)).stdout)

    async def _set_profile(self, *, root: bool) -> None:
        command = set_profile(self._path, root=root)
        ended = await self._remote(self._instance, command, seconds=PROFILE_SECONDS, on_line=self._tell.line)
        if ended.exited == 0:
            return
        said = _last(ended.stderr)
        if said.startswith("sudo:"):
            raise StepFailed(_refused(said))
        raise StepFailed(f"setting the system profile failed: {said}")

    async def _switch(self, action: str, *, root: bool) -> Result:
        try:
            command = switch(self._path, action, root=root)
            ended = await self._remote(self._instance, command, seconds=ACTIVATION_SECONDS, on_line=self._tell.line)
        except LinkLost as error:
            return await self._after_lost_link(action, error)
        if ended.exited == 0:
            return Result(path=self._path)
        if ended.exited in _WARNINGS:
            return Result(path=self._path, warning=_WARNINGS[ended.exited])
        said = _last(ended.stderr)
        if said.startswith("sudo:"):
            raise StepFailed(_refused(said))
        meaning = _MEANING.get(ended.exited, said)
        boots = f" The profile is set: {self._instance} boots the new system." if action in SETS_PROFILE else ""
        raise StepFailed(f"switch-to-configuration {action} ended with {ended.exited}: {meaning}.{boots}")

    async def _after_lost_link(self, action: str, lost: LinkLost) -> Result:
        """Ask the host anew, over a new connection, what became of an activation whose link broke."""
        try:
            host = await self._look()
        except HiveError:
            raise LinkLost(f"{lost} The host does not answer any more: what it runs is unknown.") from None
        if action in CHANGES_RUNNING and host.current == self._path:
            return Result(path=self._path, warning="the link was lost; the host runs the wanted system now")
        raise LinkLost(f"{lost} The host answers again and runs {host.current or 'an unknown system'}.")


def _refused(said: str) -> str:
    return (
        f"sudo was refused ({said.removeprefix('sudo:').strip()}). Let the login user use sudo without a password, "
        "or log in as root. Nothing was changed."
    )


def _as_root(words: list[str], *, root: bool) -> str:
    return shlex.join(words if root else ["sudo", "-n", "--", *words])


def _store_path(text: str) -> str:
    return text if text.startswith("/nix/store/") else ""


def _last(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
