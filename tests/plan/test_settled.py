"""What hosts say makes the steps of a deploy, or leaves them out."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.drift import differences
from nixhive_nb.plan.events import GOOD
from nixhive_nb.plan.facts import HostFacts, Seen, Wanted
from nixhive_nb.plan.plan import Options, Survey
from nixhive_nb.plan.settled import is_settled, settled
from nixhive_nb.plan.survey import targets_of
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import HostModel, World
from tests.plan.fleets import CHECK, by_id, cases, deploy, fleet_of, instance, inventory, ran, surveyed
from tests.speed import examples

NEW, OLD = "/nix/store/simulated-1-one", "/nix/store/old"
GOOD_FACTS = HostFacts(current=NEW, profile=NEW, booted=NEW)
INVENTORY = inventory(
    instance("relay"),
    *(instance(f"www-{number}", "two", store="ssh://relay", checks=(CHECK,)) for number in (1, 2, 3)),
)


def world(*settled_ones, **faults):
    """A fleet of which these run and boot what is wanted; the others are outdated."""
    here = World()
    return World(
        hosts={
            name: HostModel(
                runs=here.path(one.system) if name in settled_ones else OLD,
                faults=(faults[name],) if name in faults else (),
            )
            for name, one in INVENTORY.instances.items()
        }
    )


def planned(fleet, *patterns, **options):
    return deploy(INVENTORY, *patterns, survey=surveyed(INVENTORY, fleet, *patterns), **options)


@pytest.mark.parametrize(
    ("facts", "options", "left"),
    [
        ({}, {}, True),
        ({"loader": NEW}, {}, True),
        ({"failed_units": ("a.service",)}, {}, True),
        ({"current": OLD}, {}, False),
        ({"current": "/nix/store/special", "base": NEW}, {}, True),
        ({"profile": OLD}, {}, False),
        ({"loader": OLD}, {}, False),
        ({"unclean": NEW}, {}, False),
        ({"holder": "bob"}, {}, False),
        ({"current": OLD}, {"type": "boot"}, True),
        ({"profile": OLD}, {"type": "boot"}, False),
        ({"profile": OLD}, {"type": "test"}, True),
        ({}, {"type": "dry-activate"}, False),
        ({}, {"reboot": "always"}, False),
        ({}, {"reboot": "if needed"}, True),
        ({"booted_kernel": ("/nix/store/k",), "current_kernel": ("/nix/store/l",)}, {}, True),
        ({"booted_kernel": ("/nix/store/k",), "current_kernel": ("/nix/store/l",)}, {"reboot": "if needed"}, False),
    ],
)
def test_a_host_is_left_alone_only_where_nothing_at_all_is_left_to_do(facts, options, left):
    assert is_settled(msgspec.structs.replace(GOOD_FACTS, **facts), NEW, Options(**options)) is left


def test_a_host_that_was_not_asked_or_whose_system_is_not_known_is_not_left_alone():
    targets = targets_of(INVENTORY, select_instances(INVENTORY, ("relay",)))
    seen = (Seen(instance="relay", facts=GOOD_FACTS),)
    known = Survey(targets=targets, wanted=(Wanted(system="one", path=NEW),), seen=seen)
    assert settled(known, Options()) == {"relay": NEW}
    assert settled(known, Options(force=True)) == {}
    assert settled(msgspec.structs.replace(known, wanted=(Wanted(system="one", error="no"),)), Options()) == {}
    assert settled(msgspec.structs.replace(known, seen=(Seen(instance="relay", error="away"),)), Options()) == {}
    assert settled(None, Options()) == {}


def test_a_fleet_that_is_as_wanted_gets_one_step_a_host_and_none_for_its_systems():
    fleet = SimulatedFleet(world("relay", "www-1", "www-2", "www-3"))
    plan = planned(fleet)
    assert {step.kind for step in plan.steps} == {"probe", "gate"}
    report, _ = ran(plan, fleet)
    assert report.counts() == {"unchanged": 4}
    assert all(one.how.startswith("as seen at ") and one.how.endswith(" UTC") for one in report.instances())
    assert {one.system: one.result for one in report.systems()} == {name: World().path(name) for name in ("one", "two")}
    assert not any(step.started is None for step in report.steps.values() if step.kind == "probe")


def test_what_one_host_needs_is_built_and_brought_for_that_one_alone():
    fleet = SimulatedFleet(world("relay", "www-1", "www-3"))
    plan = planned(fleet)
    kinds = {step.id for step in plan.steps if step.kind not in ("gate", "check")}
    assert kinds == {
        "build",
        "register:two",
        "sign:two",
        "push:two>ssh://relay",
        "fetch:www-2",
        "activate:www-2",
        "probe:relay",
        "probe:www-1",
        "probe:www-3",
    }
    report, _ = ran(plan, fleet)
    assert report.counts() == {"unchanged": 3, "done": 1}
    assert fleet.runs("www-2") == (World().path("two"),) * 2


def test_a_relay_that_is_not_as_wanted_has_steps_of_its_own_and_those_behind_it_none():
    plan = planned(SimulatedFleet(world("www-1", "www-2", "www-3")))
    own = {
        name: [by_id(plan)[one].kind for one in ids if by_id(plan)[one].kind != "check"]
        for name, ids in plan.own_steps().items()
    }
    assert own == {"relay": ["fetch", "activate"], "www-1": ["probe"], "www-2": ["probe"], "www-3": ["probe"]}


def test_forced_and_rebooting_deploys_keep_all_of_their_steps():
    fleet = SimulatedFleet(world("relay", "www-1", "www-2", "www-3"))
    for options in ({"force": True}, {"reboot": "always"}, {"type": "dry-activate"}):
        assert not [step for step in planned(fleet, **options).steps if step.kind == "probe"]


def test_checks_between_waves_look_at_hosts_that_were_left_alone_and_hold_the_next_wave_back():
    fleet = SimulatedFleet(world("relay", "www-1", **{"www-1": "breaks later"}))
    plan = planned(fleet, "relay", "www-1", "www-[23]")
    report, _ = ran(plan, fleet)
    outcomes = {one.instance: one.outcome for one in report.instances()}
    assert outcomes == {"relay": "unchanged", "www-1": "failed", "www-2": "skipped", "www-3": "skipped"}
    assert fleet.runs("www-2") == (OLD, OLD)


def test_a_canary_that_was_left_alone_counts_as_good():
    fleet = SimulatedFleet(world("relay", "www-1"))
    report, _ = ran(planned(fleet, "relay", "*", canary=1), fleet)
    assert report.counts() == {"unchanged": 2, "done": 2}


def test_a_host_that_was_changed_since_is_found_when_what_it_said_is_stale():
    fleet = SimulatedFleet(world("relay", "www-1", "www-2", "www-3"))
    plan = planned(fleet)
    fleet.host("www-1").end(now=fleet.clock.time(), current=OLD, profile=OLD)
    # What it said is fresh: it is believed, as it would be had the other come a moment later.
    assert ran(plan, fleet)[0].counts() == {"unchanged": 4}
    fleet.clock.advance(61)
    report, _ = ran(plan, fleet)
    assert {one.instance for one in report.instances() if one.outcome == "failed"} == {"www-1"}
    assert not report.ok


def test_a_plan_tells_what_was_left_alone_and_is_not_as_wanted_any_more():
    fleet = SimulatedFleet(world("relay", "www-1", "www-2", "www-3"))
    plan = planned(fleet)

    def broken(one):
        return msgspec.structs.replace(one, facts=msgspec.structs.replace(one.facts, unclean=NEW))

    survey = surveyed(INVENTORY, fleet)
    seen = tuple(broken(one) if one.instance == "www-2" else one for one in survey.seen)
    fresh = deploy(INVENTORY, survey=msgspec.structs.replace(survey, seen=seen))
    (line,) = differences(plan, fresh)
    assert line.startswith("www-2: the plan leaves it as it is, and now it is not as wanted")
    (line,) = differences(fresh, plan)
    assert line == "www-2: it is as wanted now, and was not when the plan was made"
    assert plan.digest != fresh.digest


@settings(max_examples=examples(80), deadline=None)
@given(cases())
def test_with_what_hosts_say_a_run_ends_as_it_would_without(case):
    inv, patterns, options, world_ = case
    with_it, without = fleet_of(world_), fleet_of(world_)
    knowing = deploy(inv, *patterns, survey=surveyed(inv, with_it, *patterns), **options)
    report, _ = ran(knowing, with_it)
    for one in report.instances():
        if one.outcome in GOOD and one.how.startswith("as seen"):
            assert with_it.runs(one.instance) == (with_it.world.path(one.system),) * 2
    blind, _ = ran(deploy(inv, *patterns, **options), without)
    if blind.ok:
        assert report.ok
        assert {name: with_it.runs(name) for name in inv.instances} == {
            name: without.runs(name) for name in inv.instances
        }
