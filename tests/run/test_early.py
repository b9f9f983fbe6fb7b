"""What begins while a survey goes on: what its answers make sure, and nothing of a survey that is stopped."""

from __future__ import annotations

import contextlib

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.early import Early
from nixhive_nb.plan.events import Result, StepEnded, StepStarted
from nixhive_nb.plan.facts import HostFacts, Wanted
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.survey import plan_survey
from nixhive_nb.run.early import beginning
from nixhive_nb.run.engine import Run
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import HostModel, World
from tests.plan.fleets import instance, inventory

FLEET = inventory(instance("old", "one"), instance("new", "two"), instance("away", "three"))


def begun(*, stop=False):
    """The systems whose builds begin while a simulated fleet is asked."""
    world = World()
    hosts = {"new": HostModel(runs=world.path("two")), "away": HostModel(faults=("unreachable",))}
    fleet = SimulatedFleet(World(hosts=hosts))
    plan = plan_survey(FLEET, select_instances(FLEET, ()), Options())
    early, found, shown = Early("deploy", plan.targets, Options(), [*FLEET.systems]), [], []
    run = Run(plan, fleet.backend(plan), clock=fleet.clock.time, loop_factory=fleet.clock.loop)

    @contextlib.contextmanager
    def follow(_run):
        shown.append("from the start")
        yield
        shown.append("to the end")

    if stop:
        run.record(lambda event: run.stop() if isinstance(event, StepStarted) else None)
    with beginning(early, found.extend, follow)(run):
        assert run.start().wait(60)
        assert run.heard_out(60)
    assert shown == ["from the start", "to the end"]
    return sorted(one.system for one in found)


def test_what_a_host_needs_begins_and_what_all_run_does_not():
    assert begun() == ["one", "three"]


def test_what_is_stopped_begins_nothing():
    assert begun(stop=True) == []


def test_it_needs_nobody_who_follows():
    fleet = SimulatedFleet(World())
    plan = plan_survey(FLEET, select_instances(FLEET, ()), Options())
    found = []
    run = Run(plan, fleet.backend(plan), clock=fleet.clock.time, loop_factory=fleet.clock.loop)
    with beginning(Early("push", plan.targets, Options(), [*FLEET.systems]), found.extend, None)(run):
        assert run.start().wait(60)
        assert run.heard_out(60)
    assert sorted(one.system for one in found) == ["one", "three", "two"]


class Probed:
    """A run whose events a test gives."""

    def __init__(self, plan):
        self.plan = plan

    def subscribe(self, hear):
        self.hear = hear


def test_nothing_begins_before_each_login_was_seen_to_become_root():
    plan = plan_survey(FLEET, select_instances(FLEET, ()), Options())
    run, found = Probed(plan), []
    wanted = (Wanted(system="one", path="/nix/store/one", derivation="/nix/store/one.drv"),)
    early = Early("deploy", plan.targets, Options(), [*FLEET.systems])
    with beginning(early, found.extend, None)(run):
        run.hear(StepEnded(time=0, step="probe:old", outcome="unchanged", result=Result(facts=HostFacts())))
        run.hear(StepEnded(time=0, step="instantiate:one", outcome="done", result=Result(wanted=wanted)))
        run.hear(StepEnded(time=0, step="probe:away", outcome="failed"))
        assert found == []
        asked = Result(facts=HostFacts(), powerless="sudo asks for a password")
        run.hear(StepEnded(time=0, step="probe:new", outcome="unchanged", result=asked))
        assert found == []
        run.hear(StepEnded(time=0, step="probe:new", outcome="unchanged", result=Result(facts=HostFacts())))
    assert [one.system for one in found] == ["one"]
