"""`HostLinks` by way of workers: what is asked of a host goes to the worker that is near it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import threading
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import ConnectionFailed, WorkerLost
from nixhive_nb.plan.subtrees import subtrees
from nixhive_nb.ssh.config import SESSIONS
from nixhive_nb.ssh.link import RemoteResult
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.workers import serving
from nixhive_nb.workers.doors import Doors
from nixhive_nb.workers.errands import run_afar
from nixhive_nb.workers.placing import NearestPlaces, Placed, chosen, part_of, placed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.step import Step
    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.config import SshFiles
    from nixhive_nb.workers.cluster import Cluster, FarWorker

_log = logging.getLogger(__name__)
_TRIES = 4
"""How often something that changes nothing is asked at most, each time of a worker that is there."""
_SLACK = 30.0
"""Seconds more than a host has, in which a worker must answer."""
Part = tuple[str, bytes]


class Afar:
    """The hosts of a deployment that workers are near."""

    def __init__(self, cluster: Cluster, inventory: Inventory) -> None:
        """Nothing is asked before it is used."""
        self.cluster = cluster
        self._inventory = inventory
        self._places = NearestPlaces(inventory)
        self._parts: dict[str, Part] = {}
        # Whoever works with the same deployment beside us has connections of his own, as without workers.
        self._own = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._doors = Doors(self)

    def files(self, files: SshFiles) -> SshFiles:
        """Return ssh files by which Nix reaches the instances that workers are near."""
        return self._doors.beside(files, [name for name in self._inventory.instances if self.carries(name)])

    def lost_since(self, instance: str, moment: float) -> bool:
        """Return whether a worker that carried what Nix moves was lost; see `FarLinks`."""
        return self._doors.lost_since(instance, moment)

    def close(self) -> None:
        """Let nothing more be moved by workers, and have them close their connections for us."""
        self._doors.close()
        with self._lock:
            names, self._parts = {name for name, _ in self._parts.values()}, {}
        self.cluster.forget(names)

    def serves(self, cluster: Cluster, inventory: Inventory) -> bool:
        """Return whether it is of these."""
        return cluster is self.cluster and inventory is self._inventory

    def carries(self, instance: str) -> bool:
        """Return whether a worker is, or was, near an instance; others are reached from here."""
        return not self.cluster.places.isdisjoint(self._places.of(instance))

    def placed(self, steps: Iterable[Step]) -> tuple[Placed, ...]:
        """Return the subtrees of a plan, placed on the workers that are near them now: those that `worker` chooses."""
        near = self.cluster.workers_by_place()

        def place(instance: str) -> str:
            return next((one for one in self._places.of(instance) if one in near), self._place(instance))

        return tuple(part for one in subtrees(steps, place) for part in placed(one, near.get(one.place, ())))

    def _place(self, instance: str) -> str:
        """Return the nearest place of an instance that workers are, or were, for; empty where there is none."""
        return next((place for place in self._places.of(instance) if place in self.cluster.places), "")

    def kept(self, instance: str, here: Callable[[], str]) -> FarLink:
        """Return the way to an instance over the worker's kept connection. `here` tells its address."""
        return FarLink(self, instance, here=here)

    @contextlib.asynccontextmanager
    async def fresh(self, instance: str, here: Callable[[], str], *, urgent: bool) -> AsyncIterator[FarLink]:
        """Have a worker log in anew for the time of the block."""
        line = secrets.token_hex(8)

        async def login() -> FarWorker:
            worker = await self.worker(instance)
            try:
                await self.cluster.settled(worker, self.part(instance), serving.login, instance, line, urgent=urgent)
            except asyncio.CancelledError:
                self.cluster.aside(self.cluster.ask(worker, serving.leave, line))  # it may have come about just now
                raise
            return worker

        worker = await asyncio.wrap_future(self.cluster.submit(login()))
        try:
            yield FarLink(self, instance, here=here, line=line, fixed=worker)
        finally:
            self.cluster.aside_from_anywhere(worker, line)

    def run(
        self,
        instance: str,
        command: str,
        *,
        timeout: float | None,
        stdin: bytes,
        on_call: Callable[[Call], None] | None,
        ending: bytes,
    ) -> RemoteResult:
        """Run a command of the user's on an instance; see `FarLinks`."""
        return run_afar(self, instance, command, timeout=timeout, stdin=stdin, on_call=on_call, ending=ending)

    async def worker(self, instance: str) -> FarWorker:
        """Return the worker that carries an instance now. Raises `ConnectionFailed`."""
        near = {one.name: one for one in await self.cluster.near(self._places.of(instance), instance)}
        return near[chosen(instance, near)]

    @cached_property
    def _near(self) -> dict[str, list[str]]:
        """The instances by the places that workers are for, of which each has some."""
        found: dict[str, list[str]] = {}
        for name in self._inventory.instances:
            for place in self._places.of(name):
                if place in self.cluster.places:
                    found.setdefault(place, []).append(name)
        return found

    def part(self, instance: str) -> Part:
        """Return what a worker is told of the deployment, for an instance: all that it is near, so that it is one."""
        nearest = self._place(instance) or instance
        with self._lock:
            if nearest not in self._parts:
                data = msgspec.json.encode(part_of(self._inventory, [*self._near.get(nearest, ()), instance]))
                name = hashlib.sha256(self._own.encode() + data).hexdigest()
                self._parts[nearest] = (name, data)
            return self._parts[nearest]


class FarLink:
    """A `HostLink` by way of a worker: over its kept connection, or one of its own (`line`)."""

    def __init__(
        self,
        links: Afar,
        instance: str,
        *,
        here: Callable[[], str],
        line: str = "",
        fixed: FarWorker | None = None,
    ) -> None:
        """Nothing is asked yet. A connection of its own stays with its worker."""
        self.room = asyncio.Semaphore(SESSIONS)
        """Places for commands that run at once."""
        self._links = links
        self._instance = instance
        self._here = here
        self._line = line
        self._fixed = fixed

    @property
    def address(self) -> str:
        """Where the instance is, as seen from here."""
        return self._here()

    async def run(
        self,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] | None = None,
        stdin: str | None = None,
    ) -> RemoteResult:
        """Run shell words there; see `HostLink`.

        A question, which has no input and no listener, ends on the host with its worker, and is asked anew of another.
        """
        asks = stdin is None and on_line is None and self._fixed is None
        for left in reversed(range(_TRIES if asks else 1)):
            try:
                return await self._once(command, seconds, on_line, stdin)
            except WorkerLost as error:
                if not left:
                    raise
                _log.info("%s: asked anew: %s", self._instance, error)
        raise AssertionError  # one of them returns or raises

    async def _once(
        self, command: str, seconds: float, on_line: Callable[[str], None] | None, stdin: str | None
    ) -> RemoteResult:
        links = self._links

        async def ask() -> serving.Answer:
            worker = self._fixed or await links.worker(self._instance)
            try:
                async with asyncio.timeout(seconds + _SLACK):
                    return await links.cluster.command(
                        worker,
                        links.part(self._instance),
                        (self._instance, self._line, command),
                        seconds=seconds,
                        stdin=stdin,
                        on_line=on_line,
                    )
            except TimeoutError:
                raise WorkerLost(f"worker {worker.name} has not answered in {seconds + _SLACK:g} s") from None

        answer = await asyncio.wrap_future(links.cluster.submit(ask()))
        return RemoteResult(**{name: answer[name] for name in RemoteResult.__struct_fields__})

    def dial(self, host: str, port: int, seconds: float) -> FarChannel:
        """Have the instance connect to a host and port; see `HostLink`."""
        links, name = self._links, secrets.token_hex(8)

        async def ask() -> FarWorker:
            worker = self._fixed or await links.worker(self._instance)
            where = (self._instance, self._line, (host, port), name)
            await links.cluster.settled(worker, links.part(self._instance), serving.dial, *where, seconds=seconds)
            return worker

        try:
            worker = links.cluster.submit(ask()).result(seconds + _SLACK)
        except TimeoutError:
            raise ConnectionFailed(f"{host}:{port} was not reached in {seconds:g} s.") from None
        return FarChannel(links.cluster, worker, name)


class FarChannel:
    """A connection that an instance has made, by way of a worker. Its calls block."""

    def __init__(self, cluster: Cluster, worker: FarWorker, name: str) -> None:
        """Take what `dial` has opened."""
        self._cluster = cluster
        self._worker = worker
        self._name = name

    def sendall(self, data: bytes, /) -> None:
        """Write all of it. Raises `OSError`."""
        self._exchange(data, 0)

    def recv(self, size: int, /) -> bytes:
        """Read some bytes; none at the end. Raises `OSError`."""
        return self._exchange(b"", size)

    def close(self) -> None:
        """End it; any number of times."""
        with swallowed(_log, "closing a connection of a host", OSError):
            self._exchange(b"", 0)

    def _exchange(self, data: bytes, size: int) -> bytes:
        asked = self._cluster.ask(self._worker, serving.exchange, self._name, data=data, size=size)
        try:
            answer = self._cluster.submit(asked).result(_SLACK)
        except (WorkerLost, TimeoutError) as error:
            raise ConnectionResetError(str(error)) from error
        if "closed" in answer:
            raise ConnectionResetError(answer["closed"])
        found: bytes = answer.get("data", b"")
        return found
