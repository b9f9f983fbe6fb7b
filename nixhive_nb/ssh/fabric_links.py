"""`HostLinks` over the pool, whatever carries them: the kept connection of an instance, and one nothing used before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from nixhive_nb.errors import LinkLost
from nixhive_nb.ssh.bound import bound
from nixhive_nb.ssh.config import SESSIONS
from nixhive_nb.ssh.marks import WORDS, MarkedOutput
from nixhive_nb.util.kept import ANSWER
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.ears import Steps
    from nixhive_nb.ssh.link import Channel, HostLink, RemoteResult
    from nixhive_nb.ssh.pool import Connections, Fresh

_log = logging.getLogger(__name__)

_KEPT = 4
"""Threads that are kept for steps of commands: each takes a moment."""

T = TypeVar("T")
Run = Callable[..., "Steps[RemoteResult]"]
"""Runs words on a host: `Connections.steps` of one, or `Fresh.steps`."""


class FabricLinks:
    """Runs commands on instances, each in a thread that is there at once when there is something to do for it.

    A command that queued for one would lose its time there: a check would fail, and a host on trial miss its word.
    While nothing comes from the host, it has none.
    """

    def __init__(self, connections: Connections) -> None:
        """Nothing is opened before it is used."""
        self._connections = connections
        connections.workers.keep(_KEPT)

    def kept(self, instance: str) -> HostLink:
        """Return the connection that is kept, and opened with the first command."""
        connections = self._connections
        if connections.far is not None and connections.far.carries(instance):
            return connections.far.kept(instance, lambda: connections.address(instance))
        return FabricLink(
            self,
            instance,
            run=lambda words, **how: connections.steps(instance, words, **how),
            dial=lambda *where: connections.dial(instance, *where),
            address=lambda: connections.address(instance),
        )

    @contextlib.asynccontextmanager
    async def fresh(self, instance: str, *, urgent: bool = False) -> AsyncIterator[HostLink]:
        """Log in anew for the time of the block. Raises `ConnectionFailed`; `urgent` waits for no other login."""
        connections = self._connections
        if connections.far is not None and connections.far.carries(instance):
            async with connections.far.fresh(instance, lambda: connections.address(instance), urgent=urgent) as far:
                yield far
            return
        login = _Login(self._connections, instance, urgent=urgent)
        logging_in = self._submit(login.open)
        try:
            line, address = await asyncio.shield(logging_in)
        except asyncio.CancelledError:
            # In a thread that no pool has to have: the run, its loop and its pool may end before the login does.
            threading.Thread(target=login.leave, name="hive-leave", daemon=True).start()
            raise
        try:
            yield FabricLink(self, instance, run=line.steps, dial=line.dial, address=lambda: address)
        finally:
            await asyncio.shield(self._submit(login.leave))

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.wrap_future(self._connections.workers.submit(work))

    async def _asked(
        self,
        run: Run,
        instance: str,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] | None,
        stdin: str | None,
    ) -> RemoteResult:
        """Have the command run between marks, so that what another program says is not taken for its answer."""
        answer = MarkedOutput()
        alone = stdin is None
        # Without input of its own it ends on the host when we are gone.
        data = answer.line(bound(command) if alone else command) + (stdin or "").encode()

        def heard(stream: str, line: str) -> None:
            for own in answer.heard(line) if stream == "stdout" else [line]:
                if on_line is not None:
                    on_line(strip_control(own))

        def work(note: Callable[[Call], None]) -> Steps[RemoteResult]:
            return run(WORDS, timeout=seconds, on_line=heard, stdin=data, on_call=note, bound=alone)

        try:
            ended = await self._cancellable(work)
        except LinkLost as error:
            raise answer.lost(error, instance) from None
        return answer.result(ended, instance)

    async def _cancellable(self, work: Callable[[Callable[[Call], None]], Steps[RemoteResult]]) -> RemoteResult:
        calls: list[Call] = []
        let_go = threading.Event()

        def note(call: Call) -> None:
            call.bound(ANSWER)
            calls.append(call)
            if let_go.is_set():  # before a thread took it up, or between two tries
                call.cancel()

        future = asyncio.wrap_future(self._connections.workers.drive(work(note)))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            let_go.set()
            for call in calls:
                call.cancel()
            with swallowed(_log, "a command that was let go of", Exception):
                await future
            raise


class _Login:
    """A login of its own. Whoever leaves before it came about has it closed by the thread that made it."""

    def __init__(self, connections: Connections, instance: str, *, urgent: bool) -> None:
        self._connections = connections
        self._instance = instance
        self._urgent = urgent
        self._opened = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._done = False
        self._left = False

    def open(self) -> tuple[Fresh, str]:
        """Log in, and give the connection and the address of the instance. Blocks."""
        try:
            line = self._opened.enter_context(self._connections.fresh(self._instance, urgent=self._urgent))
            return line, self._connections.address(self._instance)
        finally:
            with self._lock:
                self._done = True
                left = self._left
            if left:
                self._opened.close()

    def leave(self) -> None:
        """Close it, now or as soon as it has come about."""
        with self._lock:
            self._left = True
            done = self._done
        if done:
            self._opened.close()


class FabricLink:
    """A `HostLink`: one that is kept, or that was opened for one purpose."""

    def __init__(
        self,
        links: FabricLinks,
        instance: str,
        *,
        run: Run,
        dial: Callable[[str, int, float], Channel],
        address: Callable[[], str],
    ) -> None:
        """Take what does it, each of which blocks."""
        self.room = asyncio.Semaphore(SESSIONS)
        """Places for commands that run at once."""
        self._links = links
        self._instance = instance
        self._run = run
        self._dial = dial
        self._address = address

    @property
    def address(self) -> str:
        """Where the instance is, as seen from here. Blocks while ssh's configuration is read."""
        return self._address()

    async def run(
        self,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] | None = None,
        stdin: str | None = None,
    ) -> RemoteResult:
        """Run shell words there, in a thread; see `HostLink`."""
        links = self._links
        return await links._asked(  # noqa: SLF001 - a part of it
            self._run, self._instance, command, seconds=seconds, on_line=on_line, stdin=stdin
        )

    def dial(self, host: str, port: int, seconds: float) -> Channel:
        """Connect to `host:port` from there."""
        return self._dial(host, port, seconds)
