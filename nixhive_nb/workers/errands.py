"""`run` by way of workers: a command of the user's on a host near one, heard here as it goes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed, LinkLost, WorkerLost
from nixhive_nb.ssh.call import Call
from nixhive_nb.ssh.link import RemoteResult
from nixhive_nb.workers import serving
from nixhive_nb.workers.cluster import raised

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixhive_nb.workers.cluster import Cluster, FarWorker, NearWorkers


def run_afar(
    afar: NearWorkers,
    instance: str,
    command: str,
    *,
    timeout: float | None,
    stdin: bytes,
    on_call: Callable[[Call], None] | None,
    ending: bytes,
) -> RemoteResult:
    """Run a command on an instance, once, and wait for its end; see `Connections.run`."""
    cluster, name = afar.cluster, secrets.token_hex(8)
    call = Call(stdin, None, ending=ending)
    if on_call is not None:
        on_call(call)
    if call.cancelled:
        raise ConnectionFailed(f"{instance}: given up before the command was sent.")

    async def begin() -> FarWorker:
        worker = await afar.worker(instance)
        how = {"stdin": stdin, "seconds": timeout, "ending": ending}
        await cluster.settled(worker, afar.part(instance), serving.begin, instance, name, command, **how)
        return worker

    try:
        worker = cluster.submit(begin()).result()
        call.sent, call.fed = True, bool(ending)
        call.session = session = _FarSession(cluster, worker, name, call)
        if call.cancelled:  # before the session was there
            session.close()
        ended = _heard(cluster, worker, name, call, session)
    except WorkerLost as error:
        rest = "What ran there may still run." if call.sent else "The command was not sent, as far as is known."
        raise LinkLost(f"{instance}: {error}. {rest}") from None
    if "error" in ended:
        raise raised(ended)
    out, errors = call.stdout.ended(), call.stderr.ended()
    return RemoteResult(exited=ended["exited"], stdout=out, stderr=errors, seconds=ended["seconds"], is_cut=call.is_cut)


def _heard(cluster: Cluster, worker: FarWorker, name: str, call: Call, session: _FarSession) -> serving.Answer:
    """Take what it says, until it has ended; return how."""
    try:
        while True:
            answer = cluster.submit(cluster.ask(worker, serving.fetch, name)).result()
            if serving.UNKNOWN in answer:
                raise WorkerLost(f"worker {worker.name} was started again")
            for stream, data in answer["said"]:
                (call.stdout if stream == "stdout" else call.stderr).feed(data)
            ended: serving.Answer | None = answer["ended"]
            if ended is not None:
                return ended
    finally:
        session.is_told = session.is_closed = True
        for output in (call.stdout, call.stderr):
            output.feed(b"", last=True)


class _FarSession:
    """The session of a command that a worker runs; see `CommandSession`."""

    def __init__(self, cluster: Cluster, worker: FarWorker, name: str, call: Call) -> None:
        self._cluster = cluster
        self._worker = worker
        self._name = name
        self._call = call
        self.is_told = self.is_closed = False

    def say(self, _data: bytes) -> bool:
        """Have the worker end it there."""
        self.close()
        return True

    def close(self) -> None:
        """Have the worker end it, unless it has."""
        if not self.is_told:
            stop = self._cluster.ask(self._worker, serving.stop, self._name, self._call.reason or "it was let go of")
            self._cluster.soon(lambda: self._cluster.aside(stop))
