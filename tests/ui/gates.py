"""Activations that begin, say something, and then wait for a test: what a cell shows meanwhile can be looked at."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.practice import Practice

AT_THE_GATE = "waiting at the gate"
_WAIT = f"echo {AT_THE_GATE} >&2; read line < /var/gate"


_SECONDS = 60
"""How long a gate may have nobody who waits at it."""


def go_on(pipe: Path) -> None:
    """Let who reads a pipe go on; raise where nobody does."""
    writing = threading.Thread(target=pipe.write_text, args=("go on\n",), daemon=True)
    writing.start()
    writing.join(_SECONDS)
    assert not writing.is_alive(), f"nobody reads {pipe}"


def open_gate(fleet: Practice, host: str) -> None:
    """Let what waits at the gate of a host go on."""
    fleet.lab.exec(host, ["timeout", str(_SECONDS), "sh", "-c", "echo go > /var/gate"])


class Gates:
    """Changes in the deployment of a practice fleet, for as long as a test goes on."""

    def __init__(self, fleet: Practice) -> None:
        self._fleet = fleet
        self._originals: dict[str, str] = {}
        self._hosts: list[str] = []

    def change(self, system: str, script: str = "true") -> None:
        """Return a system a text that it never had, and a script that its activation runs."""
        file = self._fleet.example / f"{system}.nix"
        text = self._originals.setdefault(system, file.read_text())
        new = f'environment.etc.release.text = "{secrets.token_hex(8)}";'
        quoted = script.replace("''", "'''").replace("${", "''${")
        lines = f"{new}\n  system.activationScripts.test = ''\n{quoted}\n'';\n  networking.hostName"
        file.write_text(text.replace("networking.hostName", lines, 1))

    def shut(self, system: str, *hosts: str) -> None:
        """Have the activation of a system wait on each of its hosts, until `open`."""
        self.change(system, _WAIT)
        for host in hosts:
            self._fleet.lab.exec(host, ["sh", "-c", "rm -f /var/gate; mkfifo /var/gate"])
            self._hosts.append(host)

    def open(self, host: str) -> None:
        """Let the activation of a host go on; it may also come to the gate later."""
        open_gate(self._fleet, host)

    def leave(self) -> None:
        """Put things back, and keep no activation waiting: nobody else could deploy to that host."""
        for system, text in self._originals.items():
            (self._fleet.example / f"{system}.nix").write_text(text)
        for host in self._hosts:
            # Whoever opens a pipe both ways waits for nobody.
            self._fleet.lab.exec(host, ["sh", "-c", "exec 3<>/var/gate; echo go >&3"])
