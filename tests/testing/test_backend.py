"""A fleet that is not there behaves as a real one would, takes no time, and remembers what happened."""

from __future__ import annotations

import asyncio

import pytest

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.events import StepStarted
from nixhive_nb.plan.plan import Options, Survey
from nixhive_nb.plan.planner import Goal, plan_reboot, plan_rollback
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.clock import VirtualClock
from nixhive_nb.testing.world import HostModel, World
from tests.plan.fleets import CHECK, deploy, instance, inventory, ran

ONE = inventory(instance("a", checks=(CHECK,)))
BEHIND = inventory(instance("door"), instance("inside", "two", store="ssh://door", jump="door"))
OLD = "/nix/store/old"
NEW = World().path("one")


def tried(fault="", *, runs=OLD, exit_status=0, **options):
    """Deploy to one host: its record, and the fleet."""
    model = HostModel(faults=(fault,) if fault else (), exit=exit_status, runs=runs)
    fleet = SimulatedFleet(World(hosts={"a": model}))
    report, _ = ran(deploy(ONE, "a", **options), fleet)
    return report.instances()[0], fleet


def test_a_day_takes_no_time():
    clock = VirtualClock(start=100.0)

    async def waited():
        await asyncio.gather(asyncio.sleep(86_400), asyncio.sleep(0.25))

    with asyncio.Runner(loop_factory=clock.loop) as runner:
        runner.run(waited())
    assert clock.time() == 86_500


def test_a_run_lasts_as_long_as_the_world_says():
    model = HostModel(latency=0, bandwidth=1e6, activation=100)
    fleet = SimulatedFleet(World(hosts={"a": model}, size=50_000_000, evaluation=2, building=30))
    report, _ = ran(deploy(ONE, "a"), fleet)
    assert report.seconds == pytest.approx(2 + 30 + 50 + 100)


@pytest.mark.parametrize(
    ("fault", "outcome", "runs"),
    [
        ("", "done", NEW),
        ("unreachable", "failed", OLD),
        ("disk full", "failed", OLD),
        ("locked", "locked", OLD),
        ("lost before", "unknown", OLD),
        ("lost after", "unknown", NEW),
        ("checks fail", "rolled back", OLD),
        ("breaks later", "done", NEW),
    ],
)
def test_each_fault_has_its_end(fault, outcome, runs):
    record, fleet = tried(fault)
    assert (record.outcome, fleet.runs("a")) == (outcome, (runs, runs))


@pytest.mark.parametrize(
    ("status", "confirm", "outcome", "runs"),
    [
        (1, 30.0, "rolled back", (OLD, OLD)),
        (2, 30.0, "rolled back", (OLD, OLD)),
        (4, 30.0, "warned", (NEW, NEW)),
        (100, 30.0, "warned", (OLD, NEW)),
        (1, 0.0, "failed", (OLD, NEW)),
        (4, 0.0, "warned", (NEW, NEW)),
    ],
)
def test_exit_statuses_are_those_of_switch_to_configuration(status, confirm, outcome, runs):
    record, fleet = tried(exit_status=status, confirm=confirm)
    assert (record.outcome, fleet.runs("a")) == (outcome, runs)


@pytest.mark.parametrize(
    ("kind", "runs"),
    [("switch", (NEW, NEW)), ("boot", (OLD, NEW)), ("test", (NEW, OLD)), ("dry-activate", (OLD, OLD))],
)
def test_each_type_changes_what_it_should(kind, runs):
    assert tried(type=kind)[1].runs("a") == runs


def test_a_host_that_is_as_it_should_be_is_left_alone():
    assert tried(runs=NEW)[0].outcome == "unchanged"


@pytest.mark.parametrize(("confirm", "left"), [(30.0, (OLD, OLD)), (0.0, (NEW, NEW))])
def test_a_host_that_we_leave_in_the_middle_goes_its_way_without_us(confirm, left):
    fleet = SimulatedFleet(World(hosts={"a": HostModel(runs=OLD)}))

    def leave(run, _number, event):
        if isinstance(event, StepStarted) and event.step == "activate:a":
            # Later than its login, and before it has switched.
            asyncio.get_running_loop().call_later(2.0, run.abandon)

    report, _ = ran(deploy(ONE, "a", confirm=confirm), fleet, listener=leave)
    assert report.instances()[0].outcome == "unknown"
    assert fleet.host("a").facts(fleet.clock.time()).holder
    assert fleet.runs("a") == left


def test_a_second_operator_is_refused_or_waits():
    fleet = SimulatedFleet(World(hosts={"a": HostModel(runs=OLD)}))
    fleet.host("a").begin(until=fleet.clock.time() + 300, current=OLD, profile=OLD)
    assert ran(deploy(ONE, "a"), fleet)[0].instances()[0].outcome == "locked"
    assert ran(deploy(ONE, "a", wait=600.0), fleet)[0].instances()[0].outcome == "done"


def test_who_is_behind_a_host_that_does_not_answer_is_not_reached():
    world = World(hosts={"door": HostModel(faults=("unreachable",))})
    report, _ = ran(deploy(BEHIND, "inside"), SimulatedFleet(world))
    record = report.instances()[0]
    assert (record.outcome, record.reason) == ("skipped", "push:two>ssh://door failed: door does not answer.")


def test_content_comes_from_the_relay_and_leaves_here_once():
    fleet = SimulatedFleet(World(size=1000))
    report, _ = ran(deploy(BEHIND, "*"), fleet)
    inside = report.instances()[1]
    assert (inside.how, inside.sent) == ("from relay", 0)
    assert report.sent == 2000
    assert fleet.world.path("two") in fleet.store("ssh://door")


def test_the_next_run_finds_what_this_one_left():
    fleet = SimulatedFleet(World())
    assert ran(deploy(ONE, "a"), fleet)[0].counts() == {"done": 1}
    assert ran(deploy(ONE, "a"), fleet)[0].counts() == {"unchanged": 1}


def test_a_reboot_starts_what_the_profile_has():
    fleet = SimulatedFleet(World(hosts={"a": HostModel(runs=OLD)}))
    ran(deploy(ONE, "a", type="boot"), fleet)
    targets = select_instances(ONE, ["*"])
    report, _ = ran(plan_reboot(ONE, targets, Options(reboot="always"), Survey()), fleet)
    assert report.instances()[0].outcome == "done"
    assert fleet.host("a").booted == NEW


def test_a_reboot_only_if_needed_is_left_out_where_it_is_not():
    record, fleet = tried(runs=NEW, reboot="if needed")
    assert record.outcome == "unchanged"
    assert fleet.host("a").boots == 1
    assert tried(reboot="if needed")[1].host("a").boots == 2


def test_what_took_effect_at_the_reboot_that_followed_is_done():
    """A9."""
    record, fleet = tried(exit_status=100, reboot="if needed")
    assert (record.outcome, record.reason) == ("done", "")
    assert fleet.host("a").booted == NEW


@pytest.mark.parametrize("fault", ["checks fail", "breaks later"])
def test_a_host_that_comes_back_and_does_not_work_is_told(fault):
    """Case 21."""
    record, fleet = tried(fault, type="boot", reboot="always")
    assert (record.outcome, record.failed_step) == ("failed", "reboot")
    assert "was rebooted and is back" in record.reason
    assert fleet.host("a").booted == NEW


def test_what_is_booted_next_is_rebooted_into_if_needed():
    """A8."""
    fleet = SimulatedFleet(World(hosts={"a": HostModel(runs=OLD)}))
    ran(deploy(ONE, "a", type="boot"), fleet)
    targets = select_instances(ONE, ["*"])
    plan = plan_reboot(ONE, targets, Options(reboot="if needed"), Survey())
    assert [ran(plan, fleet)[0].instances()[0].outcome for _ in range(2)] == ["done", "unchanged"]


def test_a_rollback_goes_to_its_goal():
    _, fleet = tried()
    goals = {"a": Goal(OLD, 1)}
    report, _ = ran(plan_rollback(ONE, select_instances(ONE, ["*"]), Options(), goals, Survey()), fleet)
    assert report.ok
    assert fleet.runs("a") == (OLD, OLD)


def test_a_seed_gives_the_same_world_again():
    names = [f"h{number}" for number in range(200)]
    world = World.seeded(names, 7, share=0.5)
    assert world == World.seeded(names, 7, share=0.5)
    assert world != World.seeded(names, 8, share=0.5)
    faulty = [model for model in world.hosts.values() if model.faults or model.exit]
    assert 50 < len(faulty) < 150
    assert not [model for model in World.seeded(names, 7, share=0).hosts.values() if model.faults or model.exit]


def test_who_sleeps_by_the_clock_and_who_sleeps_by_the_loop_live_in_one_time():
    clock, woken = VirtualClock(), []

    async def after(sleep, seconds):
        await sleep(seconds)
        woken.append((seconds, clock.elapsed))

    async def main():
        gone = asyncio.create_task(clock.sleep(0.5))
        sleeps = (asyncio.sleep, clock.sleep, clock.sleep, asyncio.sleep, clock.sleep)
        others = [asyncio.create_task(after(sleep, one)) for sleep, one in zip(sleeps, (1, 2, 3, 4, 0), strict=True)]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(*others)

    with asyncio.Runner(loop_factory=clock.loop) as runner:
        runner.run(main())
    assert woken == [(seconds, pytest.approx(seconds)) for seconds in (0, 1, 2, 3, 4)]
    assert clock.elapsed == pytest.approx(4)


def test_without_a_loop_of_its_own_a_clock_sleeps_as_anybody():
    asyncio.run(VirtualClock().sleep(0.001))
