"""Rebooting an instance, and seeing that it comes back with the system that it should run."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import ChecksFailed, HiveError, LinkLost, Locked, StepFailed, WorkerLost
from nixhive_nb.hosts import activation, privilege
from nixhive_nb.hosts.activation import HostOutcome, RunsAndBoots
from nixhive_nb.hosts.checks import complaint, describe, run_checks
from nixhive_nb.hosts.facts import FACTS, NAMELESS, parse_facts
from nixhive_nb.hosts.scripts import LOOK_SECONDS
from nixhive_nb.plan.events import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.deployment.inventory import Check
    from nixhive_nb.hosts.password import Password
    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.plan.plan import Options
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.ssh.link import HostLinks

_log = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds between two attempts to reach a host that is rebooting."""
_ORDER_SECONDS = 30
_GRACE = 15
"""Seconds that a host has to answer, beside those that it may take."""
_STARTED = (
    "if test -d /run/systemd/system; then timeout {seconds} systemctl is-system-running --wait; fi >/dev/null 2>&1; "
    "true"
)
"""Shell words that end when all that starts at boot has started; how that went is for the checks to say."""
_NO_SYSTEM = "it answers, and runs no system yet (an initial RAM disk that waits for a passphrase?)"
_TURN = 10
"""Seconds that the host waits for others, each time that it is asked to: it must not reboot when we are gone."""
_SIGNALS = (129, 143)
"""How a session ends that the reboot ends."""
_LOSSES = 3
"""How many workers may be lost with the order."""
_LOOKS = 5
"""How often it may be looked at anew, since somebody changed it between our look and our turn."""


class Reboot:
    """One reboot of one instance."""

    def __init__(
        self,
        instance: str,
        hosts: HostLinks,
        tell: Tell,
        *,
        owner: str,
        checks: Sequence[Check] = (),
        elevate: Sequence[str] = (),
        password: Password | None = None,
    ) -> None:
        """Nothing is done yet. `owner` is what others are told meanwhile; `checks` must hold when it is back.

        `elevate` says how a login becomes root, by `password` where it is asked for one: see `privilege`.
        """
        self._instance = instance
        self._hosts = hosts
        self._tell = tell
        self._owner = owner
        self._checks = checks
        self._elevate = elevate
        self._password = password

    async def run(self, options: Options, wanted: str, expected: RunsAndBoots) -> Result:
        """Reboot it, unless that is only wanted if needed and is not needed.

        `wanted`: what it must run then, or "". `expected`: what it has to run and boot before, as far as that is known,
        unless somebody else was waited for. Raises `Locked` where somebody else is at work there.
        """
        until = time.monotonic() + options.wait
        waited = False
        for _ in range(_LOOKS):
            before = await self._look()
            self._check(before, wanted, RunsAndBoots() if waited else expected)
            if options.reboot == "if needed" and not before.reboot_needed and not before.holder:
                path = before.current
                return Result(outcome="unchanged", path=path, previous=path, reboot=before.reboot_needed, facts=before)
            outcome, others = await self._told(before, options, until)
            waited = waited or others
            if outcome.name != "changed":
                break
        else:
            raise StepFailed(f"{self._instance} is changed by others all the time. It was not rebooted.")
        ends = time.monotonic() + options.reboot_timeout
        after = await self._back(before, options.reboot_timeout)
        must = wanted or before.profile
        if must and not after.does_run(must):
            raise StepFailed(
                f"{self._instance} was rebooted and runs {after.current or 'no system'}, not {must}: "
                "see what its boot loader starts."
            )
        result = Result(path=after.current, previous=before.current, reboot=after.reboot_needed, facts=after)
        return await self._checked(result, ends) if self._checks else result

    async def _checked(self, result: Result, ends: float) -> Result:
        """Run the checks when all that starts at boot has started, or the time to come back is over."""
        left = max(1, math.ceil(ends - time.monotonic()))
        async with self._hosts.fresh(self._instance) as line:
            await line.run(_STARTED.format(seconds=left), seconds=left + _GRACE)
            self._tell.line(f"checking: {', '.join(map(describe, self._checks))}")
            results = await run_checks(self._checks, line)
        found = msgspec.structs.replace(result, checks=results)
        if problem := complaint(results):
            raise ChecksFailed(f"{self._instance} was rebooted and is back, and {problem}.", result=found)
        return found

    async def _look(self) -> HostFacts:
        return parse_facts((await self._hosts.kept(self._instance).run(FACTS, seconds=LOOK_SECONDS)).stdout)

    def _check(self, found: HostFacts, wanted: str, expected: RunsAndBoots) -> None:
        if wanted and found.profile != wanted:
            raise StepFailed(
                f"{self._instance} boots {found.profile or 'nothing'} next, and not {wanted}: somebody else has set "
                "that. It was not rebooted."
            )
        now = RunsAndBoots(found.current, found.profile)
        if any(then not in (None, what) for then, what in ((expected.runs, now.runs), (expected.boots, now.boots))):
            raise StepFailed(activation.stale(self._instance, expected, now))

    async def _told(self, before: HostFacts, options: Options, until: float) -> tuple[HostOutcome, bool]:
        """Have the host reboot when nobody else is at work there.

        Return what it says, and whether others were waited for. It refuses
        (`changed`) when it does not run and boot any more what it did before.
        """
        waited = False
        while True:
            left = max(0.0, until - time.monotonic())
            outcome = await self._order(before, options, wait=min(_TURN, math.ceil(left)))
            if outcome.name != "locked":
                return outcome, waited
            if not left:
                raise Locked(activation.refused_by(outcome, options.wait))
            if not waited:
                self._tell.line(f"waiting for {outcome.why or NAMELESS}, at most {left:.0f} s")
            waited = True

    async def _order(self, before: HostFacts, options: Options, *, wait: int) -> HostOutcome:
        """Order it, once more where the order was lost with the worker that was to bring it."""
        for _ in range(_LOSSES):
            try:
                return await self._order_once(before, options, wait=wait)
            except WorkerLost as error:
                _log.info("%s: looked at in %g s: %s", self._instance, _PAUSE, error)
                await asyncio.sleep(_PAUSE)
                if await self._was_ordered(before):
                    return HostOutcome(name="done", status=0)
                self._tell.line("the order had not come to the host, and is given again")
        return await self._order_once(before, options, wait=wait)

    async def _was_ordered(self, before: HostFacts) -> bool:
        """Return whether the host goes down, or did: whoever reboots it holds its lock until then."""
        try:
            now = await self._look()
        except HiveError:
            _log.debug("%s: does not answer, as one that goes down", self._instance, exc_info=True)
            return True
        return now.boot_id != before.boot_id or bool(now.holder)

    async def _order_once(self, before: HostFacts, options: Options, *, wait: int) -> HostOutcome:
        id_ = secrets.token_hex(8)
        said: list[activation.Word] = []
        by = privilege.elevation(self._elevate, root=before.root, password=self._password)

        def heard(line: str) -> None:
            word = activation.read_word(id_, line)
            if word is not None:
                said.append(word)
                if word.keyword == "ordered":
                    self._tell.line("rebooting")

        command = activation.reboot(
            id_,
            limit=math.ceil(options.reboot_timeout),
            wait=wait,
            expected=RunsAndBoots(before.current, before.profile),
            owner=self._owner,
            by=by,
        )
        try:
            ended = await self._hosts.kept(self._instance).run(
                command, seconds=wait + _ORDER_SECONDS, on_line=heard, stdin=by.input(activation.script())
            )
        except WorkerLost:
            raise
        except LinkLost:
            # As it should be. It may end the session before it answers, which is no reason to order it twice.
            _log.debug("%s: the link ended, as it should", self._instance, exc_info=True)
            return HostOutcome(name="done", status=0)
        outcome = next((found for word in said if (found := _outcome(word)) is not None), None)
        if outcome is not None and outcome.name != "failed":
            return outcome
        if any(word.keyword == "ordered" for word in said) and ended.exited in _SIGNALS:
            return HostOutcome(name="done", status=0)
        if why := privilege.refusal(ended.stderr, by, root=before.root):
            raise StepFailed(why)
        raise StepFailed(f"{self._instance} refused to reboot: {activation.last_line(ended.stderr)}")

    async def _back(self, before: HostFacts, seconds: float) -> HostFacts:
        """Wait until the host answers with another boot id."""
        until = time.monotonic() + seconds
        reason = "it did not go down"
        while time.monotonic() < until:
            await asyncio.sleep(_PAUSE)
            try:
                async with self._hosts.fresh(self._instance) as line:
                    facts = parse_facts((await line.run(FACTS, seconds=LOOK_SECONDS)).stdout)
            except HiveError as error:
                _log.info("%s: not back yet, it is tried again in %g s: %s", self._instance, _PAUSE, error)
                reason = str(error)
                continue
            if not facts.boot_id or facts.boot_id == before.boot_id:
                continue
            # The initial RAM disk may have an ssh server, to be told the passphrase of a disk.
            if facts.current or not before.current:
                self._tell.line("it is back")
                return facts
            reason = _NO_SYSTEM
        raise LinkLost(f"{self._instance} was told to reboot and did not come back within {seconds:g} s: {reason}")


def _outcome(word: activation.Word) -> HostOutcome | None:
    return activation.read_outcome(word) if word.keyword == "result" else None
