"""A command of a user's on a host, run by a worker: what it says is kept until it is fetched, and no more than fits.

Where nobody fetches, the command waits, as it does on a pipe that nobody reads.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from nixhive_nb.errors import HiveError

if TYPE_CHECKING:
    from nixhive_nb.ssh.call import Call, Output
    from nixhive_nb.ssh.pool import Connections

_log = logging.getLogger(__name__)
_MOST = 2**20
"""Bytes that are kept until they are fetched."""
_PATIENCE = 10.0
"""Seconds after which whoever fetches is told that there is nothing yet."""


class UsersCommand:
    """One command on one host."""

    def __init__(self, operator: str, connections: Connections, instance: str) -> None:
        """Nothing runs yet."""
        self.operator = operator
        self._connections = connections
        self._instance = instance
        self._said: deque[tuple[str, bytes]] = deque()
        self._size = 0
        self._room = threading.Condition()
        self._came = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ended: dict[str, Any] | None = None
        self._call: Call | None = None
        self._reason = ""

    def begin(self, command: str, *, stdin: bytes, seconds: float | None, ending: bytes) -> None:
        """Have it run, in a thread."""

        def work() -> None:
            try:
                ended = self._connections.run(
                    self._instance, command, stdin=stdin, timeout=seconds, on_call=self._note, ending=ending
                )
                answer: dict[str, Any] = {"exited": ended.exited, "seconds": ended.seconds}
            except HiveError as error:
                answer = {"error": type(error).__name__, "text": str(error), "log": error.log}
            except Exception as error:  # noqa: BLE001 - our own bug: whoever fetches does not wait for ever
                _log.debug("a command of an operator's user: a bug", exc_info=True)
                answer = {"error": "StepFailed", "text": f"A bug in nixhive_nb, on a worker: {error!r}", "log": ()}
            with self._room:
                self._ended = answer
            self._tell()

        self._connections.workers.submit(work)

    async def fetch(self) -> dict[str, Any]:
        """Return what it has said since the last time, as pairs of a stream and bytes, and how it ended if it has."""
        if not self._said and self._ended is None:
            self._came.clear()
            coming = asyncio.ensure_future(self._came.wait())
            try:
                await asyncio.wait([coming], timeout=_PATIENCE)
            finally:
                coming.cancel()
        with self._room:
            said, self._size = list(self._said), 0
            self._said.clear()
            ended = self._ended
            self._room.notify_all()
        return {"said": said, "ended": ended}

    def end(self, reason: str) -> None:
        """Have the host end it. Returns at once."""
        self._reason = reason
        with self._room:
            self._room.notify_all()
        if self._call is not None:
            self._call.end_aside(reason)
        if not self._connections.is_open(self._instance):
            self._connections.abort(self._instance)  # it is still logging in

    def take(self, stream: str, data: bytes) -> None:
        """Keep what it says, once there is room."""
        with self._room:
            self._room.wait_for(lambda: self._size < _MOST or self._reason)
            self._said.append((stream, data))
            self._size += len(data)
        self._tell()

    def _tell(self) -> None:
        self._loop.call_soon_threadsafe(self._came.set)

    def _note(self, call: Call) -> None:
        call.rests = True
        call.stdout = cast("Output", _Fetched(self, "stdout"))
        call.stderr = cast("Output", _Fetched(self, "stderr"))
        self._call = call
        if self._reason:
            call.end(self._reason)


class _Fetched:
    """Stands where a call keeps the text of one stream: it hands all of it on."""

    is_cut = False

    def __init__(self, command: UsersCommand, name: str) -> None:
        self._command = command
        self._name = name

    def feed(self, data: bytes, *, last: bool = False) -> None:  # noqa: ARG002 - as of `Output`
        if data:
            self._command.take(self._name, data)

    def text(self) -> str:
        return ""

    ended = text
