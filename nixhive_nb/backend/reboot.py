"""Rebooting an instance, and seeing that it comes back with the system that it should run."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from nixhive_nb.backend.activation import LOOK_SECONDS, last_line, refused
from nixhive_nb.backend.host_facts import FACTS, parse_facts
from nixhive_nb.errors import HiveError, LinkLost, StepFailed
from nixhive_nb.plan.event import Result

if TYPE_CHECKING:
    from nixhive_nb.backend.base import Tell
    from nixhive_nb.backend.confirmed import Hosts
    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.plan.plan import Options

_log = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds between two attempts to reach a host that is rebooting."""
_ORDER_SECONDS = 30
# It may end the session before it answers, which is no reason to order it twice.
_REBOOT = "if test -d /run/systemd/system; then systemctl reboot; else PATH=$PATH:/usr/sbin:/sbin reboot; fi"


class Reboot:
    """One reboot of one instance."""

    def __init__(self, instance: str, hosts: Hosts, tell: Tell) -> None:
        """Nothing is done yet."""
        self._instance = instance
        self._hosts = hosts
        self._tell = tell

    async def run(self, options: Options, wanted: str) -> Result:
        """Reboot it, unless that is only wanted if needed and is not needed. `wanted`: what it must run then, or ""."""
        before = await self._look()
        if options.reboot == "if needed" and not _is_needed(before, wanted):
            return Result(outcome="unchanged", path=before.current, previous=before.current, reboot=False, facts=before)
        await self._order(before)
        after = await self._back(before, options.reboot_timeout)
        expected = wanted or before.profile
        if expected and after.current != expected:
            raise StepFailed(
                f"{self._instance} was rebooted and runs {after.current or 'no system'}, not {expected}: "
                "see what its boot loader starts."
            )
        return Result(path=after.current, previous=before.current, reboot=after.reboot_needed, facts=after)

    async def _look(self) -> HostFacts:
        return parse_facts((await self._hosts.remote(self._instance, FACTS, seconds=LOOK_SECONDS)).stdout)

    async def _order(self, before: HostFacts) -> None:
        command = _REBOOT if before.root else f"exec sudo -n -- /bin/sh -c '{_REBOOT}'"
        self._tell.line("rebooting")
        try:
            ended = await self._hosts.remote(self._instance, command, seconds=_ORDER_SECONDS)
        except LinkLost:
            _log.debug("%s: the link ended, as it should", self._instance, exc_info=True)
            return
        if ended.exited > 0 and ended.exited not in (129, 143):  # the signals of a session that is ended
            said = last_line(ended.stderr)
            raise StepFailed(
                refused(said) if said.startswith("sudo:") else f"{self._instance} refused to reboot: {said}"
            )

    async def _back(self, before: HostFacts, seconds: float) -> HostFacts:
        """Wait until the host answers with another boot id."""
        until = time.monotonic() + seconds
        reason = "it did not go down"
        while time.monotonic() < until:
            await asyncio.sleep(_PAUSE)
            try:
                async with self._hosts.fresh(self._instance) as line:
                    facts = parse_facts((await line.command(FACTS, seconds=LOOK_SECONDS)).stdout)
            except HiveError as error:
                _log.info("%s: not back yet, it is tried again in %g s: %s", self._instance, _PAUSE, error)
                reason = str(error)
                continue
            if facts.boot_id != before.boot_id:
                self._tell.line("it is back")
                return facts
        raise LinkLost(f"{self._instance} was told to reboot and did not come back within {seconds:g} s: {reason}")


def _is_needed(facts: HostFacts, wanted: str) -> bool:
    """Tell whether the next boot starts another kernel, initrd or modules, or the wanted system, which does not run."""
    if wanted and wanted != facts.current:
        return True
    kernel = facts.profile_kernel or facts.current_kernel
    return bool(facts.booted_kernel and kernel) and facts.booted_kernel != kernel
