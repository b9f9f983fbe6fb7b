"""What a worker does for an operator: commands on hosts, over its own connections. Its functions are called by name.

An operator who is silent for `LEASE` seconds is gone: what ran for him on hosts ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.deployment.inventory import Inventory
from nixhive_nb.errors import HiveError
from nixhive_nb.ssh.access import Access
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.workers.running import UsersCommand
from nixhive_nb.workers.versions import own_versions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nixhive_nb.ssh.link import Channel, HostLink
    from nixhive_nb.ssh.pool import Connections

_log = logging.getLogger(__name__)
LEASE = 30.0
"""Seconds without a word of an operator after which what runs for him is ended."""
_GATHER = 0.05
"""Seconds for which lines are gathered, to be sent together."""
UNKNOWN = "unknown"
"""The answer of a worker that does not know what it is asked of: it was started again meanwhile."""
Answer = dict[str, Any]


class _OperatorsHosts:
    """The connections to the hosts of one operator's deployment."""

    def __init__(self, operator: str, inventory: Inventory) -> None:
        self.operator = operator
        self._access = Access(inventory)
        self.links = FabricLinks(self._access.connections)

    @property
    def connections(self) -> Connections:
        return self._access.connections

    def way_in(self, instance: str) -> Channel:
        return self._access.connections.way_in(instance)

    def close(self) -> None:
        self._access.close()


class _Stream:
    """A connection that bytes go by, with threads of its own: it blocks for as long as nothing comes."""

    def __init__(self, operator: str, channel: Channel) -> None:
        self.operator = operator
        self._channel = channel
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="hive-stream")

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._channel.sendall, data)

    async def read(self, size: int) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._channel.recv, size)

    async def close(self) -> None:
        await asyncio.to_thread(self._channel.close)
        self._threads.shutdown(wait=False)


class Serving:
    """What a worker process keeps from call to call."""

    def __init__(self, name: str, places: Sequence[str], say: Callable[[str, Answer], None]) -> None:
        """`say` sends something to whoever listens to a topic."""
        self.name = name
        self.places = tuple(places)
        self.say = say
        self.sites: dict[str, _OperatorsHosts] = {}
        self.settling = asyncio.Lock()
        self.calls: dict[str, tuple[str, asyncio.Task[Any]]] = {}
        self.lines: dict[str, tuple[str, contextlib.AsyncExitStack, HostLink]] = {}
        self.streams: dict[str, _Stream] = {}
        self.commands: dict[str, UsersCommand] = {}
        self.beats: dict[str, float] = {}

    async def watch(self) -> None:
        """End what runs for operators who are gone, until it is cancelled."""
        while True:
            await asyncio.sleep(LEASE / 6)
            for operator, last in list(self.beats.items()):
                if time.monotonic() - last > LEASE:
                    await self.end(operator)

    async def end(self, operator: str = "") -> None:
        """End what runs for an operator, or for all."""
        mine = [task for whose, task in self.calls.values() if operator in ("", whose)]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        for line, (whose, stack, _) in list(self.lines.items()):
            if operator in ("", whose):
                del self.lines[line]
                with swallowed(_log, "closing a connection", HiveError):
                    await stack.aclose()
        for name, one in list(self.commands.items()):
            if operator in ("", one.operator):
                del self.commands[name]
                one.end("the operator has left")
        for name, stream in list(self.streams.items()):
            if operator in ("", stream.operator):
                del self.streams[name]
                await stream.close()
        for digest, site in list(self.sites.items()):
            if operator in ("", site.operator):
                del self.sites[digest]
                await asyncio.to_thread(site.close)
        self.beats.pop(operator, None)


_SERVING: list[Serving] = []
"""That of this process, when it is a worker of ours."""


def take_up(serving: Serving | None) -> None:
    """Have the functions of this module work for a worker; None: for none any more."""
    _SERVING[:] = [serving] if serving else []


async def describe() -> Answer | None:
    """Return who this worker is and its versions; None for a worker of Dask that was not started by `nix-hive`."""
    if not _SERVING:
        return None
    return {"name": _SERVING[0].name, "places": _SERVING[0].places, "versions": own_versions()}


async def beat(operator: str) -> None:
    """Take in that an operator is there."""
    if _SERVING:
        _SERVING[0].beats[operator] = time.monotonic()


async def farewell(operator: str) -> None:
    """End what runs for an operator, who leaves."""
    if _SERVING:
        await _SERVING[0].end(operator)


async def settle(operator: str, digest: str, inventory: bytes) -> None:
    """Get to know the hosts of a deployment."""
    serving = _SERVING[0]
    await beat(operator)
    async with serving.settling:  # many steps come at once, and one makes the connections for all
        if digest not in serving.sites:
            part = msgspec.json.decode(inventory, type=Inventory)
            serving.sites[digest] = await asyncio.to_thread(_OperatorsHosts, operator, part)


async def command(
    site: str, instance: str, line: str, words: str, call: str, *, seconds: float, stdin: str | None, topic: str
) -> Answer:
    """Run shell words on a host, and return how they ended with the lines that were heard.

    `line` is a connection of `login`, or empty. Lines are sent to `topic` as they come, where there is one.
    """
    link = _link(site, instance, line)
    if link is None:
        return {UNKNOWN: True}
    heard = _Lines(call, topic, _SERVING[0].say)
    on_line = heard.add if topic else None

    async def work() -> Answer:
        ended = await link.run(words, seconds=seconds, on_line=on_line, stdin=stdin)
        return {**msgspec.structs.asdict(ended), "lines": heard.all}

    return await _called(site, call, work())


async def login(site: str, instance: str, line: str, *, urgent: bool) -> Answer:
    """Open a connection that nothing has used before, under a name."""
    serving = _SERVING[0] if _SERVING else None
    if serving is None or site not in serving.sites:
        return {UNKNOWN: True}
    stack = contextlib.AsyncExitStack()

    async def work() -> Answer:
        link = await stack.enter_async_context(serving.sites[site].links.fresh(instance, urgent=urgent))
        serving.lines[line] = (serving.sites[site].operator, stack, link)
        return {}

    return await _called(site, line, work())


async def leave(line: str) -> None:
    """Close such a connection."""
    if _SERVING and line in _SERVING[0].lines:
        await _SERVING[0].lines.pop(line)[1].aclose()


async def cancel(call: str) -> None:
    """Let go of a command that runs."""
    if _SERVING and call in _SERVING[0].calls:
        _SERVING[0].calls[call][1].cancel()


async def dial(site: str, instance: str, line: str, where: tuple[str, int], channel: str, *, seconds: float) -> Answer:
    """Have a host connect to a host and port, under a name."""
    link = _link(site, instance, line)
    if link is None:
        return {UNKNOWN: True}

    async def work() -> Answer:
        return _streaming(site, channel, await asyncio.to_thread(link.dial, *where, seconds))

    return await _called(site, channel, work())


async def enter(site: str, instance: str, channel: str) -> Answer:
    """Connect to the ssh server of a host, under a name, for the operator's own ssh to log in."""
    known = _SERVING[0].sites.get(site) if _SERVING else None
    if known is None:
        return {UNKNOWN: True}

    async def work() -> Answer:
        return _streaming(site, channel, await asyncio.to_thread(known.way_in, instance))

    return await _called(site, channel, work())


def _streaming(site: str, name: str, channel: Channel) -> Answer:
    _SERVING[0].streams[name] = _Stream(_SERVING[0].sites[site].operator, channel)
    return {}


async def exchange(channel: str, *, data: bytes, size: int) -> Answer:
    """Write to such a connection, and read at most `size` bytes; close it where both are nothing."""
    found = _SERVING[0].streams.get(channel) if _SERVING else None
    if found is None:
        return {UNKNOWN: True}
    if not data and not size:
        await _SERVING[0].streams.pop(channel).close()
        return {}
    try:
        if data:
            await found.send(data)
        return {"data": await found.read(size) if size else b""}
    except OSError as error:
        return {"closed": str(error)}


async def begin(
    site: str, instance: str, name: str, words: str, *, stdin: bytes, seconds: float | None, ending: bytes
) -> Answer:
    """Begin a command of a user's on a host, under a name: see `UsersCommand`."""
    known = _SERVING[0].sites.get(site) if _SERVING else None
    if known is None:
        return {UNKNOWN: True}
    one = _SERVING[0].commands[name] = UsersCommand(known.operator, known.connections, instance)
    one.begin(words, stdin=stdin, seconds=seconds, ending=ending)
    return {}


async def fetch(name: str) -> Answer:
    """Return what such a command has said, and how it ended if it has: then it is forgotten."""
    one = _SERVING[0].commands.get(name) if _SERVING else None
    if one is None:
        return {UNKNOWN: True}
    answer = await one.fetch()
    if answer["ended"] is not None:
        _SERVING[0].commands.pop(name, None)
    return answer


async def stop(name: str, reason: str) -> None:
    """Have such a command end on its host."""
    one = _SERVING[0].commands.get(name) if _SERVING else None
    if one is not None:
        one.end(reason)


def _link(site: str, instance: str, line: str) -> HostLink | None:
    if not _SERVING:
        return None
    if line:
        return _SERVING[0].lines[line][2] if line in _SERVING[0].lines else None
    known = _SERVING[0].sites.get(site)
    return known.links.kept(instance) if known else None


async def _called(site: str, call: str, work: Awaitable[Answer]) -> Answer:
    """Have something done that can be cancelled; what a person may see of it is an answer."""
    serving = _SERVING[0]
    task = asyncio.ensure_future(work)
    serving.calls[call] = serving.sites[site].operator, task
    try:
        return await task
    except HiveError as error:
        return {"error": type(error).__name__, "text": str(error), "log": error.log}
    except asyncio.CancelledError:
        return {"error": "LinkLost", "text": "it was let go of", "log": ()}
    finally:
        serving.calls.pop(call, None)


class _Lines:
    """Lines of a command, sent some at a time. They come from any thread."""

    def __init__(self, call: str, topic: str, say: Callable[[str, Answer], None]) -> None:
        self.all: list[str] = []
        self._call = call
        self._topic = topic
        self._say = say
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._waiting = False

    def add(self, line: str) -> None:
        """Take a line."""
        self._loop.call_soon_threadsafe(self._take, line)

    def _take(self, line: str) -> None:
        self.all.append(line)
        if not self._waiting:
            self._waiting = True
            self._loop.call_later(_GATHER, self._send)

    def _send(self) -> None:
        self._waiting = False
        new, first = self.all[self._sent :], self._sent
        self._sent = len(self.all)
        self._say(self._topic, {"call": self._call, "first": first, "lines": new})
