"""The operator's side: one connection to a scheduler, the workers that are there, and calls to them.

A call goes to one worker and is made once: Dask's own tasks would be begun again, blindly, where a worker is lost.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import secrets
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from nixhive_nb import errors
from nixhive_nb.errors import ConnectionFailed, HiveError, OptionError, WorkerLost
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.workers import serving
from nixhive_nb.workers.address import checked_address, distributed, security_of
from nixhive_nb.workers.talk import Talk
from nixhive_nb.workers.versions import misfits, own_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence
    from concurrent.futures import Future

_log = logging.getLogger(__name__)
T = TypeVar("T")
_CONNECT = 20
"""Seconds that a scheduler may take to answer."""
_ANSWER = 10.0
"""Seconds that a worker may take to say who it is."""
PATIENCE = 60.0
"""Seconds in which a scheduler or a worker that was lost must be there again."""
_FAREWELL = 5.0
"""Seconds that workers have to end what runs for us, when we leave."""
_PAUSE = 0.5
_BEAT = 5.0
_SILENCE = 30.0
"""Seconds without a sign of a worker, after which it is gone for us: its process or its machine hangs."""
_LOST = (OSError, TimeoutError, asyncio.TimeoutError)
"""How distributed says that a worker or the scheduler is gone."""


class FarWorker(msgspec.Struct, frozen=True):
    """A worker that is there."""

    address: str
    name: str
    places: tuple[str, ...]


class Cluster:
    """The workers of one scheduler. Any thread may use it; it has a loop of its own in one."""

    def __init__(self, address: str, tls: str | None = None, *, security: object = None) -> None:
        """Connect, and see that versions fit. Raises `OptionError`, `ConnectionFailed`."""
        self.address = address
        self._security = security if security is not None else security_of(address, tls)
        self.operator = secrets.token_hex(8)
        self._client: Any = None
        self._connecting: asyncio.Lock | None = None
        self._workers: dict[str, FarWorker] = {}
        self.places: set[str] = set()
        """Those of every worker that was there in this session: what is near one does not go from here later."""
        self._talks: dict[str, Talk] = {}
        self._settled: dict[tuple[str, str], asyncio.Task[object]] = {}
        """By worker and part of a deployment: what has told, or tells, the one of the other."""
        self._beating: asyncio.Task[None] | None = None
        self._heard: dict[str, float] = {}
        """By the address of a worker, when it last gave a sign."""
        self._gone: dict[str, asyncio.Future[str]] = {}
        """By the address of a worker, what is set to why it was given up."""
        self._closing: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hive-workers", daemon=True)
        self._thread.start()
        try:
            self.submit(self._begin()).result()
        except BaseException:
            self.close()
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Have a coroutine run in the loop of the cluster."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Let go of the scheduler."""
        if self._thread.is_alive():
            with swallowed(_log, "leaving the scheduler", Exception):
                self.submit(self._leave()).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    async def _begin(self) -> None:
        self._connecting = asyncio.Lock()
        try:
            async with asyncio.timeout(3 * _CONNECT):
                await self._connect()
        except _LOST as error:
            raise ConnectionFailed(
                f"No scheduler answers at {self.address}: {error or type(error).__name__}. Start one there (dask "
                "scheduler; see docs/howto/workers.md)."
            ) from error
        if not self._workers:
            raise OptionError(
                f"The scheduler at {self.address} has no worker of nixhive_nb. Start some, near their hosts: nix-hive "
                f"worker {self.address} --name RELAY"
            )
        self._beating = asyncio.create_task(self._beat())

    async def _leave(self) -> None:
        """Tell workers that nothing more comes, so that they end at once what runs for us on hosts."""
        if self._beating is not None:
            self._beating.cancel()
        if self._client is None:
            return
        if self._client.status == "running":
            with swallowed(_log, "taking leave of workers", Exception):
                async with asyncio.timeout(_FAREWELL):
                    told = [*self._workers]
                    await self._client.run(serving.farewell, self.operator, workers=told, on_error="ignore")
        await self._client.close(timeout=2)

    async def _connect(self) -> None:
        """Connect and look who is there."""
        if self._client is not None:
            with swallowed(_log, "leaving a scheduler that is gone", Exception):
                await self._client.close(timeout=1)
        self._client = await distributed().Client(
            self.address, asynchronous=True, security=self._security, timeout=_CONNECT, set_as_default=False
        )
        await self._check_scheduler()
        await self._look()

    async def _check_scheduler(self) -> None:
        """Raise `OptionError` where the scheduler has other versions than we."""
        said = await self._client.scheduler.versions(packages=[])  # `get_versions` asks its workers as well
        python = ".".join(str(said["host"].get("python", "")).split(".")[:2])
        theirs = {name: str(found) for name, found in said["packages"].items() if found}
        _refuse_misfits(self.address, {"the scheduler": {**theirs, "python": python}})

    async def _look(self) -> None:
        """See which workers are there. Raises `OptionError` for one that does not fit."""
        addresses = [*(await self._client.scheduler.identity())["workers"]]
        found, versions = {}, {}
        for address, one in zip(addresses, await asyncio.gather(*map(self._described, addresses)), strict=True):
            if isinstance(one, (ImportError, AttributeError)):
                raise OptionError(
                    f"The worker at {address} cannot import what is asked of it ({one}). Install nixhive_nb "
                    f"{own_versions()['nixhive_nb']} there, as here."
                )
            if isinstance(one, dict):
                found[address] = FarWorker(address, one["name"], tuple(one["places"]))
                versions[f"worker {one['name']}"] = one["versions"]
        _refuse_misfits(self.address, versions)
        self._workers = found
        self.places |= {place for one in found.values() for place in one.places}

    async def _described(self, address: str) -> object:
        """Return what a worker says of itself, or why it cannot; None for one that is going or hangs."""
        try:
            async with asyncio.timeout(_ANSWER):
                return (await self._client.run(serving.describe, workers=[address], on_error="return"))[address]
        except _LOST:
            _log.info("the worker at %s does not say who it is", address)
            return None

    async def _beat(self) -> None:
        """Tell each worker now and then that we are there: each by itself, as one that hangs takes its time."""
        telling: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(_BEAT)
                for worker in [*self._workers.values()]:
                    if worker.address not in telling or telling[worker.address].done():
                        telling[worker.address] = group.create_task(self._tell(worker))

    async def _tell(self, worker: FarWorker) -> None:
        """Tell a worker that we are there, and give it up where it has long given no sign."""
        self._heard.setdefault(worker.address, time.monotonic())
        with swallowed(_log, f"telling worker {worker.name} that we are there", Exception):
            async with asyncio.timeout(_SILENCE):
                told = await self._client.run(serving.beat, self.operator, workers=[worker.address], on_error="ignore")
            if worker.address in told:
                self._heard[worker.address] = time.monotonic()
        if time.monotonic() - self._heard[worker.address] > _SILENCE:
            del self._heard[worker.address]
            self._workers.pop(worker.address, None)
            # What it was asked is waited for no more; it ends that by itself, since it does not hear of us.
            self._gone_of(worker).set_result(f"worker {worker.name} has not answered in {_SILENCE:g} s")

    def _gone_of(self, worker: FarWorker) -> asyncio.Future[str]:
        gone = self._gone.get(worker.address)
        if gone is None or gone.done():
            gone = self._gone[worker.address] = self._loop.create_future()
        return gone

    def workers_by_place(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the workers that are there, by the places that they are for."""
        found: dict[str, tuple[str, ...]] = {}
        for worker in sorted([*self._workers.values()], key=lambda one: one.name):
            for place in worker.places:
                found[place] = (*found.get(place, ()), worker.name)
        return found

    async def near(self, places: Sequence[str], what: str) -> list[FarWorker]:
        """Return the workers of the nearest place that has any, waiting for one to come back.

        Raises `ConnectionFailed`.
        """
        until = time.monotonic() + PATIENCE
        while True:
            for place in places:
                if found := [one for one in self._workers.values() if place in one.places]:
                    return found
            if time.monotonic() > until:
                raise ConnectionFailed(
                    f"{what}: no worker that is for {' or '.join(p for p in places if p in self.places)} is at "
                    f"{self.address}."
                )
            await asyncio.sleep(_PAUSE)
            await self._again()

    async def _again(self) -> None:
        """Look anew who is there, over a new connection where the scheduler was lost."""
        assert self._connecting is not None  # noqa: S101 - it was begun
        async with self._connecting:
            with swallowed(_log, f"looking for workers at {self.address}", *_LOST):
                async with asyncio.timeout(2 * _CONNECT):  # a scheduler may hang as well
                    await (self._look() if self._client.status == "running" else self._connect())

    async def ask(
        self,
        worker: FarWorker,
        function: Callable[..., Any],
        *args: object,
        on_line: Callable[[str], None] | None = None,
        **more: object,
    ) -> Any:  # noqa: ANN401 - what the function gives
        """Call a function of `serving` on a worker, once; `on_line` gets lines as they come.

        Words to hosts go with others that are under way, and are let go of there when this is cancelled. Raises
        `WorkerLost`, and what the worker says.
        """
        if function.__name__ in serving.BATCHED:
            answer = await self._talk(worker).call(function.__name__, args, more, on_line)
        else:
            answer = await self._message(worker, function, *args, **more)
        if isinstance(answer, dict) and "error" in answer:
            raise raised(answer)
        return answer

    def _talk(self, worker: FarWorker) -> Talk:
        talk = self._talks.get(worker.address)
        if talk is None or talk.is_over:
            talk = self._talks[worker.address] = Talk(self.operator, partial(self._heeded, worker))
        return talk

    async def _heeded(self, worker: FarWorker, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        """Send a message that a worker gives nothing back for when it does not know us. Raises `WorkerLost` then."""
        answer = await self._message(worker, function, *args)
        if answer is None or answer is False:
            raise WorkerLost(f"worker {worker.name} was started again")
        return answer

    async def _message(self, worker: FarWorker, function: Callable[..., Any], *args: object, **more: object) -> Any:  # noqa: ANN401
        """Send a message to a worker, once, and return what it gives back. Raises `WorkerLost`."""
        try:
            if self._client.status != "running":
                raise ConnectionResetError("the scheduler is gone")
            asked = asyncio.ensure_future(self._client.run(function, *args, workers=[worker.address], **more))
            gone = self._gone_of(worker)
            try:
                await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
                if not asked.done():
                    raise WorkerLost(gone.result())
                answer = asked.result()[worker.address]
            finally:
                asked.cancel()
        except _LOST as error:
            self._workers.pop(worker.address, None)
            raise WorkerLost(f"the link to worker {worker.name} was lost: {error or type(error).__name__}") from error
        self._heard[worker.address] = time.monotonic()
        return answer

    async def settled(
        self,
        worker: FarWorker,
        part: tuple[str, bytes],
        function: Callable[..., Any],
        *args: object,
        **more: Any,  # noqa: ANN401 - see `ask`
    ) -> serving.Answer:
        """Ask a worker something of hosts that it may have to be told of first."""
        key = worker.address, part[0]
        for _ in range(2):
            known = await self._settle(worker, part)
            answer: serving.Answer = await self.ask(worker, function, part[0], *args, **more)
            if serving.UNKNOWN not in answer:
                return answer
            if self._settled.get(key) is known:
                del self._settled[key]
        raise WorkerLost(f"worker {worker.name} was started again")

    async def _settle(self, worker: FarWorker, part: tuple[str, bytes]) -> asyncio.Task[object]:
        """Have a worker told of hosts, once for all that wait for that."""
        key = worker.address, part[0]
        if key not in self._settled:
            self._settled[key] = self._loop.create_task(self._heeded(worker, serving.settle, self.operator, *part))
        task = self._settled[key]
        try:
            await asyncio.shield(task)
        except Exception:
            if self._settled.get(key) is task:  # the next one tells it anew
                del self._settled[key]
            raise
        return task

    async def command(
        self,
        worker: FarWorker,
        part: tuple[str, bytes],
        where: tuple[str, str, str],
        *,
        seconds: float,
        stdin: str | None,
        on_line: Callable[[str], None] | None,
    ) -> serving.Answer:
        """Run words on a host: `where` has the instance, the connection, the words. Lines are told as they come."""
        heard = on_line is not None
        return await self.settled(
            worker, part, serving.command, *where, seconds=seconds, stdin=stdin, heard=heard, on_line=on_line
        )

    def aside_from_anywhere(self, worker: FarWorker, line: str) -> None:
        """Have a connection of a worker closed. Safe from any thread."""
        self.soon(lambda: self.aside(self.ask(worker, serving.leave, line)))

    def forget(self, names: Collection[str]) -> None:
        """Have workers close their connections to the hosts of parts of a deployment. Safe from any thread."""

        def tell() -> None:
            for address, name in [key for key in self._settled if key[1] in names]:
                del self._settled[address, name]
                if worker := self._workers.get(address):
                    self.aside(self.ask(worker, serving.forget, name))

        self.soon(tell)

    def soon(self, work: Callable[[], object]) -> None:
        """Have something called in the loop of the cluster. Safe from any thread."""
        self._loop.call_soon_threadsafe(work)

    def aside(self, work: Coroutine[Any, Any, object]) -> None:
        """Have something done that nobody waits for."""

        async def quietly() -> object:
            with swallowed(_log, "telling a worker", HiveError):
                return await work
            return None

        task = self._loop.create_task(quietly())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class NearWorkers(Protocol):
    """Which worker carries an instance, and what that has to know of the deployment."""

    cluster: Cluster

    async def worker(self, instance: str) -> FarWorker:
        """Return the worker that carries an instance now. Raises `ConnectionFailed`."""

    def part(self, instance: str) -> tuple[str, bytes]:
        """Return the name of what a worker is told of the deployment for an instance, and that."""


def _refuse_misfits(address: str, others: dict[str, dict[str, str]]) -> None:
    if lines := misfits(own_versions(), others):
        raise OptionError("\n".join([f"What runs at {address} does not fit what runs here. Nothing was done.", *lines]))


def raised(answer: serving.Answer) -> HiveError:
    """Return the error that a worker tells of."""
    kind = getattr(errors, answer["error"], HiveError)
    error = (kind if isinstance(kind, type) and issubclass(kind, HiveError) else HiveError)(answer["text"])
    error.log = tuple(answer["log"])
    return error


_OPEN: dict[tuple[str, str | None], Cluster] = {}
_OPENING = threading.Lock()


def cluster_at(on: object, tls: str | None = None) -> Cluster:
    """Return the workers of a scheduler, by its address or by a Dask client; connected once a program.

    Raises `OptionError`, `MissingProgram`, `ConnectionFailed`.
    """
    address = checked_address(_address_of(on), "--on")
    security = None if isinstance(on, str) else getattr(on, "security", None)
    with _OPENING:
        known = _OPEN.get((address, tls))
        if known is None or not known.is_open:
            known = _OPEN[address, tls] = Cluster(address, tls, security=security)
        else:
            known.submit(known._again()).result()  # noqa: SLF001 - workers that came or went since
        return known


def _address_of(on: object) -> str:
    """Return the address of a scheduler, by that or by a client of it."""
    if isinstance(on, str):
        return on
    scheduler = getattr(on, "scheduler", on)
    if scheduler is None:
        raise OptionError("on: this Dask client is closed. Make a new one, or name the address of its scheduler.")
    address = getattr(scheduler, "address", None)
    if not isinstance(address, str):
        raise OptionError(
            f"on: a {type(on).__name__} is neither the address of a scheduler, such as tls://HOST:PORT, nor a client "
            "of dask.distributed."
        )
    return address


@atexit.register
def leave_all() -> None:
    """Take leave of all schedulers that are known."""
    for cluster in _OPEN.values():
        cluster.close()
