"""Making an instance run a system: begun on the host, watched from here, and confirmed over a new connection.

What runs on the host is `activation.sh`. It survives a lost link, and goes back when nobody confirms.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import (
    ChecksFailed,
    ConnectionFailed,
    HiveError,
    LinkLost,
    Locked,
    Refused,
    RolledBack,
    StepFailed,
)
from nixhive_nb.hosts import activation, privilege
from nixhive_nb.hosts.activation import RunsAndBoots
from nixhive_nb.hosts.checks import complaint, describe, longest, run_checks
from nixhive_nb.hosts.facts import NAMELESS, parse_facts
from nixhive_nb.hosts.scripts import GONE, LOOK_SECONDS, activation_hash, is_gone
from nixhive_nb.hosts.settled import unchanged
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.settled import CHANGES_RUNNING, is_unchanged
from nixhive_nb.util import said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.deployment.inventory import Check
    from nixhive_nb.hosts.activation import HostOutcome, Order
    from nixhive_nb.hosts.password import Password
    from nixhive_nb.hosts.privilege import Elevation
    from nixhive_nb.plan.facts import CheckResult, HostFacts
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.ssh.link import HostLink, HostLinks, RemoteResult

_log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds, beside the time that the host waits for the word, in which a host whose link was lost must answer again."""
_PAUSE = 1.0
"""Seconds between two attempts to reach it."""
_WORD_SECONDS = 30
_BEGINNING = 25.0
"""Seconds in which a beginning that has come to a host has started what activates there, or has given up."""
_MOST_TURNS = 8
"""How often at most it may take as long as one `switch-to-configuration`: test, boot, both back, each after another."""


class PathGone(StepFailed):
    """The system was brought to the host, and is not there any more: its garbage was collected."""


class Activation:
    """One activation on one instance."""

    def __init__(
        self,
        order: Order,
        checks: Sequence[Check],
        hosts: HostLinks,
        tell: Tell,
        *,
        before: activation.SeenHost | None = None,
        rooted: str = "",
        elevate: Sequence[str] = (),
        password: Password | None = None,
    ) -> None:
        """Nothing is done yet. With checks, the host waits for the word as much longer as they may take.

        `before` is the host as it was seen a moment ago; without that it is looked at. `rooted` names a root there
        that keeps the system until it is activated. `elevate` says how a login becomes root, by `password`
        where it is asked for one: see `privilege`.
        """
        confirm = order.confirm and order.confirm + longest(checks)
        self._order = msgspec.structs.replace(order, confirm=confirm)
        self._checks = checks
        self._hosts = hosts
        self._tell = tell
        self._elevate = elevate
        self._password = password
        self._root = False
        self._by = privilege.AS_IT_IS
        self._kept = False
        """Whether the host keeps our script."""
        self._lines = 0
        self._before = before
        self._rooted = rooted
        self.let_go = False
        """Whether that root is gone."""
        self._facts: list[str] | None = None
        """What the host says of itself at the end, line by line."""
        self._after: HostFacts | None = None
        self._outcome: HostOutcome | None = None
        self._found: RunsAndBoots | None = None
        """What the host ran and booted when nobody else was at work there."""
        self._started = self._ended = self._gone = False
        self._boot = ""
        """The boot of the host in which it is to begin."""
        self._given_up = math.inf
        """When one that does not begin is given up."""
        self._tested = asyncio.Event()
        self._results: tuple[CheckResult, ...] = ()
        self._last = ""
        """The last line of the activation that is not ours."""
        self._failed: tuple[str, ...] = ()
        """The units that the activation itself named as failed."""
        self._unreached = ""
        """Why there was no new connection for the word."""
        self._goes_back = self._activating = False
        """Whether it had begun to change what runs."""

    async def run(self) -> Result:
        """Do it. Nothing is changed on a host that is so already, or where the path is no NixOS system.

        Raises `PathGone` where the path is not there.
        """
        order = self._order
        before = self._before or await self._look()
        self._root = before.facts.root
        self._by = privilege.elevation(self._elevate, root=self._root, password=self._password)
        self._kept = activation_hash() in before.facts.kept
        self._boot = before.facts.boot_id
        if not before.is_there:
            raise PathGone(f"{order.path} is not on {order.instance}. Nothing was changed.")
        if not before.is_system:
            raise StepFailed(activation.no_system_text(order))
        # Where somebody may be in the middle of something, only the host can tell, when it is our turn.
        if is_unchanged(before.facts, order.path, order.type) and not order.force and not before.facts.holder:
            return unchanged(before.facts, order.path)
        self._see_inhibitors(before)
        await self._watch_and_prove()
        after = await self._settled()
        if self._outcome is None:
            raise self._without_result(before, after)
        result = self._judged(self._outcome, before, after)
        if not order.confirm and self._order.type in CHANGES_RUNNING:
            result = await self._checked_afterwards(result)
        return result

    def _see_inhibitors(self, host: activation.SeenHost) -> None:
        """Go by the next boot where the host would refuse to switch, if a reboot follows. Raises `Refused` if not."""
        order = self._order
        if not host.inhibited or order.type not in CHANGES_RUNNING or order.force:
            return
        if order.type == "test" or not order.reboots:
            raise Refused(activation.inhibited_text(host.inhibited))
        self._tell.line(f"{', '.join(host.inhibited)}: that needs a reboot, so it is set for the next boot")
        self._order = msgspec.structs.replace(order, type="boot")

    async def _look(self) -> activation.SeenHost:
        command = activation.look(self._order.path)
        ended = await self._hosts.kept(self._order.instance).run(command, seconds=LOOK_SECONDS)
        return activation.read_look(ended.stdout)

    # The two conversations, side by side

    async def _watch_and_prove(self) -> None:
        proof = asyncio.create_task(self._prove())
        try:
            await self._watch()
        finally:
            proof.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await proof

    async def _watch(self) -> None:
        """Begin it and follow it to its end, again where the link is lost."""
        try:
            await self._begin()
            lost = ""
        except LinkLost as error:
            _log.info("%s: the activation is followed anew: %s", self._order.instance, error)
            lost = str(error)
        until = time.monotonic() + self._order.confirm + PATIENCE
        while not (self._ended or self._gone):
            if time.monotonic() > until:
                raise LinkLost(f"{lost} It no longer answered: what it runs is unknown.")
            await asyncio.sleep(_PAUSE)
            try:
                await self._listen(activation.follow(self._order), by=privilege.AS_IT_IS)
                if self._gone and not self._started:
                    await self._begin_again()
            except LinkLost as error:  # we had it again
                _log.info("%s: the activation is followed anew: %s", self._order.instance, error)
                lost, until = str(error), time.monotonic() + self._order.confirm + PATIENCE
            except ConnectionFailed as error:
                _log.info("%s: the activation is followed anew: %s", self._order.instance, error)
                lost = str(error)

    async def _begin(self) -> None:
        if self._kept:
            ended = await self._listen(activation.begin(self._order, by=self._by, kept=True), by=self._by, script="")
            if not is_gone(ended.stdout):
                self._check_begun(ended)
                return
        self._check_begun(await self._listen(activation.begin(self._order, by=self._by), by=self._by))

    async def _begin_again(self) -> None:
        """Begin what never came to the host. Its id is the same, by which a host begins it once, whatever still comes.

        Not on a host that was restarted since: it may have begun there before.
        """
        self._gone = False
        if not self._boot or (await self._look()).facts.boot_id != self._boot:
            self._gone = True
            return
        if self._given_up == math.inf:
            self._given_up = time.monotonic() + _BEGINNING
            self._tell.line("it had not come to the host, and is begun again")
        try:
            await self._begin()
        except StepFailed as error:
            if time.monotonic() > self._given_up:
                raise
            _log.info("%s: the first one may be on its way, and is followed: %s", self._order.instance, error)

    def _check_begun(self, ended: RemoteResult) -> None:
        """Raise `StepFailed` for a beginning that ended before the worker was there."""
        if self._started or self._ended:
            return
        if why := privilege.refusal(ended.stderr, self._by, root=self._root):
            raise StepFailed(why)
        said = activation.last_line(ended.stderr)
        raise StepFailed(f"the activation could not be started: {said}. Nothing was changed.")

    async def _listen(self, command: str, *, by: Elevation, script: str | None = None) -> RemoteResult:
        loop, order = asyncio.get_running_loop(), self._order
        number = 0

        def heard(line: str) -> None:
            nonlocal number
            word = activation.read_word(order.id, line)
            if word is not None:
                self._goes_back = self._goes_back or word.keyword == "back"
                # Here, so that it stands before the lines that follow.
                if told := self._told(word):
                    self._tell.line(told)
                loop.call_soon_threadsafe(self._take, word)
                self._see_end(word)
                return
            if self._facts is not None:
                self._facts.append(line)
                return
            if line == GONE:
                return
            self._learn(line)
            self._last = said.one_line(line) or self._last
            # One that is followed anew tells all from its beginning.
            number += 1
            if number > self._lines and line.strip():
                self._tell.line(line)
            self._lines = max(self._lines, number)

        seconds = order.wait + _MOST_TURNS * order.limit + order.confirm + 60
        return await self._hosts.kept(order.instance).run(
            command, seconds=seconds, on_line=heard, stdin=by.input(activation.script() if script is None else script)
        )

    def _see_end(self, word: activation.Word) -> None:
        """Take in what the host says of itself when all is over: it counts only where all of it has come."""
        if word.keyword == "facts":
            self._facts = []
        elif word.keyword == "told" and self._facts is not None:
            self._after = parse_facts("\n".join(self._facts))
            self._facts = None

    def _learn(self, line: str) -> None:
        """Take in what a line of the activation tells, but none of the way back, which tells of the old system."""
        if self._goes_back:
            return
        self._failed = activation.units_in(line) or self._failed
        self._activating = self._activating or line.startswith(activation.ACTIVATING)

    def _told(self, word: activation.Word) -> str:
        """Return what people are told of a word; empty where that is nothing."""
        match word.keyword:
            case "waits":
                return f"waiting for {word.text or NAMELESS}, at most {self._order.wait} s"
            case "busy":
                return activation.read_busy(word)
            case "back":
                return f"rolling back: {word.text}"
        return ""

    def _take(self, word: activation.Word) -> None:
        match word.keyword:
            case "began":
                self._started = True
            case "holds":
                self._found = activation.read_state(word)
            case "tested":
                self._tested.set()
            case "result":
                self._outcome = activation.read_outcome(word)
            case "ended":
                self._ended = True
            case "gone":
                self._gone = True

    async def _prove(self) -> None:
        """When the system is on trial: see over a new connection that all is well, and give the word.

        A host that cannot be reached is tried until it has gone back by itself, which ends this task.
        """
        if not self._order.confirm:
            return
        await self._tested.wait()
        told = False
        while True:
            try:
                async with self._hosts.fresh(self._order.instance, urgent=True) as reach:
                    word = await self._verdict(reach)
                    keep = activation.say(self._order, word)
                    await reach.run(keep, seconds=_WORD_SECONDS, stdin="")
                    return
            except HiveError as error:
                _log.info("%s: the word is tried again in %g s: %s", self._order.instance, _PAUSE, error)
                # While it goes back its sshd may be restarted: what new connections say then is of that.
                if not (self._goes_back and self._unreached):
                    self._unreached = str(error)
                if not told:
                    self._tell.line(f"no new connection: {error}")
                told = True
                await asyncio.sleep(_PAUSE)

    async def _verdict(self, reach: HostLink) -> str:
        if not self._checks:
            return activation.KEEP
        self._tell.line(f"checking: {', '.join(map(describe, self._checks))}")
        self._results = await run_checks(self._checks, reach)
        return complaint(self._results) or activation.KEEP

    # What came of it

    async def _settled(self) -> activation.SeenHost | None:
        """Clear up on the host, and look at it where it has not told how it is; None when it does not answer.

        One whose worker has ended without a result may be on its way down, with all that ran there: it is waited for.
        """
        # One that was locked out may use it yet.
        rooted = self._rooted if self._outcome is not None and self._outcome.name not in ("locked", "gone") else ""
        forget = activation.forget(self._order, by=self._by, rooted=rooted)
        until = time.monotonic() + (0 if self._outcome is not None else self._order.confirm + PATIENCE)
        while True:
            try:
                host = self._told_at_end() or await self._look()
                await self._hosts.kept(self._order.instance).run(forget, seconds=LOOK_SECONDS, stdin=self._by.input())
            except HiveError as error:
                if time.monotonic() < until and isinstance(error, (ConnectionFailed, LinkLost)):
                    _log.info("%s: looked at again in %g s: %s", self._order.instance, _PAUSE, error)
                    await asyncio.sleep(_PAUSE)
                    continue
                _log.debug("%s: does not answer after its activation", self._order.instance, exc_info=True)
                return None
            self.let_go = bool(rooted)
            return host

    def _told_at_end(self) -> activation.SeenHost | None:
        """Return the host as it said to be when its activation had ended, where it had one; root has asked there."""
        if self._after is None or self._outcome is None:
            return None
        facts = msgspec.structs.replace(self._after, root=self._root)
        return activation.SeenHost(facts=facts, is_there=True, is_system=True)

    def _without_result(self, before: activation.SeenHost, after: activation.SeenHost | None) -> HiveError:
        """Say what became of a host where the worker left no result: it was killed, or the host was restarted."""
        instance = self._order.instance
        if after is None:
            return LinkLost(f"{instance} no longer answers: what it runs is unknown.")
        now = after.facts
        then = self._found or RunsAndBoots(before.facts.current, before.facts.profile)
        restarted = bool(now.boot_id and before.facts.boot_id and now.boot_id != before.facts.boot_id)
        if not restarted and self._found is None:
            if self._gone:
                return StepFailed("the link was lost before it began. Nothing was changed.")
            return StepFailed(
                f"the activation could not be started: {self._last or 'it said nothing'}. Nothing was changed."
            )
        what = "the host rebooted in the middle" if restarted else "the activation's own process was killed"
        if now.unclean:
            return StepFailed(f"{what} while it activated {now.unclean}: what it runs is a mixture")
        if now.current == then.runs and now.profile == then.boots:
            return RolledBack(f"{what}; it runs what it ran before")
        return StepFailed(f"{what}; it runs {now.current or 'nothing'} and boots {now.profile or 'nothing'} next")

    def _judged(self, outcome: HostOutcome, before: activation.SeenHost, after: activation.SeenHost | None) -> Result:
        order = self._order
        why = activation.explained(outcome, order.limit, activating=self._activating)
        if self._unreached and "not confirmed" in why:
            why += f" (no new connection: {self._unreached.rstrip('.')})"
        previous = (self._found.runs if self._found else None) or ""
        match outcome.name:
            case "refused":
                raise Refused(activation.refusal(outcome.why))
            case "locked":
                raise Locked(activation.refused_by(outcome, order.wait))
            case "gone":
                raise PathGone(f"{order.path} is not on {order.instance} any more. Nothing was changed.")
            case "changed":
                raise StepFailed(activation.stale(order.instance, order.expected, self._found or RunsAndBoots()))
            case "unchanged":
                return unchanged((after or before).facts, order.path)
            case "rolled-back":
                found = Result(path=previous, previous=previous, checks=self._results)
                raise RolledBack(f"{why}; it is back on what it ran before", result=found)
        runs_it = after is not None and after.facts.current == order.path
        if outcome.status == activation.NEEDS_REBOOT and order.type == "test" and not runs_it:
            raise StepFailed("the new system takes effect by a reboot only (exit status 100). Nothing was changed.")
        if outcome.name == "failed":
            raise StepFailed(self._why_failed(outcome, why, before, after))
        warning = self._warning(outcome, before, after, runs_it=runs_it)
        return Result(
            outcome="warned" if outcome.name == "warned" or warning else "done",
            path=order.path,
            previous=previous,
            warning=warning,
            until_reboot=warning if outcome.status == activation.NEEDS_REBOOT else "",
            checks=self._results,
            reboot=after.facts.reboot_needed if after is not None else None,
            facts=after.facts if after is not None else None,
        )

    def _why_failed(
        self, outcome: HostOutcome, why: str, before: activation.SeenHost, after: activation.SeenHost | None
    ) -> str:
        order = self._order
        if outcome.why == activation.no_system(order.path):
            return activation.no_system_text(order)
        was = self._found.boots if self._found else before.facts.profile
        boots = after is not None and after.facts.profile == order.path != was
        return f"{why}.{f' The profile is set: {order.instance} boots the new system.' if boots else ''}"

    def _warning(
        self, outcome: HostOutcome, before: activation.SeenHost, after: activation.SeenHost | None, *, runs_it: bool
    ) -> str:
        """Return what has to be told of one that was switched; failed units by their names, where they are known."""
        now = after.facts.failed_units if after is not None else None
        ended = self._failed if outcome.status == activation.UNITS_FAILED else ()
        units = activation.failed_text(now or ended, before.facts.failed_units or ())
        switched = self._order.type in CHANGES_RUNNING and outcome.status in (0, activation.UNITS_FAILED)
        return f"switched, but {units}" if units and switched else activation.warning(outcome.status, runs=runs_it)

    async def _checked_afterwards(self, result: Result) -> Result:
        """In the plain order, a check that fails is told, and nothing goes back."""
        if not self._checks:
            return result
        results = await run_checks(self._checks, self._hosts.kept(self._order.instance))
        problem = complaint(results)
        if problem:
            kept = "The new system stays, since it was activated with --no confirm."
            raise ChecksFailed(f"{problem}. {kept}", result=msgspec.structs.replace(result, checks=results))
        return msgspec.structs.replace(result, checks=results)
