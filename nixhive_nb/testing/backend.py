"""A backend that touches nothing: a plan is tried on hosts that are not there, in a time that passes at once.

    fleet = SimulatedFleet(World.seeded(inventory.instances, seed=7))
    run = Run(plan, fleet.backend(plan), clock=fleet.clock.time, loop_factory=fleet.clock.loop)
    run.start().wait()
    run.report()

The fleet remembers what its hosts run, so that another run finds it as this one left it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.errors import ChecksFailed, LinkLost, Locked, RolledBack, StepFailed
from nixhive_nb.hosts import activation
from nixhive_nb.hosts.activation import NEEDS_REBOOT, UNITS_FAILED
from nixhive_nb.hosts.settled import seen_text, unchanged
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.facts import Wanted
from nixhive_nb.plan.places import BuildPlace
from nixhive_nb.plan.relays import sources_of
from nixhive_nb.plan.settled import CHANGES_RUNNING, FRESH_SECONDS, SETS_PROFILE, is_settled
from nixhive_nb.testing.clock import VirtualClock
from nixhive_nb.testing.host import SimulatedHost
from nixhive_nb.testing.world import HostModel, World

if TYPE_CHECKING:
    from nixhive_nb.plan.events import Outcome
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.plan.step import Step

_PARTS = 4
"""How often a copy tells how far it is."""
_POLL = 1.0
"""Seconds between two questions to a host that is not ready."""
_USUAL = HostModel()
_NOT_HELD = "a check does not hold"


class SimulatedFleet:
    """Hosts and stores of a world. What they hold stays from run to run; time goes on, too."""

    def __init__(self, world: World, clock: VirtualClock | None = None) -> None:
        """Begin with hosts that run what the world says."""
        self.world = world
        self.clock = clock or VirtualClock()
        self.built: set[str] = set()
        """Store paths on this machine."""
        self._hosts: dict[str, SimulatedHost] = {}
        self._stores: dict[str, set[str]] = {}

    def host(self, name: str) -> SimulatedHost:
        """Return a host by name."""
        if name not in self._hosts:
            self._hosts[name] = SimulatedHost(name, self.world.hosts.get(name, _USUAL))
        return self._hosts[name]

    def runs(self, name: str) -> tuple[str, str]:
        """Return what a host runs and boots next, once all that runs there has ended."""
        return self.host(name).becomes

    def store(self, url: str) -> set[str]:
        """Return the store paths of a store; that of a host is the host's own."""
        name = store_host(url)
        return self.host(name).paths if name else self._stores.setdefault(url, set())

    def backend(self, plan: Plan) -> Simulated:
        """Return a backend for one run of a plan."""
        return Simulated(self, plan)


class Simulated:
    """Performs the steps of one run on a fleet that is not there."""

    def __init__(self, fleet: SimulatedFleet, plan: Plan) -> None:
        """Use `SimulatedFleet.backend`."""
        self._fleet = fleet
        self._world = fleet.world
        self._sleep = fleet.clock.sleep
        self._options = plan.options
        self._wanted = {one.system: one for one in plan.wanted}
        self._seen = {one.instance: one for one in plan.seen}
        self._pushes = {step.id: step.store for step in plan.steps if step.kind == "push"}
        self._elsewhere = {step.system for step in plan.steps if step.kind == "build" and step.store}
        self._performers = {
            "probe": self._probe,
            "instantiate": self._instantiate,
            "missing": self._missing,
            "send": self._send,
            "build": self._build,
            "register": self._register,
            "sign": self._sign,
            "push": self._push,
            "fetch": self._fetch,
            "activate": self._activate,
            "reboot": self._reboot,
            "check": self._check,
        }

    async def perform(self, step: Step, tell: Tell) -> Result:
        """Do what a step says."""
        return await self._performers[step.kind](step, tell)

    # Hosts as they are

    async def _reached(self, step: Step) -> SimulatedHost:
        """Log in, through the jump hosts that the step names in its locks."""
        hops = [self._fleet.host(lock.removeprefix("jump:")) for lock in step.locks if lock.startswith("jump:")]
        host = self._fleet.host(step.instance)
        way = (*hops, host)
        # One wait for all of it: what a simulated run costs is its waits.
        await self._sleep(sum(one.model.latency for one in way))
        for one in way:
            one.answer(self._now())
        return host

    async def _probe(self, step: Step, _tell: Tell) -> Result:
        if step.store:
            return Result(outcome="unchanged", place=BuildPlace(store=step.store, asked=self._now(), trusted=True))
        if step.path:
            return await self._see_settled(step)
        host = await self._reached(step)
        return Result(outcome="unchanged", path=host.current, facts=host.facts(self._now()))

    async def _see_settled(self, step: Step) -> Result:
        """See that a host is as the plan leaves it: asked when what it said is not fresh any more."""
        seen = self._seen.get(step.instance)
        facts, asked = (seen.facts, seen.asked) if seen else (None, 0.0)
        if facts is None or not 0 <= self._now() - asked <= FRESH_SECONDS:
            host = await self._reached(step)
            await self._free(host)
            facts, asked = host.facts(self._now()), self._now()
        if not is_settled(facts, step.path, self._options):
            raise StepFailed(f"{step.instance} has changed since the plan was made. Nothing was changed.")
        return unchanged(facts, step.path, how=seen_text(asked))

    async def _missing(self, step: Step, _tell: Tell) -> Result:
        if not step.instance:
            there = self._path(step) in self._fleet.store(step.store)
            return Result(outcome="unchanged", size=0 if there else self._world.recipe)
        host = await self._reached(step)
        path = self._path(step)
        if path not in self._fleet.built:
            return Result(outcome="unchanged", how="not built")
        size = 0 if path in host.paths else self._world.size_of(step.system)
        return Result(outcome="unchanged", path=path, how="measured", size=size, reboot=path != host.booted)

    # Systems

    async def _instantiate(self, step: Step, _tell: Tell) -> Result:
        await self._sleep(self._world.evaluation)
        found = {system: self._evaluated(system) for system in step.systems}
        self._wanted |= found
        return Result(wanted=tuple(found.values()))

    def _evaluated(self, system: str) -> Wanted:
        if system in self._world.unevaluable:
            return Wanted(system=system, error="it cannot be evaluated")
        path = self._world.path(system)
        return Wanted(system=system, path=path, derivation=f"{path}.drv")

    async def _build(self, step: Step, tell: Tell) -> Result:
        if step.store:
            return await self._build_there(step)
        wanted = [system for system in step.systems if not self._wanted[system].error]
        for number, system in enumerate(wanted, start=1):
            if self._wanted[system].path not in self._fleet.built:
                await self._sleep(self._world.building)
            tell.progress(number, len(wanted))
        broken = [system for system in wanted if system in self._world.unbuildable]
        if broken:
            raise StepFailed(f"{', '.join(broken)} failed")
        return Result()

    async def _register(self, step: Step, _tell: Tell) -> Result:
        wanted = self._wanted.get(step.system)
        if wanted and wanted.error:
            raise StepFailed(wanted.error, log=wanted.log)
        path = self._path(step)
        size = self._world.size_of(step.system)
        if step.path or path in self._fleet.built:
            how = "kept" if step.path else "present"
            return Result(outcome="unchanged", path=path, how=how, size=size)
        if step.system in self._elsewhere:
            return Result(path=path, derivation=f"{path}.drv", how="instantiated")
        if step.system in self._world.unbuildable:
            raise StepFailed(f"the builder of {step.system} failed")
        if self._options.realise:
            self._fleet.built.add(path)
        return Result(path=path, derivation=f"{path}.drv", how="built", size=size)

    async def _send(self, step: Step, tell: Tell) -> Result:
        host = self._fleet.host(store_host(step.store))
        await self._sleep(host.model.latency)
        host.answer(self._now())
        size = self._world.recipe
        if self._path(step) in host.paths:
            return Result(outcome="unchanged", how="present", size=size)
        await self._copied(host, size, tell)
        return Result(sent=size, size=size)

    async def _build_there(self, step: Step) -> Result:
        host, path = self._fleet.host(store_host(step.store)), self._path(step)
        host.answer(self._now())
        if path in host.paths:
            return Result(outcome="unchanged", path=path, how=f"present on {step.store}")
        await self._sleep(self._world.building)
        host.answer(self._now())
        if step.system in self._world.unbuildable:
            raise StepFailed(f"the builder of {step.system} failed")
        host.paths.add(path)
        return Result(path=path, how=f"built on {step.store}")

    async def _sign(self, step: Step, _tell: Tell) -> Result:
        return Result(path=self._path(step))

    # Content

    async def _push(self, step: Step, tell: Tell) -> Result:
        path, size = self._path(step), self._world.size_of(step.system)
        name = store_host(step.store)
        host = self._fleet.host(name) if name else None
        if host:
            await self._sleep(host.model.latency)
            host.answer(self._now())
        store = self._fleet.store(step.store)
        if path in store:
            return Result(outcome="unchanged", path=path, how="present", size=size)
        await self._copied(host, size, tell)
        store.add(path)
        source = self._source(step, path)
        return Result(path=path, how=f"from {source}" if source else "", sent=0 if source else size, size=size)

    def _source(self, step: Step, path: str) -> str:
        """Return the store from which a step gets a path, the nearest that has it; empty where none does."""
        sources = sources_of(step, self._pushes)
        return next((store for store in sources if path in self._fleet.store(store)), "")

    async def _fetch(self, step: Step, tell: Tell) -> Result:
        host = await self._reached(step)
        path, size = self._path(step), self._world.size_of(step.system)
        if path in host.paths:
            return Result(outcome="unchanged", path=path, how="present", size=size)
        source = self._source(step, path)
        await self._copied(host, size, tell)
        host.paths.add(path)
        how = "from relay" if source == step.store else f"from {source}"
        return Result(path=path, how=how if source else "from here", sent=0 if source else size, size=size)

    async def _copied(self, host: SimulatedHost | None, size: int, tell: Tell) -> None:
        model = host.model if host else _USUAL
        for part in range(1, _PARTS + 1):
            await self._sleep(size / model.bandwidth / _PARTS)
            if host:
                host.answer(self._now())
            if "disk full" in model.faults:
                raise StepFailed("No space left on device.")
            tell.progress(size * part // _PARTS, size)

    # Activation

    async def _activate(self, step: Step, _tell: Tell) -> Result:
        host = await self._reached(step)
        await self._free(host)
        path, previous, kind = self._path(step), host.current, self._options.type
        # As in NixOS, which leaves all but the boot loader alone where the new init does not go with the one that runs.
        waits = host.model.exit == NEEDS_REBOOT and kind in CHANGES_RUNNING and path != host.current
        wanted = (
            path if kind in CHANGES_RUNNING and not waits else host.current,
            path if kind in SETS_PROFILE else host.profile,
        )
        if kind == "dry-activate":
            await self._sleep(host.model.activation)
            return Result(path=path, previous=previous)
        if wanted == (host.current, host.profile) and not waits and not self._options.force:
            return Result(outcome="unchanged", path=path, previous=previous)
        if host.has("lost before"):
            raise LinkLost(f"The link to {host.name} was lost.")
        if path not in host.paths:
            raise StepFailed(f"{path} is not a NixOS system on {host.name}. Nothing was changed.")
        if waits and kind == "test":
            raise StepFailed("the new system takes effect by a reboot only (exit status 100). Nothing was changed.")
        if self._options.confirm and kind != "boot":
            await self._confirmed(host, *wanted)
        else:
            await self._plain(host, *wanted)
        if host.has("lost after"):
            raise LinkLost(f"The link to {host.name} was lost.")
        told = waits or (host.model.exit == UNITS_FAILED and kind in CHANGES_RUNNING)
        warning = activation.warning(host.model.exit, runs=not waits) if told else ""
        outcome: Outcome = "warned" if warning else "done"
        return Result(
            outcome=outcome,
            path=path,
            previous=previous,
            warning=warning,
            until_reboot=warning if waits else "",
            reboot=host.facts(self._now()).reboot_needed,
        )

    async def _free(self, host: SimulatedHost) -> None:
        """Wait until nobody else is activating there, as long as the options allow."""
        until = self._now() + self._options.wait
        while host.is_busy(self._now()):
            if self._now() >= until:
                raise Locked(f"somebody else is at work on {host.name}. Nothing was changed.")
            await self._sleep(_POLL)
        host.settle(self._now())

    async def _confirmed(self, host: SimulatedHost, current: str, profile: str) -> None:
        """Try it and give the word; without the word, the host goes back by itself."""
        before = (host.current, host.profile)
        host.current = current
        host.begin(
            until=self._now() + host.model.activation + self._options.confirm, current=before[0], profile=before[1]
        )
        await self._sleep(host.model.activation)
        by_checks = host.has("checks fail") and self._options.checks
        if by_checks or host.model.exit in (1, 2):
            host.end(now=self._now(), current=before[0], profile=before[1])
            why = _NOT_HELD if by_checks else f"switch-to-configuration failed (exit status {host.model.exit})"
            raise RolledBack(f"{why}; {host.name} runs what it ran before")
        host.end(now=self._now(), current=current, profile=profile)

    async def _plain(self, host: SimulatedHost, current: str, profile: str) -> None:
        """Begin it; it goes on whether we are there or not."""
        failed = host.model.exit in (1, 2)
        reached = host.current if failed else current
        host.begin(until=self._now() + host.model.activation, current=reached, profile=profile)
        await self._sleep(host.model.activation)
        host.end(now=self._now(), current=reached, profile=profile)
        if failed:
            raise StepFailed(f"switch-to-configuration failed (exit status {host.model.exit})")
        if host.has("checks fail") and self._options.checks and self._options.type != "boot":
            raise ChecksFailed(f"{_NOT_HELD}.")

    async def _reboot(self, step: Step, _tell: Tell) -> Result:
        host = await self._reached(step)
        previous = host.current
        if self._options.reboot == "if needed" and not host.facts(self._now()).reboot_needed:
            return Result(outcome="unchanged", path=previous, previous=previous, reboot=False)
        host.restart(self._now())
        await self._sleep(host.model.restart + _POLL)
        host.answer(self._now())
        if self._options.checks and (host.has("breaks later") or host.has("checks fail")):
            raise ChecksFailed(f"{host.name} was rebooted and is back, and {_NOT_HELD}.")
        return Result(path=host.current, previous=previous, reboot=False)

    async def _check(self, step: Step, _tell: Tell) -> Result:
        host = await self._reached(step)
        if host.has("breaks later") or host.has("checks fail"):
            raise ChecksFailed(f"{_NOT_HELD}.")
        return Result(outcome="unchanged")

    def _path(self, step: Step) -> str:
        wanted = self._wanted.get(step.system)
        return step.path or (wanted.path if wanted else "")

    def _now(self) -> float:
        return self._fleet.clock.time()
