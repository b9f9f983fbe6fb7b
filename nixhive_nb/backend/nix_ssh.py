"""The real backend: Nix on this machine, ssh to all others."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING

from nixhive_nb.backend import measure
from nixhive_nb.backend.activation import LOOK_SECONDS, Order
from nixhive_nb.backend.builds import Builds
from nixhive_nb.backend.checks import run_checks
from nixhive_nb.backend.confirmed import Activation, complaint
from nixhive_nb.backend.host_facts import FACTS, parse_facts
from nixhive_nb.backend.lines import Lines
from nixhive_nb.backend.reboot import Reboot
from nixhive_nb.backend.transfer import Transfer
from nixhive_nb.errors import ChecksFailed
from nixhive_nb.plan.event import Result

if TYPE_CHECKING:
    from pathlib import Path

    from nixhive_nb.backend.base import Tell
    from nixhive_nb.backend.connections import Connections
    from nixhive_nb.backend.ssh_config import SshFiles
    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.plan.plan import Plan
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
        plan: Plan,
        owner: str,
        folder: Path,
        state: Path,
        copies: int,
        show_trace: bool = False,
    ) -> None:
        """`deployment` is the absolute path of the expression, `folder` the `.hive` folder of results.

        `owner` is what another operator is told while we activate; `copies` is how many may leave this machine at once.
        """
        self._inventory = inventory
        self._options = plan.options
        self._owner = owner
        self._facts: dict[str, HostFacts] = {}
        self._lines = Lines(connections)
        self._builds = Builds(
            inventory,
            deployment,
            files,
            folder=folder,
            state=state,
            realise=plan.options.realise,
            show_trace=show_trace,
            wanted=plan.wanted,
        )
        self._transfer = Transfer(inventory.instances, files, self._lines.remote, copies=copies)

    def close(self) -> None:
        """End the threads. The connections stay warm for the next run."""
        self._lines.close()

    async def perform(self, step: Step, tell: Tell) -> Result:
        """Do what a step says."""
        performers = {
            "look": self._look,
            "instantiate": self._builds.instantiate,
            "measure": self._measure,
            "realise": self._builds.realise,
            "build": self._builds.build,
            "sign": self._builds.sign,
            "push": self._push,
            "fetch": self._fetch,
            "activate": self._activate,
            "reboot": self._reboot,
            "check": self._check,
        }
        return await performers[step.kind](step, tell)

    async def _look(self, step: Step, _tell: Tell) -> Result:
        ended = await self._lines.remote(step.instance, FACTS, seconds=LOOK_SECONDS)
        facts = self._facts[step.instance] = parse_facts(ended.stdout)
        return Result(outcome="unchanged", path=facts.current, facts=facts)

    async def _measure(self, step: Step, _tell: Tell) -> Result:
        """Find out what an instance lacks; nothing can be told of a system that is not built yet."""
        built = await self._builds.known(step.system, step.path)
        if built is None:
            return Result(outcome="unchanged", how="not built")
        lacks = await measure.lacking(self._lines.remote, step.instance, built.sizes)
        reboot = measure.reboot_wanted(measure.kernel_of(built.path), self._facts[step.instance])
        return Result(outcome="unchanged", path=built.path, how="measured", size=lacks, reboot=reboot)

    async def _push(self, step: Step, tell: Tell) -> Result:
        return await self._transfer.push(step, self._builds.result(step.system), tell)

    async def _fetch(self, step: Step, tell: Tell) -> Result:
        return await self._transfer.fetch(step, self._builds.result(step.system), tell)

    async def _activate(self, step: Step, tell: Tell) -> Result:
        options = self._options
        order = Order(
            id=secrets.token_hex(8),
            instance=step.instance,
            path=step.path or self._builds.result(step.system).path,
            type=options.type,
            confirm=math.ceil(options.confirm),
            limit=math.ceil(options.activation),
            wait=math.ceil(options.wait),
            generation=step.generation,
            owner=self._owner,
        )
        checks = self._inventory.instances[step.instance].checks if options.checks else ()
        return await Activation(order, checks, self._lines, tell).run(force=options.force)

    async def _reboot(self, step: Step, tell: Tell) -> Result:
        wanted = self._builds.result(step.system).path if step.system and not step.path else step.path
        return await Reboot(step.instance, self._lines, tell).run(self._options, wanted)

    async def _check(self, step: Step, _tell: Tell) -> Result:
        # A host that cannot be reached is one line, not one for each of its checks.
        await self._lines.remote(step.instance, ":", seconds=LOOK_SECONDS)
        results = await run_checks(self._inventory.instances[step.instance].checks, self._lines.kept(step.instance))
        problem = complaint(results)
        if problem:
            raise ChecksFailed(f"{problem}.", result=Result(checks=results))
        return Result(outcome="unchanged", checks=results)
