"""One host's life: it is started, looked at, entered and ended."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.lab import network
from nixhive_nb.lab.commands import SYSTEM_PATH, is_first, is_in, processes_in, run, wait_for_end
from nixhive_nb.lab.container import Container
from nixhive_nb.lab.model import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_log = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("power.sh")
_START_SECONDS = 30.0
_STOP_SECONDS = 120.0


class Host(msgspec.Struct, frozen=True):
    """What is needed to start a host. `address` has the length of its prefix with it.

    `container` is for a host with systemd; a light one has none.
    """

    name: str
    number: int
    root: Path
    address: str
    daemon: bool
    container: Container | None = None

    @property
    def log(self) -> Path:
        """Where the start of the host leaves its words."""
        return (self.container.folder if self.container else self.root) / "start.log"

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
    held = [held_by_host]
    try:
        argv = _argv(host)
        if host.container is not None:
            held.append(host.container.hold())
        with host.log.open("wb") as log:
            # setsid --fork hands the host to init: it is nobody's child here, and no signal to our group reaches it.
            subprocess.run(
                ["setsid", "--fork", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=held,
                env={"PATH": SYSTEM_PATH, "HOME": "/root", "LC_ALL": "C"},
                cwd="/",
                check=True,
            )
    finally:
        for handle in held:
            os.close(handle)
    return lifeline


def _argv(host: Host) -> list[str]:
    if host.container is not None:
        return host.container.argv(network.path(host.number, host.name), host.root, host.name, host.address)
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
            late = "; ".join(f"{host.name}: {_last_words(host)}" for host in pending.values())
            raise LabError(f"These hosts did not answer within {_START_SECONDS:.0f} seconds: {late}")


def _last_words(host: Host) -> str:
    logs = (host.log, host.root / "var" / "log" / "sshd.log")
    words = [log.read_text(errors="replace").strip()[-1000:] for log in logs if log.exists()]
    return " ".join((*words, _journal(host))).strip()


def _journal(host: Host) -> str:
    """Return what a host with systemd has to say, if it got as far as that."""
    pid = first_processes(host.number, (host.name,)).get(host.name)
    if host.container is None or pid is None:
        return ""
    try:
        return enter(pid, ["journalctl", "--boot", "--no-pager", "--output=cat", "--lines=20"])[-2000:]
    except LabError:
        _log.debug("the journal of %s cannot be read", host.name, exc_info=True)
        return ""


def first_processes(number: int, names: Sequence[str]) -> dict[str, int]:
    """Return the first process of each host that runs, as this machine counts."""
    inodes = {found: name for name in names if (found := network.inode(number, name)) is not None}
    inside = processes_in(inodes)
    return {inodes[inode]: pid for inode, pids in inside.items() for pid in sorted(pids) if is_first(pid)}


def is_first_of(pid: int, number: int, name: str) -> bool:
    """Whether this is the first process of that host now."""
    inode = network.inode(number, name)
    return inode is not None and is_in(pid, inode) and is_first(pid)


def shut_down(pid: int, name: str) -> None:
    """Tell a host with systemd to reboot, and wait until it is down. What starts it again may begin at once."""
    handle = os.pidfd_open(pid)
    try:
        enter(pid, ["systemctl", "reboot", "--no-block"])
        if not wait_for_end(handle, _STOP_SECONDS):
            raise LabError(f"The host {name} was told to reboot, and is not down after {_STOP_SECONDS:.0f} seconds.")
    finally:
        os.close(handle)


def enter(pid: int, argv: Sequence[str], text: str | None = None) -> str:
    """Run a program as root inside a host, by way of its first process, and give what it prints."""
    spaces = ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    # Who enters a mount namespace is in its root.
    return run([*spaces, *argv], text=text, env={"PATH": f"/run/current-system/sw/bin:{SYSTEM_PATH}", "HOME": "/root"})
