"""One practice fleet for all tests of this folder, and what it takes to look at it from outside."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from nixhive_nb.lab import HostSpec, Lab

SPECS = (
    HostSpec("www-2", "www", user="deploy"),
    HostSpec("www-3", "www", disk="8M"),
    HostSpec("depot", "depot", user="deploy", sudo=False),
    HostSpec("builder", "builder"),
)


class Operator:
    """A person at this machine: their ssh, and their Nix."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.config = folder / "ssh_config"
        known, blocks = [], []
        for host in lab.status():
            jump = "" if host.instance == "portico" else "  ProxyJump portico\n"
            blocks.append(f"Host {host.instance}\n  Hostname {host.address}\n  User {host.user}\n{jump}")
            known.append(f"{host.address} {host.host_key}\n")
        (folder / "known_hosts").write_text("".join(known))
        common = (
            f"Host *\n  IdentityFile {lab.identity}\n  IdentitiesOnly yes\n  BatchMode yes\n  ConnectTimeout 5\n"
            f"  UserKnownHostsFile {folder / 'known_hosts'}\n  StrictHostKeyChecking yes\n"
        )
        self.config.write_text("".join(blocks) + common)

    def ssh(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run(["ssh", "-F", str(self.config), *words])

    def nix(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run(list(words), NIX_SSHOPTS=f"-F {self.config}")

    def copy(self, host: str, *paths: str) -> None:
        done = self.nix(*NIX, "copy", "--to", f"ssh://{host}", "--substitute-on-destination", *paths)
        assert done.returncode == 0, done.stderr

    def sign(self, *paths: str) -> None:
        done = self.nix(*NIX, "store", "sign", "-r", "-k", str(self.lab.signing_key), *paths)
        assert done.returncode == 0, done.stderr

    def sent(self) -> int:
        """Bytes that went from this machine to the fleet."""
        return int(Path(f"/sys/class/net/{self.lab.link}/statistics/tx_bytes").read_text())

    def _run(self, argv: list[str], **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **extra}
        return subprocess.run(
            argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, timeout=60, check=False
        )


NIX = ("nix", "--extra-experimental-features", "nix-command")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    with Lab.up(tmp_path_factory.mktemp("fleet") / "lab", web=4, specs=SPECS) as lab:
        yield lab


@pytest.fixture(scope="session")
def operator(lab, tmp_path_factory):
    return Operator(lab, tmp_path_factory.mktemp("operator"))


@pytest.fixture
def build(lab, tmp_path):
    """Builds an expression in which `pkgs`, `system CONFIGURATION` and `unique` are known, and gives its path."""

    def build(expression: str) -> str:
        # `unique` is another one in each run, so that no host has the path from an earlier test.
        text = f"""
          let
            pkgs = import <nixpkgs> {{ }};
            unique = "{secrets.token_hex(16)}";
            system = configuration: (import <nixpkgs/nixos/lib/eval-config.nix> {{
              modules = [ configuration ];
            }}).config.system.build.toplevel;
          in {expression}
        """
        argv = ["nix-build", "--option", "substituters", "", "-I", f"nixpkgs={lab.nixpkgs}", "-E", text]
        done = subprocess.run(
            [*argv, "-o", tmp_path / "result"], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return build


@pytest.fixture(scope="session")
def need_nix():
    if shutil.which("nix-instantiate") is None:
        pytest.skip("needs Nix")
