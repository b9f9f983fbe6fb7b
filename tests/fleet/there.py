"""A fleet whose systems are built on its hosts, of which for each test neither they nor this machine had a path."""

from __future__ import annotations

import secrets

from nixhive_nb.nix import commands
from nixhive_nb.util import process
from tests.practice import give_own_packages

ROOTS = "cd /nix/var/nix/gcroots && ls -d nixhive/* per-user/*/nixhive/* 2>/dev/null || true"
GATED = 'system.extraDependencies = [ (derivation {{ name = "gated-{name}"; system = builtins.currentSystem; builder = \
"/bin/sh"; args = [ "-c" "echo waiting at {name} >&2; echo > /var/began; read line < /var/gate; echo > $out" ]; }}) ];'
_MARK = "networking.hostName"


class Fresh:
    """A fleet, and for each test systems of which neither it nor this machine has had a path."""

    def __init__(self, fleet, folder):
        self.fleet = fleet
        self.lab = fleet.lab
        give_own_packages(fleet, folder)
        self.builders = folder / "nixpkgs" / "pkgs" / "builders.nix"
        self.files = {
            file: file.read_text() for file in (self.builders, fleet.example / "www.nix", fleet.example / "default.nix")
        }

    def renew(self):
        for file, text in self.files.items():
            file.write_text(text)
        self.change(self.builders, 'unique = "', f'unique = "{secrets.token_hex(8)}')

    def change(self, file, old, new):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def gate(self, *hosts):
        """Have the system of the web servers wait in its build on hosts until the gate there is opened."""
        for host in hosts:
            self.lab.exec(host, ["sh", "-c", "cd /var && rm -f gate began && mkfifo -m 666 gate began"])
        self.add(GATED.format(name=secrets.token_hex(8)))

    def add(self, options):
        """Give the system of the web servers options."""
        self.change(self.fleet.example / "www.nix", _MARK, f"{options}\n  {_MARK}")

    def at_gate(self, host):
        self.lab.exec(host, ["timeout", "100", "cat", "/var/began"])

    def open_gate(self, host):
        self.lab.exec(host, ["timeout", "100", "sh", "-c", "echo go >/var/gate"])

    def opened(self, host):
        """Let one build pass that is still to come."""
        self.at_gate(host)
        self.open_gate(host)

    def deploy(self, *words):
        return self.fleet.nix_hive("deploy", "-c", "example", *words)

    def begin(self, *words):
        return self.fleet.begin("deploy", "-c", "example", *words)

    def builder_ended(self, host):
        """Return when nothing is built on a host any more."""
        running = "pgrep -f '^nix-store --realise' >/dev/null"
        self.lab.exec(host, ["timeout", "60", "sh", "-c", f"while {running}; do sleep 0.1; done"])

    def roots(self, host):
        return self.lab.exec(host, ["sh", "-c", ROOTS]).split()


def is_here(path):
    return not process.run(commands.invalid([path])).stdout.strip()
