"""Where a run is: what is counted, what moves, how fast, and what stands in the rows."""

from __future__ import annotations

import pytest

from nixhive_nb.deployment.inventory import Inventory, System
from nixhive_nb.plan.building import NODES_A_PROCESS
from nixhive_nb.plan.events import Result, StepEnded, StepProgress, StepStarted
from nixhive_nb.plan.facts import Seen
from nixhive_nb.plan.plan import Survey
from nixhive_nb.plan.survey import plan_evaluation
from nixhive_nb.run.report import Tally
from nixhive_nb.view.progress import Meter, amount_text, progress_of
from tests.plan.fleets import deploy, instance, inventory

FLEET = inventory(instance("a"), instance("b"), instance("c"))
MB = 1_000_000


class Told:
    """A run as far as it was told."""

    def __init__(self, plan):
        self.tally = Tally(plan)

    def begin(self, *steps):
        for step in steps:
            self.tally.add(StepStarted(time=1.0, step=step))
        return self

    def move(self, step, done, expected):
        self.begin(step)
        self.tally.add(StepProgress(time=1.0, step=step, done=done, expected=expected))
        return self

    def end(self, *steps, outcome="done", size=0):
        for step in steps:
            result = Result(outcome=outcome, size=size) if outcome in ("done", "unchanged") else None
            reason = "" if result else "it says why"
            self.tally.add(StepEnded(time=2.0, step=step, outcome=outcome, reason=reason, result=result))
        return self

    def progress(self):
        return progress_of(self.tally.report())


@pytest.fixture
def told():
    return Told(deploy(FLEET, "a", "*"))


class TestBytes:
    def test_before_anything_is_known_there_are_steps_alone(self, told):
        progress = told.begin("build").progress()
        assert progress.to_move is None
        assert progress.facts() == f"0 of {progress.total} steps · 00:00"

    def test_what_is_not_known_is_not_made_up(self, told):
        progress = told.move("fetch:a", 20 * MB, 60 * MB).progress()
        assert (progress.moved, progress.to_move) == (20 * MB, None)
        assert "20.0 MB moved" in progress.facts(rate=MB)
        assert "about" not in progress.facts(rate=MB)

    def test_the_closure_is_the_most_that_those_who_wait_can_move(self, told):
        progress = told.end("register:one", size=100 * MB).move("fetch:a", 20 * MB, 60 * MB).progress()
        assert (progress.to_move, progress.at_most) == (260 * MB, True)
        assert "20.0 of at most 260.0 MB · 1.0 MB/s, at most 4 min to move" in progress.facts(rate=MB)

    def test_when_all_is_known_the_rest_of_the_time_is(self, told):
        told.move("fetch:a", 60 * MB, 60 * MB).end("fetch:a").move("fetch:b", 20 * MB, 40 * MB)
        progress = told.move("fetch:c", 0, 20 * MB).progress()
        assert (progress.moved, progress.to_move, progress.at_most) == (80 * MB, 120 * MB, False)
        assert "80.0 of 120.0 MB · 10.0 MB/s, about 4 s to move" in progress.facts(rate=10 * MB)

    def test_who_tells_the_size_of_the_closure_alone_may_move_less(self, told):
        progress = told.end("register:one", size=60 * MB).move("fetch:a", 20 * MB, 60 * MB).progress()
        assert progress.at_most
        assert [row.amount for row in progress.rows] == ["20.0 of at most 60.0 MB"]

    def test_what_was_measured_counts_before_it_moves(self):
        seen = tuple(Seen(instance=name, moves=5 * MB) for name in "abc")
        plan = deploy(FLEET, "*", survey=Survey(seen=seen))
        progress = Told(plan).end("register:one", size=100 * MB).progress()
        assert (progress.to_move, progress.at_most) == (15 * MB, False)
        told = Told(plan).end("register:one", size=100 * MB).move("fetch:a", MB, 100 * MB)
        assert [row.amount for row in told.progress().rows] == ["1.0 of 5.0 MB"]

    def test_what_was_there_already_moves_nothing(self, told):
        progress = told.end("fetch:a", "fetch:b", "fetch:c", outcome="unchanged", size=MB).progress()
        assert (progress.moved, progress.to_move) == (0, 0)
        assert "MB" not in progress.facts()

    @pytest.mark.parametrize(
        ("moved", "expected", "text"),
        [
            (27_100_000, 60_200_000, "27.1 of 60.2 MB"),
            (10_000, MB, "10.0 kB of 1.0 MB"),
            (0, MB, "0 of 1.0 MB"),
            (5, None, "5 B"),
        ],
    )
    def test_amounts_read_well(self, moved, expected, text):
        assert amount_text(moved, expected) == text


class TestMeter:
    def test_it_tells_the_speed_of_the_last_seconds(self):
        meter = Meter(window=5.0)
        rates = [meter.rate(10 * second, float(second)) for second in range(11)]
        assert rates[0] is None
        assert rates[1:] == [pytest.approx(10)] * 10
        assert meter.rate(200, 11.0) == pytest.approx((200 - 60) / 5)

    def test_what_stands_still_has_no_speed(self):
        meter = Meter(window=5.0)
        for second in range(20):
            rate = meter.rate(100, float(second))
        assert rate is None


class TestRows:
    def test_an_instance_keeps_its_row_from_step_to_step(self, told):
        (fetching,) = told.begin("fetch:a").progress().rows
        (activating,) = told.end("fetch:a").begin("activate:a").progress().rows
        assert fetching.id == activating.id
        assert (fetching.step, activating.step) == ("fetch:a", "activate:a")

    def test_an_instance_that_failed_has_one_row_and_stands_first(self, told):
        told.begin("fetch:b", "fetch:c").end("fetch:c", outcome="failed").begin("activate:c")
        rows = told.progress().rows
        assert [(row.name, row.state) for row in rows] == [("c", "✕ fetch failed"), ("b", "● fetching")]
        assert rows[0].line == "it says why"

    def test_a_bar_needs_a_known_end(self, told):
        rows = {row.name: row for row in told.begin("fetch:a").move("fetch:b", 1, 4).progress().rows}
        assert (rows["a"].fraction, rows["b"].fraction) == (None, 0.25)

    def test_parts_of_steps_count_for_the_bar_of_the_run(self, told):
        before = told.progress()
        after = told.end("build").move("fetch:a", 1, 2).progress()
        assert before.fraction == 0
        assert after.fraction == pytest.approx(1.5 / after.total)


class TestCounts:
    def test_instances_are_counted_by_how_they_stand(self, told):
        told.end("fetch:a").end("activate:a").begin("fetch:b").end("fetch:c", outcome="failed")
        assert told.progress().counts == "instances: 1 done · 1 failed · 1 running · 0 waiting"
        told.end("fetch:b", "activate:b", outcome="unchanged")
        assert told.progress().counts == "instances: 1 done · 1 unchanged · 1 failed · 0 running · 0 waiting"

    def test_waves_and_batches_are_counted(self):
        told = Told(deploy(FLEET, "a", "*", batch="1"))
        told.end("fetch:a", "activate:a").end("fetch:b", outcome="failed").end("activate:b", outcome="skipped")
        waves = [(wave.label, wave.done, wave.failed, wave.total) for wave in told.progress().waves]
        assert waves == [("wave 1", 1, 0, 1), ("wave 2, batch 1", 0, 1, 1), ("wave 2, batch 2", 0, 0, 1)]


class TestEvaluations:
    """Systems in two groups."""

    @staticmethod
    def told():
        names = [*map(str, range(NODES_A_PROCESS + 1))]
        systems = {name: System(name=name, platform="") for name in names}
        plan = plan_evaluation(Inventory(source="x", systems=systems, format="colmena"), names)
        return Told(plan), [step.id for step in plan.steps]

    def test_systems_are_counted_and_not_groups_of_them(self):
        told, (first, last) = self.told()
        assert told.progress().counts.startswith(f"0 of {NODES_A_PROCESS + 1} evaluated · steps: ")
        told.move(first, 3, NODES_A_PROCESS)
        assert told.progress().counts.startswith(f"3 of {NODES_A_PROCESS + 1} evaluated")
        assert [row.amount for row in told.progress().rows] == [f"3 of {NODES_A_PROCESS}"]
        told.end(first).begin(last).end(last, outcome="failed")
        assert told.progress().counts.startswith(f"{NODES_A_PROCESS + 1} of {NODES_A_PROCESS + 1} evaluated")

    def test_of_one_system_nothing_is_counted(self):
        one = Inventory(source="x", systems={"a": System(name="a", platform="")})
        assert "evaluated" not in Told(plan_evaluation(one, ["a"])).progress().counts
