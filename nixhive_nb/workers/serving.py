"""What a worker does for an operator: commands on hosts, over its own connections. Its functions are called by name.

Calls come in batches (`post`), and what there is to tell of them is asked for (`hear`): see `talk`. An operator who is
silent for `LEASE` seconds is gone: what ran for him on hosts ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
_PATIENCE = 10.0
"""Seconds for which a question waits for something to tell."""
UNKNOWN = "unknown"
"""The answer of a worker that does not know what it is asked of: it was started again meanwhile."""
CANCEL = "cancel"
"""In place of the name of a function: what the call before is let go of by."""
Answer = dict[str, Any]
Called = tuple[str, str, tuple[Any, ...], dict[str, Any]]
"""A call as it is sent: its id, the name of a function, and what that gets."""
Told = tuple[str, list[str], Answer | None]
"""What is told of a call: new lines, and its answer when it has ended."""


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


class _Box:
    """What there is to tell an operator since he asked last. `number` tells his talks apart: the newest is highest."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.told: list[Told] = []
        self.news = asyncio.Event()

    def put(self, call: str, lines: list[str], answer: Answer | None) -> None:
        self.told.append((call, lines, answer))
        self.news.set()

    def taken(self) -> list[Told]:
        told, self.told = self.told, []
        self.news.clear()
        return told


class Serving:
    """What a worker process keeps from call to call."""

    def __init__(self, name: str, places: Sequence[str]) -> None:
        """Begin with no operator."""
        self.name = name
        self.places = tuple(places)
        self.boxes: dict[str, _Box] = {}
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
        self.boxes.pop(operator, None)

    def box(self, operator: str, number: int, *, new: bool = False) -> _Box | None:
        """Return what there is to tell in a talk of an operator; None in one that nothing is known of, or no more."""
        box = self.boxes.get(operator)
        if new and (box is None or box.number < number):
            box = self.boxes[operator] = _Box(number)
        if box is None or box.number != number:
            return None
        self.beats[operator] = time.monotonic()
        return box


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


async def settle(operator: str, digest: str, inventory: bytes) -> bool:
    """Get to know the hosts of a deployment; False where nobody serves."""
    serving = _SERVING[0] if _SERVING else None
    if serving is None:
        return False
    await beat(operator)
    async with serving.settling:  # many steps come at once, and one makes the connections for all
        if digest not in serving.sites:
            part = msgspec.json.decode(inventory, type=Inventory)
            serving.sites[digest] = await asyncio.to_thread(_OperatorsHosts, operator, part)
    return True


async def forget(digest: str) -> Answer:
    """Close the connections to the hosts of a deployment, which its operator has done with."""
    site = _SERVING[0].sites.pop(digest, None) if _SERVING else None
    if site is not None:
        await asyncio.to_thread(site.close)
    return {}


async def post(operator: str, number: int, batch: Sequence[Called], new: bool) -> bool:  # noqa: FBT001 - by Dask
    """Begin what is called in a batch, and let go of what is cancelled in it; False for a talk that is not known.

    One that is `new` begins with it.
    """
    serving = _SERVING[0] if _SERVING else None
    box = serving.box(operator, number, new=new) if serving else None
    if serving is None or box is None:
        return False
    for call, name, args, more in batch:
        if name != CANCEL:
            task = asyncio.ensure_future(_answered(box, call, BATCHED[name], args, more))
            serving.calls[call] = operator, task
            task.add_done_callback(partial(_forgotten, serving, call))
        elif call in serving.calls:
            serving.calls[call][1].cancel()
    return True


def _forgotten(serving: Serving, call: str, _: object) -> None:
    serving.calls.pop(call, None)


async def hear(operator: str, number: int) -> list[Told] | None:
    """Return what there is to tell, waiting a while for something; None for a talk that is not known."""
    box = _SERVING[0].box(operator, number) if _SERVING else None
    if box is None:
        return None
    news = asyncio.ensure_future(box.news.wait())
    try:
        await asyncio.wait([news], timeout=_PATIENCE)
    finally:
        news.cancel()
    return box.taken()


async def _answered(
    box: _Box, call: str, function: Callable[..., Awaitable[Answer]], args: Sequence[Any], more: dict[str, Any]
) -> None:
    """Call a function, and have what comes of it told; what a person may see of a failure is an answer."""
    serving = _SERVING[0]
    lines = _Lines(lambda new: box.put(call, new, None))
    try:
        answer = await _told(function(*args, **more, **({"on_line": lines.add} if function is command else {})))
    except Exception as error:  # noqa: BLE001 - our own bug: it fails this call and no other
        _log.debug("a call of an operator: a bug", exc_info=True)
        answer = {"error": "StepFailed", "text": f"A bug in nixhive_nb, on worker {serving.name}: {error!r}", "log": ()}
    box.put(call, lines.left(), answer)


async def command(
    site: str,
    instance: str,
    line: str,
    words: str,
    *,
    seconds: float,
    stdin: str | None,
    heard: bool,
    on_line: Callable[[str], None],
) -> Answer:
    """Run shell words on a host, and return how they ended. Lines are told as they come where they are `heard`.

    `line` is a connection of `login`, or empty.
    """
    link = _link(site, instance, line)
    if link is None:
        return {UNKNOWN: True}
    ended = await link.run(words, seconds=seconds, on_line=on_line if heard else None, stdin=stdin)
    return msgspec.structs.asdict(ended)


async def login(site: str, instance: str, line: str, *, urgent: bool) -> Answer:
    """Open a connection that nothing has used before, under a name."""
    serving = _SERVING[0]
    if site not in serving.sites:
        return {UNKNOWN: True}
    stack = contextlib.AsyncExitStack()
    link = await stack.enter_async_context(serving.sites[site].links.fresh(instance, urgent=urgent))
    serving.lines[line] = (serving.sites[site].operator, stack, link)
    return {}


async def leave(line: str) -> Answer:
    """Close such a connection."""
    if line in _SERVING[0].lines:
        await _SERVING[0].lines.pop(line)[1].aclose()
    return {}


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


BATCHED: dict[str, Callable[..., Awaitable[Answer]]] = {one.__name__: one for one in (command, login, leave)}
"""What is called in batches: the words to hosts. What carries bytes goes by itself, and holds no word up."""


def _link(site: str, instance: str, line: str) -> HostLink | None:
    if not _SERVING:
        return None
    if line:
        return _SERVING[0].lines[line][2] if line in _SERVING[0].lines else None
    known = _SERVING[0].sites.get(site)
    return known.links.kept(instance) if known else None


async def _called(site: str, call: str, work: Awaitable[Answer]) -> Answer:
    """Have something done that ends with its operator; what a person may see of it is an answer."""
    serving = _SERVING[0]
    task = asyncio.ensure_future(work)
    serving.calls[call] = serving.sites[site].operator, task
    try:
        return await _told(task)
    finally:
        serving.calls.pop(call, None)


async def _told(work: Awaitable[Answer]) -> Answer:
    try:
        return await work
    except HiveError as error:
        return {"error": type(error).__name__, "text": str(error), "log": error.log}
    except asyncio.CancelledError:
        return {"error": "LinkLost", "text": "it was let go of", "log": ()}


class _Lines:
    """Lines of a command, told some at a time. They come from any thread."""

    def __init__(self, tell: Callable[[list[str]], None]) -> None:
        self._tell = tell
        self._new: list[str] = []
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()

    def add(self, line: str) -> None:
        """Take a line."""
        with self._lock:
            self._new.append(line)
            is_first = len(self._new) == 1
        if is_first:
            self._loop.call_soon_threadsafe(self._loop.call_later, _GATHER, self._send)

    def left(self) -> list[str]:
        """Return those that were not told yet."""
        with self._lock:
            new, self._new = self._new, []
        return new

    def _send(self) -> None:
        if new := self.left():
            self._tell(new)
