"""What begins to be built before a plan is whole is what the plan builds then, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.early import Early
from nixhive_nb.plan.facts import HostFacts, Wanted
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_transfer
from nixhive_nb.plan.settled import confirmed
from nixhive_nb.plan.survey import targets_of
from tests.plan.fleets import cases, fleet_of, instance, inventory, surveyed
from tests.speed import examples

NEW, OLD = (f"/nix/store/{letter * 32}-one" for letter in "ab")
WANTED = Wanted(system="one", path=NEW, derivation=f"{NEW}.drv")
FLEET = inventory(instance("www-1"), instance("www-2"))
AS_WANTED, OTHER = (HostFacts(current=path, profile=path, booted=path) for path in (NEW, OLD))


def early(verb="deploy", here=("one",), **options):
    return Early(verb, targets_of(FLEET, select_instances(FLEET, ())), Options(**options), here)


def taken(one, what, each):
    """What can be built once this is found out."""
    if what == "evaluated":
        return one.evaluated([each])
    return one.asked(each.instance, each.facts) if what == "asked" else one.measured(each.instance, each.moves)


@settings(max_examples=examples(150), deadline=None)
@given(cases(), st.sampled_from(["deploy", "push"]), st.booleans(), st.data())
def test_in_whatever_order_answers_come_what_begins_is_what_the_plan_builds(case, verb, resumes, data):
    inv, patterns, options, world = case
    options = {**options, "force": data.draw(st.booleans())}
    found = surveyed(inv, fleet_of(world), *patterns)
    moves = (data.draw(st.sampled_from([None, 0, 5])) for _ in found.seen)
    seen = [msgspec.structs.replace(one, moves=lacks) for one, lacks in zip(found.seen, moves, strict=True)]
    found = msgspec.structs.replace(found, seen=tuple(seen))
    targets = select_instances(inv, patterns)
    done = confirmed(found, verb, Options(**options)) if resumes else ()
    plan = plan_transfer(inv, targets, verb, Options(**options), survey=found, leave_out=done)
    one = Early(verb, found.targets, plan.options, [*inv.systems], resumes=resumes)
    asked = [(name, each) for name in ("asked", "measured") for each in seen]
    news = data.draw(st.permutations([*(("evaluated", each) for each in found.wanted), *asked]))
    told = [new.system for what, each in news for new in taken(one, what, each)]
    built = {system for step in plan.steps if step.kind == "build" for system in step.systems}
    assert sorted(told) == sorted(built)


def test_a_system_begins_with_the_first_host_that_does_not_run_it():
    one = early()
    assert one.evaluated([WANTED]) == []
    assert one.asked("www-1", AS_WANTED) == []
    assert one.asked("www-2", OTHER) == [WANTED]
    assert one.asked("www-1", OTHER) == []


def test_of_a_host_that_did_not_answer_it_is_not_known_that_it_needs_nothing():
    one = early()
    assert one.asked("www-1", None) == []
    assert one.evaluated([WANTED]) == [WANTED]


@pytest.mark.parametrize(("verb", "options"), [("build", {}), ("push", {}), ("deploy", {"force": True})])
def test_what_is_built_whatever_hosts_say_begins_at_once(verb, options):
    assert early(verb, **options).evaluated([WANTED]) == [WANTED]


def test_a_deploy_that_goes_on_builds_nothing_for_hosts_that_are_done_even_with_force():
    one = Early("deploy", targets_of(FLEET, select_instances(FLEET, ())), Options(force=True), ("one",), resumes=True)
    assert one.evaluated([WANTED]) == []
    assert one.asked("www-1", AS_WANTED) == []
    assert one.asked("www-2", OTHER) == [WANTED]


@pytest.mark.parametrize("lacks", [None, 7])
def test_a_push_that_goes_on_builds_for_a_host_that_lacks_something(lacks):
    one = Early("push", targets_of(FLEET, select_instances(FLEET, ())), Options(), ("one",), resumes=True)
    assert one.evaluated([WANTED]) == []
    assert one.measured("www-1", 0) == []
    assert one.measured("www-2", lacks) == [WANTED]


def test_what_cannot_be_evaluated_and_what_is_built_elsewhere_never_begins():
    broken = Wanted(system="one", error="no such option")
    assert early("push").evaluated([broken]) == []
    assert early("push", here=()).evaluated([WANTED]) == []
    assert early("push").evaluated([msgspec.structs.replace(WANTED, derivation="")]) == []
