"""Ways for OpenSSH, and so for Nix, to hosts that workers are near: bytes of a socket here go by a worker to an sshd.

The ssh on this machine logs in: a worker and the scheduler pass on what they cannot read. No more than two chunks are
on the way in each direction: whoever writes waits for whoever reads.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import HiveError, WorkerLost
from nixhive_nb.ssh.config import include_lines, write_new_text
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.workers import serving

if TYPE_CHECKING:
    from nixhive_nb.ssh.config import SshFiles
    from nixhive_nb.workers.cluster import FarWorker, NearWorkers

_log = logging.getLogger(__name__)
_CHUNK = 256 * 1024
"""Bytes that go at once."""
_SHELL = "/bin/sh"
"""A bash takes what has a socket as its input for one that a distant user runs, and reads all start-up files for it."""
_DOOR = Path(__file__).with_name("door.py")


class Doors:
    """The socket of one deployment's hosts that workers are near, beside its ssh configuration."""

    def __init__(self, afar: NearWorkers) -> None:
        """Nothing is opened yet."""
        self._afar = afar
        self._server: asyncio.Server | None = None
        self._place = Path()
        self._lost: dict[str, float] = {}

    def beside(self, files: SshFiles, names: list[str]) -> SshFiles:
        """Return ssh files by which programs reach these instances over workers, and all others as before."""
        place = files.folder / "workers"
        if self._server is None or self._place != place or not place.exists():
            place.unlink(missing_ok=True)
            self._afar.cluster.submit(self._open(place)).result()
        batch = files.folder / "batch-workers"
        text = self._config(files, names)
        write_new_text(batch, text)
        return msgspec.structs.replace(files, batch=batch, texts={**files.texts, batch: text}, shell=_SHELL)

    def lost_since(self, instance: str, moment: float) -> bool:
        """Return whether a worker was lost that carried such a connection, since a moment of the monotonic clock."""
        return self._lost.get(instance, -1.0) >= moment

    def close(self) -> None:
        """Let nobody in any more."""
        server, self._server = self._server, None
        if server is not None:
            self._afar.cluster.soon(server.close)

    def _config(self, files: SshFiles, names: list[str]) -> str:
        lines = []
        for name in names:
            argv = (sys.executable, "-I", "-S", str(_DOOR), str(self._place), name)
            command = shlex.join(argv).replace("%", "%%")
            lines += [f"Host {name}", f"  ProxyCommand {command}", "  ProxyUseFdpass yes"]
        return "\n".join([*lines, "Match all", *include_lines([files.batch]), ""])

    async def _open(self, place: Path) -> None:
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_unix_server(self._serve, str(place), limit=_CHUNK)
        self._place = place

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let one in: the name of an instance comes, and a line goes back, which is empty where all is well."""
        with swallowed(_log, "a connection over a worker", OSError, ValueError):
            name, channel = (await reader.readline()).decode().strip(), secrets.token_hex(8)
            try:
                worker = await self._entered(name, channel)
            except HiveError as error:
                self._note(name, error)
                writer.write(f"{one_line(str(error))}\n".encode())
            else:
                writer.write(b"\n")
                await self._carry(name, worker, channel, reader, writer)
        writer.close()

    async def _entered(self, name: str, channel: str) -> FarWorker:
        worker = await self._afar.worker(name)
        await self._afar.cluster.settled(worker, self._afar.part(name), serving.enter, name, channel)
        return worker

    async def _carry(
        self, name: str, worker: FarWorker, channel: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry bytes both ways, until one side has ended."""
        cluster = self._afar.cluster

        async def there() -> None:
            while data := await reader.read(_CHUNK):
                await self._exchange(worker, channel, data, 0)

        async def back() -> None:
            while data := await self._exchange(worker, channel, b"", _CHUNK):
                writer.write(data)
                await writer.drain()

        ways = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        except HiveError as error:
            self._note(name, error)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            cluster.aside(cluster.ask(worker, serving.exchange, channel, data=b"", size=0))

    async def _exchange(self, worker: FarWorker, channel: str, data: bytes, size: int) -> bytes:
        """Send what there is, and return what has come. Raises `OSError` where the host has closed it."""
        answer = await self._afar.cluster.ask(worker, serving.exchange, channel, data=data, size=size)
        if serving.UNKNOWN in answer:
            raise WorkerLost(f"worker {worker.name} was started again")
        if "closed" in answer:
            raise ConnectionResetError(answer["closed"])
        found: bytes = answer.get("data", b"")
        return found

    def _note(self, name: str, error: HiveError) -> None:
        _log.info("%s: a connection over a worker: %s", name, error)
        if isinstance(error, WorkerLost):
            self._lost[name] = time.monotonic()
