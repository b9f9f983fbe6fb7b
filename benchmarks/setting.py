"""What a benchmark runs in: a practice fleet with the example, how much of everything, and the programs of others."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nixhive_nb import Hive
from nixhive_nb.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.bases import Bare

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "nixhive_nb"]
_LONGEST = 1800


class Fleet:
    """A practice fleet: a jump host that is the relay too, and web servers behind it. The example runs on all."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder = folder
        self.lab = lab
        self.example = folder / "example"
        self.hive = Hive.load(self.example, state=folder / ".hive.state")
        self.web = tuple(name for name in lab.instances if name.startswith("www-"))
        self.config = folder / "ssh_config"
        self.config.write_text(self.hive.ssh_config())
        self.jump_config = self._with_masters("jump", "portico")
        self.master_config = self._with_masters("all", "*")
        # A nixpkgs of our own: with another seed in it, all that a system is made of is new.
        self.nixpkgs = folder / "nixpkgs"
        shutil.copytree(lab.nixpkgs, self.nixpkgs)
        self._builders = (self.nixpkgs / "pkgs" / "builders.nix").read_text()
        known = self.example / "lab.nix"
        known.write_text(known.read_text().replace(f'"{lab.nixpkgs}"', f'"{self.nixpkgs}"', 1))

    def _with_masters(self, name: str, pattern: str) -> Path:
        sockets = self.folder / f"{name}-masters"
        sockets.mkdir(mode=0o700)
        own = f"Host {pattern}\n  ControlMaster auto\n  ControlPath {sockets}/%C\n  ControlPersist 3600\nMatch all\n"
        path = self.folder / f"{name}_config"
        path.write_text(own + self.config.read_text())
        return path

    def path(self) -> str:
        """Return the store path of the system of the web servers, which is built."""
        return str(self.hive.build("www").frame.loc["www", "result"])

    def renew(self) -> str:
        """Build a system for the web servers of which no part is anywhere yet; return its path."""
        seed = f'(builtins.hashString "sha256" "{time.time_ns()}${{name}}")'
        old = 'seed = builtins.hashString "sha256" name;'
        (self.nixpkgs / "pkgs" / "builders.nix").write_text(self._builders.replace(old, f"seed = {seed};"))
        return self.path()

    def settle(self) -> str:
        """Deploy what is wanted to all, so that a deploy finds nothing to change; return the web servers' path."""
        self.hive.deploy("portico", "web")
        return self.path()

    def program(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run `nix-hive` as a program; raises when it fails."""
        return quietly([*PROGRAM, words[0], "-c", "example", *words[1:]], self.folder)

    def sent(self) -> int:
        """Return the bytes that have left this machine for the fleet, as the interface counts them."""
        return int(Path(f"/sys/class/net/{self.lab.link}/statistics/tx_bytes").read_text())

    def close(self) -> None:
        """Close the connections: ours, and the masters."""
        self.hive.close()
        for socket in self.folder.glob("*-masters/*"):
            argv = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "there"]
            subprocess.run(argv, check=False, capture_output=True, stdin=subprocess.DEVNULL)


class Setting:
    """How much of everything, and the fleet that is up; a row that wants another one gets it made."""

    def __init__(self, *, hosts: int = 0, rounds: int = 0, size: int = 1 << 30, peers: Path | None = None) -> None:
        self.wanted = hosts
        self.rounds = rounds
        self.size = size
        self.peers = peers
        self.hosts = 0
        """Web servers of the row that is measured."""
        self.missing: dict[str, str] = {}
        """Ways that cannot be tried here, and why."""
        self._fleet: Fleet | None = None
        self._stack = contextlib.ExitStack()
        self._of_row = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._stack.close()

    def at_end(self, work: Callable[[], object]) -> None:
        """Have something done when the row that is measured now has ended."""
        self._of_row.callback(work)

    def keep(self, one: Bare) -> Bare:
        """Keep connections open until the row that is measured now has ended."""
        return self._of_row.enter_context(one)

    def begin(self, hosts: int) -> None:
        """Begin a row on so many web servers."""
        self.hosts = self.wanted or hosts
        self.missing = {}

    def end(self) -> None:
        """End a row."""
        self._of_row.close()

    def fleet(self) -> Fleet:
        """Return a fleet with as many web servers as the row wants, all of them deployed to."""
        if self._fleet is None or len(self._fleet.web) != self.hosts:
            self._stack.close()
            self._fleet = self._stack.enter_context(fleet_of(self.hosts))
        return self._fleet

    def peer(self, program: str) -> list[str]:
        """Return the words that start a program of others; none, and a word why, where it is not there."""
        found = self.peers / "bin" / program if self.peers else None
        if found is None or not found.exists():
            why = (self.peers / f"{program}.why") if self.peers else None
            self.missing[program] = why.read_text().strip() if why and why.exists() else "it is not installed"
            return []
        return [str(found)]


@contextlib.contextmanager
def fleet_of(web: int) -> Iterator[Fleet]:
    """Bring a fleet up, deploy the example to it, and take it down at the end."""
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(ROOT / "example", folder / "example", ignore=shutil.ignore_patterns("lab.nix", ".hive*"))
        with Lab.up(folder / "lab", web=web, deployment=folder / "example") as lab:
            fleet = Fleet(folder, lab)
            try:
                fleet.settle()
                yield fleet
            finally:
                fleet.close()


def quietly(argv: Sequence[str], folder: Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program that must succeed."""
    return subprocess.run(
        argv, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_LONGEST, **more
    )
