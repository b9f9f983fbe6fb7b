"""What the practice fleet needs of this machine, checked before anything is made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.lab import cgroups
from nixhive_nb.lab.commands import SYSTEM_PATH
from nixhive_nb.lab.model import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGES = {
    "ip": "iproute2",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nix-store": "nix-bin",
    "nix-daemon": "nix-bin",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "flock": "util-linux",
    "mount": "mount",
    "hostname": "hostname",
    "sudo": "sudo",
}

_SYSTEMD_PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "setpriv": "util-linux",
    "bash": "bash",
}
_DEBIANS_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Numbers of Linux capabilities.
_NET_ADMIN = 12
_SYS_ADMIN = 21


def check(path: str = SYSTEM_PATH, *, systemd: bool = False) -> None:
    """Raise one LabError that names everything that is missing here. `path` is where programs are looked for.

    With `systemd` it is about a fleet that has hosts with systemd, which need more.
    """
    programs = _PACKAGES | (_SYSTEMD_PACKAGES if systemd else {})
    problems = [*_privilege_problems(), *_program_problems(path, programs), *_nix_problems(path), *_folder_problems()]
    if systemd:
        problems += _systemd_problems()
    if problems:
        raise LabError("The practice fleet cannot run on this machine:\n" + "\n".join(f"- {text}" for text in problems))


def _privilege_problems() -> list[str]:
    if os.geteuid() != 0:
        return [
            "It needs root: run it with sudo. User namespaces alone cannot give a jump host that this machine reaches."
        ]
    held = _capabilities()
    if held >> _NET_ADMIN & held >> _SYS_ADMIN & 1:
        return []
    return ["Root is restricted here (a container?): it may not make namespaces. Give it CAP_NET_ADMIN, CAP_SYS_ADMIN."]


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _program_problems(path: str, programs: Mapping[str, str]) -> list[str]:
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if not missing:
        return []
    packages = " ".join(sorted({programs[name] for name in missing}))
    return [f"Programs are missing: {', '.join(missing)}. On Debian: apt-get install -y {packages}"]


def _nix_problems(path: str) -> list[str]:
    program = shutil.which("nix-store", path=path)
    if program is None:
        return []
    if Path(os.path.realpath(program)).is_relative_to("/nix/store"):
        why = f"{program} lives in /nix/store. Each practice host has a /nix of its own, which would hide the program."
        return [f"{why} It has to come from outside, as from Debian's package: apt-get install -y nix-bin"]
    return []


def _folder_problems() -> list[str]:
    laid_over = {"/boot": "boot loader", "/nix": "store", "/usr/local/sbin": "programs"}
    return [
        f"There is no folder {folder} to lay a host's own {what} over: mkdir -p {folder}"
        for folder, what in laid_over.items()
        if not Path(folder).is_dir()
    ]


def _systemd_problems() -> list[str]:
    """Return what is missing for hosts with systemd, beside programs."""
    problems = []
    if not _DEBIANS_KEYS.exists():
        problems.append("Debian's keys are missing. On Debian: apt-get install -y debian-archive-keyring")
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        problems.append("The kernel has no overlay file system: modprobe overlay")
    groups = cgroups.hierarchy()
    if groups is None:
        problems.append("No cgroup2 file system is mounted, which a host with systemd needs.")
    elif not os.access(groups, os.W_OK):
        problems.append(
            f"{groups} is read-only (a container?): each host with systemd needs a control group of its own."
        )
    return problems
