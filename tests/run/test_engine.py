"""The engine runs any plan to its end, in order, within its limits, whatever fails."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixhive_nb.errors import ChecksFailed, HiveError, LinkLost, Locked, RolledBack
from nixhive_nb.plan.events import Result, StepEnded, StepStarted, Stopping
from nixhive_nb.plan.plan import Plan
from nixhive_nb.plan.step import Step
from nixhive_nb.run.engine import Run
from nixhive_nb.run.limits import Limits
from nixhive_nb.testing.clock import VirtualClock
from tests.speed import examples

GOOD = ("done", "unchanged")


class Scripted:
    """A backend whose steps end as told, after giving way to others some times."""

    def __init__(self, ends=None, *, limits=None):
        self.ends = ends or {}
        self.limits = limits
        self.running: Counter[str] = Counter()
        self.passed: list[str] = []
        self.done: set[str] = set()
        self.ran: list[str] = []

    async def perform(self, step, tell):
        self.ran.append(step.id)
        self.running.update(step.locks)
        if self.limits:
            self.passed += [lock for lock in step.locks if self.running[lock] > self.limits.of(lock)]
        for _ in range(len(step.id) % 3):
            await asyncio.sleep(0)
        self.running.subtract(step.locks)
        end = self.ends.get(step.id, "done")
        if isinstance(end, Exception):
            raise end
        self.done.add(step.id)
        return Result(outcome=end)


def plan_of(*steps, verb="deploy"):
    return Plan(verb=verb, source="test", systems=(), targets=(), steps=tuple(steps))


def step(name, *, needs=(), after=(), locks=(), kind="fetch"):
    return Step(id=name, kind=kind, needs=tuple(needs), after=tuple(after), locks=tuple(locks))


def outcomes(plan, backend, limits=None):
    run = Run(plan, backend, limits=limits)
    events = []
    run.subscribe(events.append)
    assert run.start().wait(30)
    return {name: record.outcome for name, record in run.report().steps.items()}, events


@st.composite
def plans(draw):
    count = draw(st.integers(1, 12))
    steps = []
    for number in range(count):
        earlier = st.lists(st.sampled_from([f"s{i}" for i in range(number)]), max_size=3, unique=True)
        needs, after = (draw(earlier), draw(earlier)) if number else ([], [])
        locks = draw(st.lists(st.sampled_from(["all", "jump:a", "jump:b", "store:x"]), max_size=3, unique=True))
        steps.append(step(f"s{number}", needs=needs, after=after, locks=locks))
    return plan_of(*steps)


ENDS = st.sampled_from(["done", "unchanged", HiveError("no"), LinkLost("gone"), ValueError("a bug")])


@settings(max_examples=examples(150), deadline=None)
@given(plans(), st.dictionaries(st.integers(0, 11).map("s{}".format), ENDS), st.integers(1, 4), st.integers(1, 3))
def test_any_plan_ends_with_each_step_in_one_outcome(plan, ends, parallel, per_jump):
    limits = Limits(parallel=parallel, per_jump=per_jump)
    backend = Scripted(ends, limits=limits)
    found, events = outcomes(plan, backend, limits)

    assert backend.passed == [], "a limit was passed"
    assert len(backend.ran) == len(set(backend.ran)), "a step ran twice"
    settled = set()
    for event in events:
        if isinstance(event, StepStarted):
            one = next(s for s in plan.steps if s.id == event.step)
            assert {*one.needs, *one.after} <= settled, "a step began before what it waits for had ended"
        elif isinstance(event, StepEnded):
            assert event.step not in settled, "a step ended twice"
            settled.add(event.step)
    for one in plan.steps:
        broken = any(found[need] not in GOOD for need in one.needs)
        assert (found[one.id] == "skipped") == broken
        if not broken:
            end = ends.get(one.id, "done")
            assert found[one.id] == ("failed" if isinstance(end, Exception) else end)


def test_a_failed_step_skips_what_needs_it_and_names_the_root():
    plan = plan_of(step("a"), step("b", needs=["a"]), step("c", needs=["b"]), step("d"))
    run = Run(plan, Scripted({"a": HiveError("no space left")})).start()
    run.wait()
    records = run.report().steps
    assert records["d"].outcome == "done"
    assert [records[name].outcome for name in "abc"] == ["failed", "skipped", "skipped"]
    assert records["c"].cause == "a"
    assert records["a"].reason == "no space left"


def test_a_step_that_only_comes_after_a_failed_one_runs():
    found, _ = outcomes(plan_of(step("a"), step("b", after=["a"])), Scripted({"a": HiveError("no")}))
    assert found == {"a": "failed", "b": "done"}


def test_a_lost_link_in_an_activation_is_unknown_and_elsewhere_a_failure():
    plan = plan_of(step("fetch"), step("activate", kind="activate"))
    found, _ = outcomes(plan, Scripted({"fetch": LinkLost("gone"), "activate": LinkLost("gone")}))
    assert found == {"fetch": "failed", "activate": "unknown"}


def test_a_bug_in_a_step_fails_that_step_alone_and_keeps_its_traceback():
    run = Run(plan_of(step("a"), step("b")), Scripted({"a": ZeroDivisionError("oops")})).start()
    run.wait()
    records = run.report().steps
    assert records["b"].outcome == "done"
    assert "bug in nixhive_nb" in records["a"].reason
    assert any("ZeroDivisionError" in line for line in records["a"].log)


@pytest.mark.parametrize(
    ("error", "activation", "other"),
    [
        (RolledBack("back"), "rolled back", "rolled back"),
        (Locked("ann holds it"), "locked", "locked"),
        (LinkLost("gone"), "unknown", "failed"),
        (ChecksFailed("listens: nothing does"), "failed", "failed"),
        (OSError(28, "No space left on device"), "failed", "failed"),
    ],
)
def test_outcomes_are_told_apart(error, activation, other):
    plan = plan_of(step("activate", kind="activate"), step("reboot", kind="reboot"), step("fetch"))
    found, _ = outcomes(plan, Scripted(dict.fromkeys(["activate", "reboot", "fetch"], error)))
    assert found == {"activate": activation, "reboot": activation, "fetch": other}


def test_what_is_done_with_warnings_is_good_enough_for_what_needs_it():
    found, _ = outcomes(plan_of(step("a"), step("b", needs=["a"])), Scripted({"a": "warned"}))
    assert found == {"a": "warned", "b": "done"}


def test_a_pause_is_no_work_of_a_backend_and_takes_its_time():
    clock, backend = VirtualClock(), Scripted()
    pause = Step(id="pause:1", kind="pause", seconds=3600.0)
    run = Run(plan_of(pause), backend, clock=clock.time, loop_factory=clock.loop).start()
    assert run.wait(10)
    assert backend.ran == []
    assert run.report().seconds == 3600


def test_a_stop_ends_a_pause_early():
    begun = threading.Event()
    run = Run(plan_of(Step(id="pause:1", kind="pause", seconds=3600.0), step("later", after=["pause:1"])), Scripted())
    run.subscribe(lambda event: begun.set() if isinstance(event, StepStarted) else None)
    run.start()
    assert begun.wait(10)
    run.stop()
    assert run.wait(10)
    assert {record.outcome for record in run.report().steps.values()} == {"cancelled"}


def test_a_stop_before_the_start_begins_nothing():
    backend = Scripted()
    run = Run(plan_of(step("a"), step("b", needs=["a"])), backend)
    run.stop()
    assert run.start().wait(10)
    assert backend.ran == []
    assert {record.outcome for record in run.report().steps.values()} == {"cancelled"}


def test_a_stop_is_told_once_however_often_it_is_asked_for():
    backend = Held()
    run = Run(plan_of(step("activate", kind="activate")), backend)
    events = []
    run.subscribe(events.append)
    run.start()
    assert backend.begun.acquire(timeout=10)
    run.stop()
    run.stop()
    run.abandon()
    assert run.wait(10)
    assert len([event for event in events if isinstance(event, Stopping)]) == 1


def test_steps_that_wait_for_each_other_are_our_bug_and_no_endless_run():
    run = Run(plan_of(step("a", needs=["b"]), step("b", needs=["a"])), Scripted()).start()
    assert run.wait(10)
    with pytest.raises(RuntimeError, match="wait for each other: a, b"):
        run.report()


class Held:
    """A backend whose steps begin, say so, and go on only when told; it counts those that were ended."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.cancelled = []

    async def perform(self, step, tell):
        self.begun.release()
        try:
            while not self.go.is_set():  # noqa: ASYNC110 - the event belongs to another thread
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.append(step.id)
            raise
        return Result()


def test_a_stop_ends_copies_lets_activations_finish_and_starts_nothing_more():
    backend = Held()
    plan = plan_of(
        step("fetch", locks=["all"]),
        step("activate", kind="activate", locks=["all"]),
        step("parked", locks=["all"]),
        step("later", needs=["activate"]),
    )
    run = Run(plan, backend, limits=Limits(parallel=2)).start()
    assert backend.begun.acquire(timeout=10)
    assert backend.begun.acquire(timeout=10)
    run.stop()
    assert not run.wait(0.05)
    backend.go.set()
    assert run.wait(10)
    found = {name: record.outcome for name, record in run.report().steps.items()}
    assert found == {"fetch": "cancelled", "activate": "done", "parked": "cancelled", "later": "cancelled"}
    assert backend.cancelled == ["fetch"]


def test_abandoning_leaves_an_activation_unknown():
    backend = Held()
    run = Run(plan_of(step("activate", kind="activate")), backend).start()
    assert backend.begun.acquire(timeout=10)
    run.abandon()
    assert run.wait(10)
    assert run.report().steps["activate"].outcome == "unknown"


@pytest.mark.parametrize("count", [3000])
def test_thousands_of_steps_behind_one_limit_all_end(count):
    plan = plan_of(*[step(f"s{number}", locks=["all", "jump:portico"]) for number in range(count)])
    found, _ = outcomes(plan, Scripted(), Limits(parallel=32, per_jump=8))
    assert Counter(found.values()) == {"done": count}


def test_time_goes_forward_though_the_clock_of_this_machine_is_set_back(monkeypatch):
    run = Run(plan_of(step("a"), step("b", needs=["a"])), Scripted())
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert run.start().wait(30)
    report = run.report()
    assert report.seconds >= 0
    assert all(record.seconds >= 0 for record in report.steps.values())


def test_a_run_that_goes_on_is_as_old_as_it_is_now():
    now = [100.0]
    began, ended = threading.Event(), asyncio.Event()

    class Waiting:
        async def perform(self, step, tell):
            self.loop = asyncio.get_running_loop()
            began.set()
            await ended.wait()
            return Result()

    backend = Waiting()
    run = Run(plan_of(step("a")), backend, clock=lambda: now[0]).start()
    assert began.wait(10)
    now[0] = 104.0
    assert run.report().seconds == 4.0
    backend.loop.call_soon_threadsafe(ended.set)
    assert run.wait(10)
    now[0] = 190.0
    assert run.report().seconds == 4.0
