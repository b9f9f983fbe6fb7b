"""The real backend: Nix on this machine, ssh to all others."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host, store_names
from nixhive_nb.errors import ChecksFailed, HiveError, LinkLost, Locked, StepFailed, WorkerLost
from nixhive_nb.hosts import closures, scripts
from nixhive_nb.hosts.activate import Activation, PathGone
from nixhive_nb.hosts.activation import Order, RunsAndBoots, SeenHost
from nixhive_nb.hosts.checks import complaint, run_checks
from nixhive_nb.hosts.powers import Powers
from nixhive_nb.hosts.reboot import Reboot
from nixhive_nb.hosts.settled import see_settled
from nixhive_nb.nix.build import Builds, Built
from nixhive_nb.nix.build_there import BuildsThere, places_in
from nixhive_nb.nix.copy import Transfer
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.facts import Seen, inhibited
from nixhive_nb.plan.relays import sources_of
from nixhive_nb.plan.settled import FRESH_SECONDS
from nixhive_nb.plan.step import CHANGING, MOVING
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nixhive_nb.deployment.inventory import Check, Inventory
    from nixhive_nb.deployment.places import Places
    from nixhive_nb.deployment.sources.source import Source
    from nixhive_nb.hosts.powers import Way
    from nixhive_nb.nix.ahead import Ahead
    from nixhive_nb.nix.eval_jobs import EvalJobs
    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.plan.plan import Plan, Target
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.plan.step import Step
    from nixhive_nb.ssh.config import SshFiles
    from nixhive_nb.ssh.link import HostLinks
    from nixhive_nb.ssh.pool import Connections

    Examine = Callable[[HostLinks, str, Built | None], Awaitable[HostFacts]]

_log = logging.getLogger(__name__)
_WORKERS = 3
"""How many workers may be lost on a step that changes no host."""


def platform_of(path: str) -> str:
    """Return what a system is for, such as `x86_64-linux`; empty for one that is not here, or does not say it."""
    try:
        return Path(path, "system").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        _log.debug("the platform of %s", path, exc_info=True)
        return ""


def _needs(target: Target, push: Step) -> bool:
    return (target.store, target.system) == (push.store, push.system)


class NixSsh:
    """Performs the steps of one run."""

    def __init__(
        self,
        inventory: Inventory,
        source: Source,
        files: SshFiles,
        connections: Connections,
        *,
        plan: Plan,
        owner: str,
        places: Places,
        copies: int,
        fresh: float = FRESH_SECONDS,
        keeping: dict[str, HostFacts] | None = None,
        show_trace: bool = False,
        force: bool = False,
        run: str = "run",
        power: bool = False,
        powers: Powers | None = None,
        examine: Examine | None = None,
        ahead: Ahead | None = None,
        jobs: EvalJobs | None = None,
        gone: Sequence[str] = (),
    ) -> None:
        """`source` is the deployment, `places` where our own files lie.

        `owner` is what another operator is told while we activate; `copies` is how many may leave this machine at once.
        With `force` hosts may have been changed by others since the plan was made. What a host said when the plan was
        made counts for `fresh` seconds. `keeping` has what those instances said last that keep our scripts, from run to
        run. `run` is the id of the run. `power`: each probe also sees whether the login becomes root,
        unless `powers` know that from before; they have the passwords, too. `examine` is what each probe does in place
        of asking how the host is; it gets its system, where that is in this machine's store. `ahead` is what
        began to be built before the plan was made, and `jobs` evaluates systems where it can. `gone` are runs that were
        killed.
        """
        self._examine = examine
        self._jobs = jobs
        self._power = power
        self._powers = Powers() if powers is None else powers
        self._inventory = inventory
        self._plan = plan
        self._options = plan.options
        self._pushes = {step.id: step.store for step in plan.steps if step.kind == "push"}
        self._readers = Counter(read for step in plan.steps for read in self._reads(step))
        """Reads of each system that are still to come from each store."""
        self._force = force or plan.options.force
        self._owner = owner
        self._fresh = fresh
        self._keeping = {} if keeping is None else keeping
        self._seen = {one.instance: one for one in plan.seen}
        self._facts: dict[str, HostFacts] = {}
        self._links = FabricLinks(connections)
        self._far = connections.far
        connections.expect(dict.fromkeys(step.instance for step in plan.steps if step.instance))
        self._places = places_in(plan)
        elsewhere = (step for step in plan.steps if step.store and step.kind in ("build", "probe"))
        self._builds = Builds(
            inventory,
            source,
            files,
            places=places,
            realise=plan.options.realise,
            show_trace=show_trace,
            wanted=plan.wanted,
            elsewhere={system for step in elsewhere for system in step.systems},
            ahead=ahead,
            jobs=jobs,
        )
        stores = {name: url for url, name in store_names(one.store for one in inventory.instances.values()).items()}
        self._transfer = Transfer(
            inventory.instances,
            files,
            self._links,
            way=connections.way,
            stores=stores,
            copies=copies,
            run=run,
            stall=plan.options.stall,
            elevate={name: one.elevate for name, one in inventory.instances.items() if one.elevate},
            passwords=self._powers.passwords({name: one.elevate for name, one in inventory.instances.items()}),
            gone=gone,
        )
        self._there = BuildsThere(self._builds, self._transfer, plan)

    async def perform(self, step: Step, tell: Tell) -> Result:
        """Do what a step says."""
        performers = {
            "probe": self._probe,
            "instantiate": self._builds.instantiate,
            "missing": self._missing,
            "send": self._there.send,
            "build": self._build,
            "register": self._builds.register,
            "sign": self._sign,
            "push": self._push,
            "fetch": self._fetch,
            "activate": self._activate,
            "reboot": self._reboot,
            "check": self._check,
        }
        perform = performers[step.kind]
        for _ in range(_WORKERS):
            began = time.monotonic()
            try:
                return await perform(step, tell)
            except (WorkerLost, StepFailed) as error:
                # What changes a host reads back from there how far it came, and goes on; the rest is only done again.
                if step.kind in CHANGING or not (isinstance(error, WorkerLost) or self._lost_way(step, began)):
                    raise
                tell.line(f"{str(error).rstrip('.')}. It goes on by another worker, or when that is back.")
        return await perform(step, tell)

    def _lost_way(self, step: Step, began: float) -> bool:
        """Return whether Nix moved something over a worker that was lost meanwhile."""
        host = step.instance or store_host(step.store)
        return self._far is not None and step.kind in MOVING and self._far.lost_since(host, began)

    @property
    def has_left(self) -> bool:
        """Whether hosts keep something yet for builds of this run: they could not be reached at its end."""
        return self._transfer.has_left

    async def end(self) -> None:
        """Let go of what hosts keep for builds of this run, and of what still evaluates for it."""
        if self._jobs is not None:
            await self._jobs.end()
        await self._there.end()

    async def _probe(self, step: Step, tell: Tell) -> Result:
        if step.store:
            return await self._there.ask(step, tell)
        if step.path:
            seen = self._seen.get(step.instance)
            return await see_settled(
                step.instance, step.path, seen, self._options, ask=self._ask, fresh=self._fresh, tell=tell
            )
        facts = self._facts[step.instance] = await self._facts_of(step)
        powerless = "" if facts.root or not self._power else await self._see_power(step)
        return Result(outcome="unchanged", path=facts.current, facts=facts, powerless=powerless)

    async def _facts_of(self, step: Step) -> HostFacts:
        if self._examine is None:
            return await self._ask(step.instance)
        path = next((one.path for one in self._plan.wanted if one.system == step.system), "")
        built = None
        with swallowed(_log, f"looking for system {step.system} here", HiveError):
            built = await self._builds.known(step.system, path)
        return await self._examine(self._links, step.instance, built)

    async def _see_power(self, step: Step) -> str:
        """See whether a login becomes root, once a session: of one that does not any more its activation tells."""
        return await self._powers.see(self._links.kept(step.instance), self._way(step))

    async def _ask(self, instance: str) -> HostFacts:
        return await scripts.ask(self._links, instance, self._keeping)

    async def _missing(self, step: Step, tell: Tell) -> Result:
        """Find out what an instance lacks; nothing can be told of a system that is not built yet."""
        if not step.instance:
            return await self._there.missing(step, tell)
        built = await self._builds.known(step.system, step.path)
        if built is None:
            return Result(outcome="unchanged", how="not built")
        facts = self._facts[step.instance]
        # What runs there is there with all that it needs: Nix collects no part of it.
        runs_it = facts.current == built.path
        lacks = 0 if runs_it else await closures.lacking(self._links, step.instance, built.sizes)
        reboot = closures.reboot_wanted(closures.kernel_of(built.path), facts)
        changes = inhibited(facts.inhibitors, closures.inhibitors_of(built.path))
        return Result(
            outcome="unchanged", path=built.path, how="measured", size=lacks, reboot=reboot, inhibited=changes
        )

    async def _build(self, step: Step, tell: Tell) -> Result:
        return await (self._there if step.store else self._builds).build(step, tell)

    async def _sign(self, step: Step, tell: Tell) -> Result:
        return await (self._there if step.store else self._builds).sign(step, tell)

    def _result(self, step: Step) -> Built:
        """Return what a step moves, with the store where it is if that is not here."""
        there = next((self._places[name].store for name in step.needs if name in self._places), "")
        return msgspec.structs.replace(self._builds.result(step.system), there=there)

    async def _push(self, step: Step, tell: Tell) -> Result:
        built = self._result(step)
        platform = await asyncio.to_thread(platform_of, built.path)
        needing = [target.instance for target in self._plan.targets if _needs(target, step)]
        refusals = [
            f"{name}: {powerless}"
            if (powerless := self._powerless(name))
            else self._refusal(name, step.system, platform, self._seen.get(name))
            for name in needing
        ]
        if refusals and all(refusals):
            raise StepFailed(refusals[0])
        try:
            pushed = await self._transfer.push(step, built, tell, sources_of(step, self._pushes))
        except StepFailed as error:
            raise self._advised(step, error) from None
        else:
            return await self._signed(step, pushed, tell) if self._builds.is_unsigned(step.system) else pushed
        finally:
            await self._have_read(step, built)

    def _advised(self, step: Step, error: StepFailed) -> StepFailed:
        """Return why a push failed, with what helps where workers reach hosts and none is near the store."""
        host = store_host(step.store)
        if self._far is None or not host or self._far.carries(host):
            return error
        return StepFailed(
            f"{str(error).rstrip('.')}. No worker is near {host}, so this machine had to reach it: start one that is "
            f"(nix-hive worker, with --name {host}), or see that ssh {host} works from here.",
            log=error.log,
            result=error.result,
        )

    async def _signed(self, step: Step, pushed: Result, tell: Tell) -> Result:
        """Sign what was pushed where it is now, with the key that stays here: it could not be signed here."""
        signed = await self._there.sign(step, tell)
        if not signed.warning:
            return msgspec.structs.replace(pushed, how=f"{pushed.how}, signed there")
        warning = "; ".join(filter(None, [pushed.warning, signed.warning]))
        return msgspec.structs.replace(pushed, outcome="warned", warning=warning)

    def _reads(self, step: Step) -> list[tuple[str, str]]:
        """Return the store and system that a step may read, for each store."""
        return [(store, step.system) for store in sources_of(step, self._pushes)] if step.kind in MOVING else []

    async def _have_read(self, step: Step, built: Built) -> None:
        """Let go of what nobody reads any more in the stores that a step has read from."""
        for store, system in self._reads(step):
            self._readers[store, system] -= 1
            if self._plan.verb == "deploy" and not self._readers[store, system]:
                await self._transfer.release_pushed(store, built.path)

    async def _fetch(self, step: Step, tell: Tell) -> Result:
        if powerless := self._powerless(step.instance):
            raise StepFailed(powerless)
        built = self._result(step)
        platform = await asyncio.to_thread(platform_of, built.path)
        seen = self._seen.get(step.instance)
        if platform and (seen is None or seen.facts is None):
            seen = Seen(instance=step.instance, facts=await self._ask(step.instance))
        refusal = self._refusal(step.instance, step.system, platform, seen)
        if refusal:
            raise StepFailed(refusal)
        try:
            if self._is_in_use(step.instance, built.path):
                return Result(outcome="unchanged", path=built.path, how="present", size=built.size)
            return await self._transfer.fetch(step, built, tell, sources_of(step, self._pushes))
        finally:
            await self._have_read(step, built)

    def _is_in_use(self, instance: str, path: str) -> bool:
        """Return whether an instance said a moment ago that it runs or boots a path: that is never collected.

        Whoever has changed that since is seen by the activation, which has a path that is gone fetched.
        """
        facts = self._fresh_facts(instance)
        return facts is not None and path in (facts.current, facts.profile)

    def _fresh_facts(self, instance: str) -> HostFacts | None:
        """Return what an instance said for this plan, if nobody was at work there, while that counts."""
        seen = self._seen.get(instance)
        if seen is None or seen.facts is None or seen.facts.holder:
            return None
        return seen.facts if 0 <= time.time() - seen.asked <= self._fresh else None

    def _powerless(self, instance: str) -> str:
        """Return why an instance cannot be changed whose login was seen a moment ago not to become root."""
        seen = self._seen.get(instance)
        is_fresh = seen is not None and 0 <= time.time() - seen.asked <= self._fresh
        return seen.powerless if seen is not None and is_fresh and self._plan.verb != "push" else ""

    def _refusal(self, instance: str, system: str, platform: str, seen: Seen | None) -> str:
        """Return why an instance cannot run a system; empty where it can, or where that is not known."""
        facts = seen.facts if seen else None
        if self._options.force or facts is None or facts.can_run(platform):
            return ""
        return (
            f"system {system} is for {platform}, and the kernel of {instance} runs {', '.join(facts.runs)}. "
            "Nothing was copied. If it can run it anyway, use --force."
        )

    async def _activate(self, step: Step, tell: Tell) -> Result:
        if powerless := self._powerless(step.instance):
            raise StepFailed(powerless)
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
            force=options.force,
            reboots=options.reboot != "never",
            expected=self._expected(step.instance) if options.type != "dry-activate" else RunsAndBoots(),
            owner=self._owner,
        )
        checks = self._checks_of(step)
        try:
            result = await self._activated(order, checks, step, tell)
        except (Locked, LinkLost):
            raise  # it may be used yet
        except HiveError:
            await self._transfer.release(step.instance, order.path)
            raise
        await self._transfer.release(step.instance, order.path)
        return result

    async def _activated(self, order: Order, checks: Sequence[Check], step: Step, tell: Tell) -> Result:
        """Activate, and fetch a path once more that has vanished from the host since it was brought there."""
        try:
            return await self._begun(order, checks, step, tell)
        except PathGone as error:
            if not step.system or step.path:
                raise
            tell.line(f"{error} It is fetched again.")
        fetch = msgspec.structs.replace(step, store=self._inventory.instances[step.instance].store)
        await self._transfer.fetch(fetch, self._builds.result(step.system), tell)
        again = msgspec.structs.replace(order, id=secrets.token_hex(8))
        result = await self._begun(again, checks, step, tell)
        told = "the system had vanished from the host (a garbage collection?) and was fetched again"
        return msgspec.structs.replace(result, warning="; ".join(filter(None, [result.warning, told])))

    async def _begun(self, order: Order, checks: Sequence[Check], step: Step, tell: Tell) -> Result:
        rooted = self._transfer.rooted(step.instance, order.path)
        before = self._before(order, step)
        activation = Activation(
            order,
            checks,
            self._links,
            tell,
            before=before,
            rooted=rooted,
            elevate=self._elevate(step),
            password=self._powers.password_of(self._way(step)),
        )
        try:
            return await activation.run()
        finally:
            if activation.let_go:
                self._transfer.let_go(step.instance, order.path)

    def _before(self, order: Order, step: Step) -> SeenHost | None:
        """Return an instance as it was seen for this plan a moment ago, if the host itself will compare that.

        With `force` nothing is compared. None where it has to be looked at.
        """
        facts = self._fresh_facts(step.instance)
        built = self._builds.results.get(step.system) if not step.path else None
        if facts is None or built is None or not built.local:
            return None
        if order.expected == RunsAndBoots() and not order.force:
            return None
        changes = inhibited(facts.inhibitors, closures.inhibitors_of(built.path))
        return SeenHost(facts=facts, is_there=True, is_system=True, inhibited=changes)

    def _expected(self, instance: str) -> RunsAndBoots:
        """Return how an instance was when the plan was made: whoever has changed it since is not run over."""
        seen = self._seen.get(instance)
        if self._force or seen is None or seen.facts is None:
            return RunsAndBoots()
        if self._options.wait and seen.facts.holder:
            return RunsAndBoots()  # what that one was about to change is waited for
        return RunsAndBoots(seen.facts.current, seen.facts.profile)

    async def _reboot(self, step: Step, tell: Tell) -> Result:
        if powerless := self._powerless(step.instance):
            raise StepFailed(powerless)
        wanted = self._builds.result(step.system).path if step.system and not step.path else step.path
        # An activation before it has changed what was seen when the plan was made.
        expected = RunsAndBoots() if wanted else self._expected(step.instance)
        reboot = Reboot(
            step.instance,
            self._links,
            tell,
            owner=self._owner,
            checks=self._checks_of(step),
            elevate=self._elevate(step),
            password=self._powers.password_of(self._way(step)),
        )
        return await reboot.run(self._options, wanted, expected)

    def _checks_of(self, step: Step) -> Sequence[Check]:
        return self._inventory.instances[step.instance].checks if self._options.checks else ()

    def _elevate(self, step: Step) -> Sequence[str]:
        return self._inventory.instances[step.instance].elevate

    def _way(self, step: Step) -> Way:
        return step.instance, tuple(self._elevate(step))

    async def _check(self, step: Step, _tell: Tell) -> Result:
        # A host that cannot be reached is one line, not one for each of its checks.
        await self._links.kept(step.instance).run(":", seconds=scripts.LOOK_SECONDS)
        results = await run_checks(self._inventory.instances[step.instance].checks, self._links.kept(step.instance))
        problem = complaint(results)
        if problem:
            raise ChecksFailed(f"{problem}.", result=Result(checks=results))
        return Result(outcome="unchanged", checks=results)
