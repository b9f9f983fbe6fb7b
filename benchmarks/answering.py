"""Hosts that are not there, and answer the words that a deploy asks: in place of what reaches hosts over ssh.

Each answer comes after a time that passes: `latency` for a command or a login, `activation` for a switch. A host keeps
what it runs, boots and has in its store, and what it says is what `hosts/facts.py`, `nix/fetch.sh` and
`hosts/activation.sh` say on a host that is well. A trial lasts until its word comes, over a link of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from typing import TYPE_CHECKING

from nixhive_nb.hosts import activation, scripts
from nixhive_nb.hosts.facts import FACTS
from nixhive_nb.ssh.link import RemoteResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nixhive_nb.ssh.config import SshFiles

    Say = Callable[[str], None]

OLD = "/nix/store/00000000000000000000000000000000-nixos-system-old"
_OUR_WORDS = "set -- "
_KEPT = tuple(f"kept={name}" for name in (scripts.hash_of(f"{FACTS}\n"), scripts.activation_hash()))
"""What an activation leaves: the words for how a host is, and its own."""
_SAID = (
    "setting up /etc...",
    "reloading user units for root...",
    "the following new units were started: nginx.service",
)
_PARTS = 4
"""How often a host tells what has moved."""


class AnsweringHost:
    """One host: what it runs and boots, and the trial that it is in."""

    __slots__ = ("_boot", "boots", "generation", "keeps", "machine", "paths", "runs", "word")

    def __init__(self, name: str) -> None:
        """Begin with a system of before."""
        self.runs = self.boots = OLD
        self.paths = {OLD}
        self.generation = 1
        self.keeps = False
        self.word: asyncio.Future[str] | None = None
        self._boot = uuid.uuid5(uuid.NAMESPACE_DNS, name)
        self.machine = hashlib.sha256(name.encode()).hexdigest()

    def facts(self) -> list[str]:
        """Return the lines of `hosts.facts.FACTS`."""
        return [
            f"current={self.runs}",
            f"booted={OLD}",
            f"profile={self.boots}",
            f"generation=system-{self.generation}-link",
            f"boot_id={self._boot}",
            "uptime=86400.00 170000.00",
            "df=",
            "Filesystem 1024-blocks Used Available Capacity Mounted on",
            "/dev/vda1 100000000 40000000 60000000 40% /nix",
            "df_end=",
            "uid=0",
            f"machine_id={self.machine}  -",
            "loader=",
            "inhibitors={}",
            "machine=x86_64",
            "systemd=yes",
            *(_KEPT if self.keeps else ()),
        ]


class AnsweringHosts:
    """All of them, as `HostLinks` for a worker, and as `FarLinks` for a process that reaches them itself."""

    def __init__(self, *, latency: float, activation: float) -> None:
        """Take the seconds that a command takes, and those of a switch."""
        self.latency = latency
        self.activation = activation
        self.commands = 0
        self._hosts: dict[str, AnsweringHost] = {}

    def host(self, name: str) -> AnsweringHost:
        """Return a host."""
        if name not in self._hosts:
            self._hosts[name] = AnsweringHost(name)
        return self._hosts[name]

    def carries(self, _instance: str) -> bool:
        """Return that it does."""
        return True

    def files(self, files: SshFiles) -> SshFiles:
        """Return what Nix's ssh reads: as it is, since nothing is copied to these hosts."""
        return files

    def lost_since(self, _instance: str, _moment: float) -> bool:
        """Return that no way to a host is lost."""
        return False

    def kept(self, instance: str, _here: object = None) -> AnsweringLink:
        """Return the link to a host."""
        return AnsweringLink(self, self.host(instance))

    @contextlib.asynccontextmanager
    async def fresh(self, instance: str, _here: object = None, *, urgent: bool = False) -> AsyncIterator[AnsweringLink]:
        """Log in anew."""
        del urgent
        await asyncio.sleep(self.latency)
        yield self.kept(instance)

    def close(self) -> None:
        """Do nothing: nothing is open."""


class AnsweringLink:
    """A `HostLink` to one of them."""

    address = "192.0.2.1"

    def __init__(self, hosts: AnsweringHosts, host: AnsweringHost) -> None:
        """Use `AnsweringHosts.kept`."""
        self._hosts = hosts
        self._host = host
        self.room = contextlib.nullcontext()

    async def run(
        self, command: str, *, seconds: float, on_line: Callable[[str], None] | None = None, stdin: str | None = None
    ) -> RemoteResult:
        """Answer a command; see `HostLink`."""
        del stdin
        self._hosts.commands += 1
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            if on_line is not None:
                on_line(line)

        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            await asyncio.sleep(self._hosts.latency)
            await self._answer(command, say)
        took = asyncio.get_running_loop().time() - began
        return RemoteResult(exited=0, stdout="".join(f"{line}\n" for line in said), stderr="", seconds=took)

    async def _answer(self, command: str, say: Say) -> None:
        if not command.startswith(_OUR_WORDS):
            self._tell(command, say)
            return
        # Those that matter here have no blank and no quotation mark, and telling the others apart takes a millisecond.
        kind, *words = command.partition("\n")[0].removeprefix(_OUR_WORDS).split()
        if kind == "fetch":
            await self._fetch(words[0], say)
        elif kind == "begin":
            await self._begin(words, say)
        elif kind == "say" and self._host.word is not None and not self._host.word.done():
            self._host.word.set_result(words[1])

    def _tell(self, command: str, say: Say) -> None:
        """Say how the host is, where it is asked that."""
        if FACTS not in command and "hive_kept" not in command:
            return
        for line in self._host.facts():
            say(line)
        asked = command.partition(FACTS)[2].partition("if test -e ")[2].partition(";")[0]
        if asked in self._host.paths:
            say("hive_there=yes")
            say("hive_system=yes")

    async def _fetch(self, path: str, say: Say) -> None:
        say("nixhive rooted")
        if path in self._host.paths:
            return
        say(f"copying path '{path}' from 'file:///relay'...")
        for part in range(1, _PARTS + 1):
            await asyncio.sleep(self._hosts.latency)
            say(f"nixhive moves {part * 1000} 0 -")
        self._host.paths.add(path)

    async def _begin(self, words: list[str], say: Say) -> None:
        """Do what `activation.sh` does: try it, wait for the word, have it last or go back; tell how the host is."""
        id_, path, _type, confirm = words[:4]
        host, mark = self._host, f"nixhive {id_}"
        before = host.runs
        host.word = asyncio.get_running_loop().create_future()
        say(f"{mark} began")
        say(f"{mark} holds {host.runs} {host.boots}")
        say(activation.ACTIVATING)
        for line in _SAID:
            say(line)
        await asyncio.sleep(self._hosts.activation)
        host.runs = path
        word = activation.KEEP
        if confirm != "0":
            say(f"{mark} tested 0")
            with contextlib.suppress(TimeoutError):
                word = ""
                word = await asyncio.wait_for(host.word, float(confirm))
        if word == activation.KEEP:
            host.boots, host.generation, host.keeps = path, host.generation + 1, True
            say(f"{mark} result done 0")
        else:
            host.runs = before
            say(f"{mark} result rolled-back 0 {word or 'not confirmed'}")
        say(f"{mark} facts")
        for line in host.facts():
            say(line)
        say(f"{mark} told")
        say(f"{mark} ended")

    def dial(self, host: str, port: int, seconds: float) -> object:
        """Refuse: no check of such a host connects to anything."""
        raise OSError(f"{host}:{port} ({seconds} s): these hosts connect to nothing")
