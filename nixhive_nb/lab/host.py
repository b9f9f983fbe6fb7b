"""One host's life: it is started, looked at, entered and ended."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.lab import network
from nixhive_nb.lab.commands import SYSTEM_PATH, is_first, processes_in, run
from nixhive_nb.lab.model import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SCRIPT = Path(__file__).with_name("power.sh")
_START_SECONDS = 30.0


class Host(msgspec.Struct, frozen=True):
    """What is needed to start a host. `address` has the length of its prefix with it."""

    name: str
    number: int
    root: Path
    address: str
    daemon: bool

    @property
    def log(self) -> Path:
        """Where the start of the host leaves its words."""
        return self.root / "start.log"

    def is_ready(self) -> bool:
        """Whether its servers listen. Both files appear after that, and a start removes old ones first."""
        socket = self.root / "nix" / "var" / "nix" / "daemon-socket" / "socket"
        return (self.root / "var" / "lib" / "sshd.pid").exists() and (not self.daemon or socket.exists())


def start(hosts: Iterable[Host]) -> None:
    """Start hosts side by side, and wait until all of them answer."""
    lifelines: dict[int, Host] = {}
    try:
        for host in hosts:
            lifelines[_launch(host)] = host
        _await_ready(lifelines)
    finally:
        for lifeline in lifelines:
            os.close(lifeline)


def _launch(host: Host) -> int:
    """Start a host, and give the end of a pipe that reads as closed as soon as the host is dead."""
    (host.root / "var" / "lib" / "sshd.pid").unlink(missing_ok=True)
    (host.root / "nix" / "var" / "nix" / "daemon-socket" / "socket").unlink(missing_ok=True)
    lifeline, held_by_host = os.pipe()
    try:
        with host.log.open("wb") as log:
            # setsid --fork hands the host to init: it is nobody's child here, and no signal to our group reaches it.
            subprocess.run(
                ["setsid", "--fork", *_argv(host)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[held_by_host],
                env={"PATH": SYSTEM_PATH, "HOME": "/root", "LC_ALL": "C"},
                cwd="/",
                check=True,
            )
    finally:
        os.close(held_by_host)
    return lifeline


def _argv(host: Host) -> list[str]:
    command = ["sh", str(_SCRIPT), str(host.root), host.name, host.address, *(["daemon"] if host.daemon else [])]
    return ["ip", "netns", "exec", network.namespace(host.number, host.name), *command]


def _await_ready(lifelines: dict[int, Host]) -> None:
    """Wait for the files that the servers write once they listen; a closed lifeline ends the wait at once."""
    poller = select.poll()
    for lifeline in lifelines:
        poller.register(lifeline, 0)
    pending = dict(lifelines)
    deadline = time.monotonic() + _START_SECONDS
    while pending := {lifeline: host for lifeline, host in pending.items() if not host.is_ready()}:
        for lifeline, _ in poller.poll(5):
            host = lifelines[lifeline]
            raise LabError(f"The host {host.name} did not start: {_last_words(host)}")
        if time.monotonic() > deadline:
            late = ", ".join(host.name for host in pending.values())
            raise LabError(f"These hosts did not answer within {_START_SECONDS:.0f} seconds: {late}")


def _last_words(host: Host) -> str:
    logs = (host.log, host.root / "var" / "log" / "sshd.log")
    return " ".join(log.read_text(errors="replace").strip()[-1000:] for log in logs if log.exists())


def first_processes(number: int, names: Sequence[str]) -> dict[str, int]:
    """The first process of each host that runs, as this machine counts."""
    inodes = {found: name for name in names if (found := network.inode(number, name)) is not None}
    inside = processes_in(inodes)
    return {inodes[inode]: pid for inode, pids in inside.items() for pid in sorted(pids) if is_first(pid)}


def enter(pid: int, argv: Sequence[str], text: str | None = None) -> str:
    """Run a program as root inside a host, by way of its first process, and give what it prints."""
    spaces = ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/"]
    program = ["env", f"PATH=/run/current-system/sw/bin:{SYSTEM_PATH}", "HOME=/root", *argv]
    return run([*spaces, *program], text=text)
