"""Ways to an instance for the steps of a run: the kept connection, and one that nothing has used before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from nixhive_nb.errors import LinkLost
from nixhive_nb.ssh.bound import bound
from nixhive_nb.ssh.config import SESSIONS
from nixhive_nb.ssh.marks import WORDS, MarkedOutput
from nixhive_nb.util.kept import ANSWER
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import paramiko

    from nixhive_nb.ssh.fabric import Call
    from nixhive_nb.ssh.pool import Connections, Fresh, RemoteResult

_log = logging.getLogger(__name__)

T = TypeVar("T")
Run = Callable[..., "RemoteResult"]
"""Runs words on a host: `Connections.run` of one, or `Fresh.run`."""
_NO_BOUND = 1_000_000
"""Threads come with the demand, which steps and their checks limit. A command that queued for one would lose its time
there: a check would fail, and a host on trial miss its word."""


class Lines:
    """Runs commands on instances, each in a thread that is there at once. `close` it when the run has ended."""

    def __init__(self, connections: Connections) -> None:
        """Nothing is opened before it is used."""
        self._connections = connections
        self._pool = ThreadPoolExecutor(max_workers=_NO_BOUND, thread_name_prefix="hive-ssh")

    def close(self) -> None:
        """End the threads. The connections stay warm for the next run."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def remote(
        self,
        instance: str,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] | None = None,
        stdin: str | None = None,
    ) -> RemoteResult:
        """Run a command over the kept connection; when cancelled, let go of that command alone.

        Raises `NoAnswer` where the login runs something else.
        """
        run = partial(self._connections.run, instance)
        return await self._asked(run, instance, command, seconds=seconds, on_line=on_line, stdin=stdin)

    @contextlib.asynccontextmanager
    async def fresh(self, instance: str, *, urgent: bool = False) -> AsyncIterator[FreshLine]:
        """Log in anew for the time of the block. Raises `ConnectionFailed`.

        `urgent` waits for no other login: a host on trial waits for its word.
        """
        login = _Login(self._connections, instance, urgent=urgent)
        logging_in = self._submit(login.open)
        try:
            line, address = await asyncio.shield(logging_in)
        except asyncio.CancelledError:
            # In a thread that no pool has to have: the run, its loop and its pool may end before the login does.
            threading.Thread(target=login.leave, name="hive-leave", daemon=True).start()
            raise
        try:
            yield FreshLine(self, line, instance, address)
        finally:
            await asyncio.shield(self._submit(login.leave))

    def kept(self, instance: str) -> KeptLine:
        """Return the kept connection of an instance."""
        return KeptLine(self, self._connections, instance)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _asked(
        self,
        run: Run,
        instance: str,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] | None = None,
        stdin: str | None = None,
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

        def work(note: Callable[[Call], None]) -> RemoteResult:
            return run(WORDS, timeout=seconds, on_line=heard, stdin=data, on_call=note, bound=alone)

        try:
            ended = await self._cancellable(work)
        except LinkLost as error:
            raise answer.lost(error, instance) from None
        return answer.result(ended, instance)

    async def _cancellable(self, work: Callable[[Callable[[Call], None]], RemoteResult]) -> RemoteResult:
        calls: list[Call] = []
        let_go = threading.Event()

        def note(call: Call) -> None:
            call.bound(ANSWER)
            calls.append(call)
            if let_go.is_set():  # before a thread took it up, or between two tries
                call.cancel()

        future = self._submit(lambda: work(note))
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


class KeptLine:
    """The connection that is kept from command to command."""

    def __init__(self, lines: Lines, connections: Connections, instance: str) -> None:
        self.room = asyncio.Semaphore(SESSIONS)
        """Places for commands that run at once."""
        self._lines = lines
        self._connections = connections
        self._instance = instance

    @property
    def address(self) -> str:
        """Where the instance is, as seen from here. Blocks while ssh's configuration is read."""
        return self._connections.address(self._instance)

    async def command(self, words: str, *, seconds: float, stdin: str | None = None) -> RemoteResult:
        """Run shell words there, for so many seconds at most. Raises `ConnectionFailed` or `LinkLost`."""
        return _plain(await self._lines.remote(self._instance, words, seconds=seconds, stdin=stdin))

    def dial(self, host: str, port: int, seconds: float) -> paramiko.Channel:
        """Connect to `host:port` from there."""
        return self._connections.dial(self._instance, host, port, seconds)


class FreshLine:
    """A connection that was opened for one purpose."""

    def __init__(self, lines: Lines, line: Fresh, instance: str, address: str) -> None:
        self.room = asyncio.Semaphore(SESSIONS)
        """Places for commands that run at once."""
        self._lines = lines
        self._instance = instance
        self._line = line
        self.address = address
        """Where the instance is, as seen from here."""

    async def command(self, words: str, *, seconds: float, stdin: str | None = None) -> RemoteResult:
        """Run shell words there, for so many seconds at most. Raises `ConnectionFailed` or `LinkLost`."""
        run, lines = self._line.run, self._lines
        return _plain(await lines._asked(run, self._instance, words, seconds=seconds, stdin=stdin))  # noqa: SLF001 - a part of it

    def dial(self, host: str, port: int, seconds: float) -> paramiko.Channel:
        """Connect to `host:port` from there."""
        return self._line.dial(host, port, seconds)


def _plain(ended: RemoteResult) -> RemoteResult:
    return msgspec.structs.replace(ended, stdout=strip_control(ended.stdout), stderr=strip_control(ended.stderr))
