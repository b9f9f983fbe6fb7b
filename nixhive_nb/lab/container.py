"""A host with systemd: a Debian of its own below the host's folders, run by systemd-nspawn."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from nixhive_nb.lab import cgroups, debian
from nixhive_nb.lab.commands import run
from nixhive_nb.lab.model import LabError

_log = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("container.sh")
_WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
_MOST_WATCHES = 4096
"""How many things that watch files root may have on this machine: its first processes, logind and session managers have
half a dozen for each host, and the kernel's own limit is 128 for all of them."""


class Container(msgspec.Struct, frozen=True):
    """What a host with systemd has beside its root: a folder, and a name of its own on the whole machine."""

    folder: Path
    machine: str
    fleet: Path

    @property
    def debian(self) -> Path:
        """The Debian that is kept for all fleets, as this host's lower layer."""
        return self.folder / "lower"

    def hold(self) -> int:
        """Open the kept Debian, for the host's first process to hold as long as it lives."""
        handle = debian.hold(self.debian.resolve())
        if handle is None:
            raise LabError(f"{self.debian.resolve()} is gone: take the fleet down and bring it up again.")
        return handle

    def argv(self, namespace: Path, root: Path, name: str, address: str) -> list[str]:
        """Return the command that is the host's power, in a group of its own."""
        group = cgroups.make(self.machine, self.fleet)
        # Not by `ip netns exec`, which would hide the groups from nspawn.
        spaces = ["nsenter", f"--net={namespace}", "unshare", "--mount", "--propagation=slave"]
        return [*spaces, "sh", str(_SCRIPT), str(root), name, address, self.machine, str(group)]


def make_room() -> None:
    """Let root have as many watches of files as hosts with systemd need. It is never lowered: others may need them."""
    try:
        if int(_WATCHES.read_text()) < _MOST_WATCHES:
            _WATCHES.write_text(f"{_MOST_WATCHES}\n")
    except OSError:
        _log.debug("%s cannot be raised", _WATCHES, exc_info=True)


def lay_root(box: Container, root: Path, kept: Path) -> None:
    """Lay the host's own layer over the kept Debian, at `root`. Its /nix is a plain folder."""
    for part in ("upper", "work", "nix"):
        (box.folder / part).mkdir(parents=True)
    box.debian.symlink_to(kept)
    root.mkdir(parents=True)
    # The names are short, and relative: a colon or a comma in a path would have a meaning of its own here.
    layers = "lowerdir=lower,upperdir=upper,workdir=work"
    run(["mount", "-t", "overlay", "-o", layers, box.machine, str(root)], cwd=box.folder)
    (root / "nix").mkdir(exist_ok=True)
    run(["mount", "--bind", str(box.folder / "nix"), str(root / "nix")])
