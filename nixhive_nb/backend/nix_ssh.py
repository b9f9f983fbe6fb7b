"""The real backend: Nix on this machine, ssh to all others."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nixhive_nb.backend import nix
from nixhive_nb.backend.activation import Activation
from nixhive_nb.backend.builds import Builds
from nixhive_nb.backend.transfer import Transfer
from nixhive_nb.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nixhive_nb.backend.base import Tell
    from nixhive_nb.backend.connections import Connections, RemoteResult
    from nixhive_nb.backend.fabric_run import Call
    from nixhive_nb.backend.ssh_config import SshFiles
    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.event import Result
    from nixhive_nb.plan.plan import Options
    from nixhive_nb.plan.step import Step


class NixSsh:
    """Performs the steps of one run. `close` it when the run has ended."""

    def __init__(
        self,
        inventory: Inventory,
        deployment: Path,
        files: SshFiles,
        connections: Connections,
        *,
        options: Options,
        folder: Path,
        state: Path,
        parallel: int,
        show_trace: bool = False,
    ) -> None:
        """`deployment` is the absolute path of the expression, `folder` the `.hive` folder of results."""
        self._connections = connections
        self._options = options
        self._pool = ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="hive-ssh")
        self._builds = Builds(
            inventory, deployment, files, folder=folder, state=state, realise=options.realise, show_trace=show_trace
        )
        self._transfer = Transfer(inventory.instances, files, self._remote)

    def close(self) -> None:
        """End the threads. The connections stay warm for the next run."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def perform(self, step: Step, tell: Tell) -> Result:
        """Do what a step says."""
        performers = {
            "instantiate": self._builds.instantiate,
            "realise": self._builds.realise,
            "build": self._builds.build,
            "sign": self._builds.sign,
            "push": self._push,
            "fetch": self._fetch,
            "activate": self._activate,
        }
        return await performers[step.kind](step, tell)

    async def _push(self, step: Step, tell: Tell) -> Result:
        return await self._transfer.push(step, self._builds.result(step.system), tell)

    async def _fetch(self, step: Step, tell: Tell) -> Result:
        return await self._transfer.fetch(step, self._builds.result(step.system), tell)

    async def _activate(self, step: Step, tell: Tell) -> Result:
        path = self._builds.result(step.system).path
        return await Activation(step.instance, path, self._remote, tell).run(self._options)

    async def _remote(
        self, instance: str, command: str, *, seconds: float, on_line: Callable[[str], None] | None = None
    ) -> RemoteResult:
        """Run a command on an instance in a thread of the pool; when cancelled, let go of that command alone."""
        calls: list[Call] = []

        def heard(_stream: str, line: str) -> None:
            if on_line is not None:
                on_line(strip_control(line))

        def work() -> RemoteResult:
            return self._connections.run(
                instance, nix.posix(command), timeout=seconds, on_line=heard, on_call=calls.append
            )

        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            for call in calls:
                call.cancel()
            with contextlib.suppress(Exception):
                await future
            raise
