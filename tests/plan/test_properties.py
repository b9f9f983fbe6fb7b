"""What holds of every run, whatever the fleet looks like and whatever breaks: tried on simulated fleets."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.events import BAD, GOOD, Outcome, StepEnded, StepStarted
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_transfer
from nixhive_nb.plan.settled import confirmed
from nixhive_nb.plan.step import CHANGING
from nixhive_nb.run.limits import Limits
from tests.plan.fleets import by_id, cases, deploy, fleet_of, in_order, ran, surveyed
from tests.speed import examples

few = settings(max_examples=examples(80), deadline=None)


def made(case):
    """The plan of a case, and its fleet."""
    inv, patterns, options, world = case
    return deploy(inv, *patterns, **options), fleet_of(world)


@few
@given(cases())
def test_a_step_never_runs_before_what_it_needs(case):
    plan, fleet = made(case)
    _, events = ran(plan, fleet)
    ends = {}
    for event in events:
        if isinstance(event, StepStarted):
            step = by_id(plan)[event.step]
            assert all(ends[name] in GOOD for name in step.needs)
            assert all(name in ends for name in step.after)
        elif isinstance(event, StepEnded):
            ends[event.step] = event.outcome


@few
@given(cases(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_limits_are_never_passed(case, parallel, per_jump, per_store):
    plan, fleet = made(case)
    limits = Limits(parallel=parallel, per_jump=per_jump, per_store=per_store, evaluations=1)
    steps, held, begun = by_id(plan), Counter(), set()

    def watch(_run, _number, event):
        if isinstance(event, StepStarted):
            begun.add(event.step)
            held.update(steps[event.step].locks)
            assert all(held[lock] <= limits.of(lock) for lock in steps[event.step].locks)
        elif isinstance(event, StepEnded) and event.step in begun:
            held.subtract(steps[event.step].locks)

    report, _ = ran(plan, fleet, limits=limits, listener=watch)
    assert None not in {record.outcome for record in report.steps.values()}


@few
@given(cases())
def test_every_instance_ends_in_exactly_one_outcome(case):
    plan, fleet = made(case)
    report, events = ran(plan, fleet)
    ends = Counter(event.step for event in events if isinstance(event, StepEnded))
    assert ends == Counter(step.id for step in plan.steps)
    records = report.instances()
    assert [one.instance for one in records] == [target.instance for target in plan.targets]
    for one in records:
        assert one.outcome in get_args(Outcome)
        assert bool(one.reason) or one.outcome in GOOD
        assert bool(one.failed_step) == (one.outcome not in GOOD)
    assert report.ok == all(one.outcome in GOOD for one in records)


@few
@given(cases())
def test_a_good_outcome_is_true_of_the_host(case):
    plan, fleet = made(case)
    report, _ = ran(plan, fleet)
    for one in report.instances():
        if one.outcome in GOOD:
            wanted = fleet.world.path(one.system)
            runs, boots = fleet.runs(one.instance)
            assert boots == wanted
            # What takes effect at a reboot only is told as that, and no success is.
            assert runs == wanted or (one.outcome == "warned" and "takes effect at the next reboot" in one.reason)


@few
@given(cases())
def test_a_wave_never_starts_before_the_one_ahead_is_settled(case):
    plan, fleet = made(case)
    _, events = ran(plan, fleet)
    at = in_order(events)
    place = {target.instance: (target.wave, target.batch) for target in plan.targets}
    own = [step for step in plan.steps if step.kind in (*CHANGING, "check")]
    for late in own:
        if at[late.id][0] is None or late.kind == "check":
            continue
        for early in own:
            if place[early.instance] < place[late.instance]:
                assert at[early.id][1] < at[late.id][0]


@few
@given(cases())
def test_nothing_is_activated_past_max_failures(case):
    plan, fleet = made(case)
    steps, failed = by_id(plan), set()

    def watch(_run, _number, event):
        if isinstance(event, StepEnded) and event.outcome in BAD:
            failed.add(steps[event.step].instance)
            failed.discard("")
        elif isinstance(event, StepStarted) and steps[event.step].kind in CHANGING:
            assert plan.allowed is None or len(failed) <= plan.allowed

    ran(plan, fleet, listener=watch)


@few
@given(cases())
def test_after_a_canary_or_a_check_that_failed_nothing_later_is_touched(case):
    plan, fleet = made(case)
    report, events = ran(plan, fleet)
    at = in_order(events)
    order = [step.id for step in plan.steps if step.kind == "gate" and "before its checks" not in step.id]
    place = {target.instance: (target.wave, target.batch) for target in plan.targets}
    gates = {gate: max(place[steps.instance] for steps in members(plan, gate)) for gate in order}
    for gate in order:
        own = {step.instance for step in members(plan, gate)}
        outcomes = [one.outcome for one in report.instances() if one.instance in own]
        checks = [report.steps[step.id].outcome for step in members(plan, gate) if step.kind == "check"]
        is_closed = (by_id(plan)[gate].strict and any(one not in GOOD for one in outcomes)) or "failed" in checks
        if is_closed:
            assert report.steps[gate].outcome in ("failed", "skipped")
            for step in plan.steps:
                if step.kind in CHANGING and place[step.instance] > gates[gate]:
                    assert at[step.id][0] is None


def members(plan, gate):
    steps = by_id(plan)
    return [steps[name] for name in steps[gate].after if steps[name].instance]


@few
@given(cases(), st.integers(1, 60), st.booleans())
def test_cancel_at_any_event_leaves_no_step_running_and_begins_none(case, moment, at_once):
    plan, fleet = made(case)
    begun_after = []

    def interrupt(run, number, event):
        if number == moment:
            (run.abandon if at_once else run.stop)()
        elif number > moment and isinstance(event, StepStarted):
            begun_after.append(event.step)

    watched = Watched(fleet.backend(plan))
    report, _ = ran(plan, fleet, listener=interrupt, backend=watched)
    assert all(record.outcome is not None for record in report.steps.values())
    assert begun_after == []
    assert watched.running == []
    if not at_once:
        assert not watched.cut & set(CHANGING), "only a second interrupt may cut an activation"


class Watched:
    """A backend that keeps count of what runs on another, and of the kinds of steps that were cut off."""

    def __init__(self, backend):
        self.backend = backend
        self.running = []
        self.cut = set()

    async def perform(self, step, tell):
        self.running.append(step.id)
        try:
            return await self.backend.perform(step, tell)
        except asyncio.CancelledError:
            self.cut.add(step.kind)
            raise
        finally:
            self.running.remove(step.id)


def final(case, moment=None):
    """What the hosts run and boot after a deploy; with a moment, one that was killed there and then resumed."""
    inv, patterns, options, world = case
    fleet = fleet_of(world)

    def kill(run, number, _event):
        if number == moment:
            run.abandon()

    # Whoever resumes waits until a host that was left in the middle is free again.
    options = {**options, "wait": 600.0}
    ran(deploy(inv, *patterns, **options), fleet, listener=kill)
    if moment is not None:
        if options["reboot"] != "never":
            # A host that is just rebooting answers nobody; it has to be back.
            fleet.clock.advance(60)
        survey = surveyed(inv, fleet, *patterns)
        done = confirmed(survey, "deploy", Options(**options))
        again = plan_transfer(
            inv,
            select_instances(inv, patterns),
            "deploy",
            Options(**options),
            survey=survey,
            leave_out=done,
        )
        assert not done & {target.instance for target in again.targets}
        ran(again, fleet)
    return {name: fleet.runs(name) for name in inv.instances}


@few
@given(cases(faults=False), st.integers(1, 120))
def test_resume_after_a_kill_at_any_event_ends_as_an_undisturbed_run(case, moment):
    assert final(case, moment) == final(case)


@few
@given(cases(), st.integers(1, 120))
def test_so_it_does_where_hosts_are_broken_and_no_failure_holds_others_back(case, moment):
    inv, patterns, options, world = case
    free = {**options, "canary": 0, "max_failures": "", "checks": False}
    assert final((inv, patterns, free, world), moment) == final((inv, patterns, free, world))
