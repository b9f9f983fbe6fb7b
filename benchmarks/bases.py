"""The ways of others: one ssh process a step, loops, control masters, bare paramiko, ClusterShell, Ansible, pyinfra.

Each is as fast as we know how to make it, with the same keys, host keys and jumps as ours: those of the generated
configuration of OpenSSH. A try returns the hosts that it failed on.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import paramiko

from benchmarks.harness import Outcome
from benchmarks.setting import quietly

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.setting import Fleet

_LOOP = 'ssh -F "$0" "$1" "$2" </dev/null >/dev/null 2>&1 || echo "$1"'
_LONGEST = 900
_TRIES = 8
_STARTS = 30.0


def one_by_one(fleet: Fleet, hosts: Sequence[str], *commands: str) -> Outcome:
    """Do as Nix-Hive does: an ssh process for each step, strictly one host after the other."""
    ssh = ["ssh", "-F", str(fleet.config)]
    argvs = [[*ssh, host, command] for command in commands for host in hosts]
    ended = [subprocess.run(argv, check=False, capture_output=True, stdin=subprocess.DEVNULL) for argv in argvs]
    return Outcome(tuple(argv[3] for argv, one in zip(argvs, ended, strict=True) if one.returncode))


def loop(config: Path, at_once: int, hosts: Sequence[str], command: str) -> Outcome:
    """Do as a shell does: `xargs -P` of ssh, one login and one session a host."""
    argv = ["xargs", "-P", str(at_once), "-I{}", "sh", "-c", _LOOP, str(config), "{}", command]
    ended = subprocess.run(
        argv, input="\n".join(hosts), check=True, stdout=subprocess.PIPE, text=True, timeout=_LONGEST
    )
    return Outcome(tuple(ended.stdout.split()))


def open_masters(fleet: Fleet) -> None:
    """Have a master for the jump host, which loops share, and one for each host; raises where one does not come up."""
    open_jump(fleet)
    left: Sequence[str] = fleet.web
    for _ in range(_TRIES):
        left = loop(fleet.master_config, 4, left, "true").failed
        if not left:
            return
    raise OSError(f"No control master came up for {' '.join(left[:5])}")


def open_jump(fleet: Fleet) -> None:
    """Have a master for the jump host."""
    quietly(["ssh", "-F", str(fleet.jump_config), "portico", "true"], fleet.folder)


class Bare:
    """Connections of bare paramiko that are kept, behind one OpenSSH process that forwards to all of them."""

    def __init__(self, fleet: Fleet, threads: int = 32) -> None:
        """Open them."""
        self._sockets = fleet.folder / "bare"
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        for left in self._sockets.iterdir():
            left.unlink()
        addresses = {one.instance: one.address for one in fleet.lab.status() if one.instance in fleet.web}
        ways = [word for host, there in addresses.items() for word in ("-L", f"{self._sockets / host}:{there}:22")]
        self._jump = subprocess.Popen(
            ["ssh", "-F", str(fleet.config), "-N", *ways, "portico"], stdin=subprocess.DEVNULL
        )
        self._key = paramiko.Ed25519Key.from_private_key_file(str(fleet.lab.identity))
        self._pool = ThreadPoolExecutor(threads)
        _await([self._sockets / host for host in addresses])
        with ThreadPoolExecutor(4) as pool:  # sshd takes no more logins at once
            self._links = dict(zip(addresses, pool.map(self._opened, addresses), strict=True))

    def _opened(self, host: str) -> paramiko.Transport:
        for again in range(_TRIES):
            way = socket.socket(socket.AF_UNIX)
            way.connect(str(self._sockets / host))
            link = paramiko.Transport(way)
            try:
                link.connect(username="root", pkey=self._key)
            except (paramiko.SSHException, EOFError):
                link.close()
                if again == _TRIES - 1:
                    raise
            else:
                return link
        raise AssertionError

    def run(self, command: str) -> Outcome:
        """Run a command on all hosts."""

        def one(host: str) -> int:
            with self._links[host].open_session() as channel:
                channel.exec_command(command)
                while channel.recv(65536):
                    pass
                return channel.recv_exit_status()

        ended = dict(zip(self._links, self._pool.map(one, self._links), strict=True))
        return Outcome(tuple(host for host, status in ended.items() if status))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links.values():
            link.close()
        self._pool.shutdown()
        self._jump.terminate()
        self._jump.wait()


def _await(sockets: Sequence[Path]) -> None:
    ends = time.monotonic() + _STARTS
    while not all(path.exists() for path in sockets):
        if time.monotonic() > ends:
            raise TimeoutError("ssh does not forward to all hosts")
        time.sleep(0.02)


def clush(words: Sequence[str], config: Path, at_once: int, hosts: Sequence[str]) -> Outcome:
    """Do as ClusterShell does."""
    argv = [*words, "-f", str(at_once), "-w", ",".join(hosts), "-o", f"-F {config}", "true"]
    ended = _said(argv, config.parent)
    return Outcome(tuple(re.findall(r"clush: (\S+): ", ended.stderr)))


def ansible(words: Sequence[str], config: Path, at_once: int, hosts: Sequence[str]) -> Outcome:
    """Do as Ansible does, at its fastest: the module `raw`, with pipelining."""
    home = config.parent / "ansible"
    home.mkdir(exist_ok=True)
    argv = [*words, "all", "-i", ",".join([*hosts, ""]), "-m", "raw", "-a", "true", "-f", str(at_once)]
    more = {"ANSIBLE_SSH_ARGS": f"-F {config}", "ANSIBLE_PIPELINING": "1", "ANSIBLE_HOME": str(home), "HOME": str(home)}
    ended = _said(argv, home, **more, ANSIBLE_NOCOLOR="1")
    done = set(re.findall(r"^(\S+) \| CHANGED", ended.stdout, re.MULTILINE))
    return Outcome(tuple(host for host in hosts if host not in done))


def pyinfra(words: Sequence[str], fleet: Fleet, at_once: int, hosts: Sequence[str]) -> Outcome:
    """Do as pyinfra does."""
    inventory, home = fleet.folder / "inventory.py", fleet.folder / "pyinfra"
    home.mkdir(exist_ok=True)
    # It knows of host keys by address alone, not by alias.
    lines = [f"{one.address},[{one.address}]:{one.port} {one.host_key}\n" for one in fleet.lab.status()]
    (home / "known_hosts").write_text("".join(lines))
    config = home / "config"
    config.write_text(f"Host *\n  UserKnownHostsFile {home / 'known_hosts'}\n{fleet.config.read_text()}")
    data = {"ssh_config_file": str(config)}
    inventory.write_text(f"hosts = ({list(hosts)!r}, {data!r})\n")
    argv = [*words, "-y", "--parallel", str(at_once), str(inventory), "exec", "--", "true"]
    ended = _said(argv, home, HOME=str(home))
    done = set(re.findall(r"\[([\w-]+)\] Success", re.sub(r"\x1b\[[0-9;]*m", "", ended.stdout + ended.stderr)))
    return Outcome(tuple(host for host in hosts if host not in done))


def _said(argv: Sequence[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST,
    )
