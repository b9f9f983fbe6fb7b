"""A practice fleet with a copy of the example, and `nix-hive` run in it as a user does."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.commands import hive_group
from nixhive_nb.deployment.places import places_of
from nixhive_nb.lab import Lab
from tests import warm

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
_HEADERS = 14 + 20 + 32
"""Bytes of a packet that are of Ethernet, IPv4 and TCP, the last with its times."""
CHANGING = ("deploy", "push", "rollback", "reboot", "apply")
"""The commands that need leave when nobody is there, as here."""


class Practice:
    """A practice fleet, a copy of `example/` that leads to it, and a folder to work in."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder = folder
        self.lab = lab
        self.example = folder / "example"

    def nix_hive(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `nix-hive` as a user does, in the folder, with no terminal."""
        return subprocess.run(
            [*warm.command(), *with_leave(words)],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def begin(self, *words: str, cold: bool = False) -> subprocess.Popen[str]:
        """Start `nix-hive`, and give it while it runs. What it says on standard error can be read.

        A cold one is started as a process of its own, whose children are to be looked at.
        """
        program = warm.COLD if cold else warm.command()
        return subprocess.Popen(
            [*program, *with_leave(words)],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def own(self) -> Path:
        """Where the journals and the like of the example are."""
        return places_of(self.example, self.folder / ".hive.state").folder

    def _environment(self) -> dict[str, str]:
        # The log is kept when a test fails: see `tests/evidence.py`.
        return {**os.environ, "NO_COLOR": "1", "NIXHIVE_LOG": str(self.folder / "nix-hive.log")}

    def link_bytes(self) -> int:
        """Bytes that left this machine for the fleet, as the interface counts them."""
        return int(Path(f"/sys/class/net/{self.lab.link}/statistics/tx_bytes").read_text())

    def link_payload(self) -> int:
        """Bytes that left for the fleet, without those of headers: a busy machine sends more packets."""
        counted = Path(f"/sys/class/net/{self.lab.link}/statistics")
        sent, packets = (int((counted / name).read_text()) for name in ("tx_bytes", "tx_packets"))
        return sent - packets * _HEADERS

    def runs(self, instance: str) -> str:
        return self.lab.exec(instance, ["readlink", "-f", "/run/current-system"]).strip()

    def boots(self, instance: str) -> str:
        return self.lab.exec(instance, ["readlink", "-f", "/nix/var/nix/profiles/system"]).strip()


def with_leave(words: Sequence[str]) -> list[str]:
    """Return the words of a command with the `--yes` that a script has to say."""
    at = next((at for at, word in enumerate(words) if word in hive_group.commands), len(words))
    leave = ["--yes"] if at < len(words) and words[at] in CHANGING and "--plan" not in words else []
    return [*words[: at + 1], *leave, *words[at + 1 :]]


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read what a program says up to a line with `text`."""
    lines = []
    for line in process.stderr or ():
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} was never said:\n{''.join(lines)}")


def start(folder: Path, **options) -> Practice:
    """Bring up a fleet with a copy of the example."""
    shutil.copytree(ROOT / "example", folder / "example", ignore=shutil.ignore_patterns("lab.nix", ".hive*"))
    return Practice(folder, Lab.up(folder / "lab", deployment=folder / "example", **options))


def give_own_packages(one: Practice, tmp_path: Path) -> None:
    """Have a fleet build with packages that no other one has: what is built is in no store yet."""
    nixpkgs = tmp_path / "nixpkgs"
    shutil.copytree(one.lab.nixpkgs, nixpkgs)
    builders = nixpkgs / "pkgs" / "builders.nix"
    text = builders.read_text()
    own = text.replace("inherit system script;", f'inherit system script; unique = "{secrets.token_hex(8)}";')
    assert own != text
    builders.write_text(own)
    lab_nix = one.example / "lab.nix"
    lab_nix.write_text(lab_nix.read_text().replace(str(one.lab.nixpkgs), str(nixpkgs)))
