"""Waves, canaries and batches: who is touched together, who goes first, and what must hold before the next."""

from __future__ import annotations

import pytest

from nixhive_nb.errors import OptionError
from tests.plan.fleets import CHECK, by_id, deploy, instance, inventory, waits_for

TEN = inventory(*[instance(f"h{number}") for number in range(10)])


def batches(plan):
    found = {}
    for target in plan.targets:
        found.setdefault((target.wave, target.batch), []).append(target.instance)
    return [found[key] for key in sorted(found)]


def sizes(inv, *patterns, **options):
    return [len(names) for names in batches(deploy(inv, *patterns, **options))]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [10]),
        ({"canary": 2}, [2, 8]),
        ({"canary": 10}, [10]),
        ({"canary": 30}, [10]),
        ({"batch": "4"}, [4, 4, 2]),
        ({"batch": "25%"}, [3, 3, 3, 1]),
        ({"batch": "1%"}, [1] * 10),
        ({"batch": "100%"}, [10]),
        ({"canary": 1, "batch": "50%"}, [1, 5, 4]),
    ],
)
def test_a_wave_is_cut_as_told(options, wanted):
    assert sizes(TEN, "*", **options) == wanted


def test_each_wave_is_cut_by_itself():
    assert sizes(TEN, ["h0", "h1", "h2"], "*", canary=1, batch="50%") == [1, 2, 1, 4, 2]


def test_gates_are_named_after_their_wave_and_where_it_is_cut_after_the_part():
    plan = deploy(TEN, "h0", "*", batch="5")
    assert [step.id for step in plan.steps if step.kind == "gate"] == ["gate:1", "gate:2.1", "gate:2.2"]


def test_what_comes_later_needs_the_gate_ahead_and_each_gate_the_one_before():
    steps = by_id(deploy(TEN, "*", batch="5"))
    assert steps["activate:h0"].needs == ("fetch:h0",)
    assert steps["activate:h5"].needs == ("fetch:h5", "gate:1.1")
    assert steps["gate:1.2"].needs == ("gate:1.1",)
    assert set(steps["gate:1.1"].after) == {f"activate:h{number}" for number in range(5)}


def test_a_canary_alone_has_a_strict_gate():
    plan = deploy(TEN, "h0", "*", canary=1, batch="3")
    gates = {step.id: step.strict for step in plan.steps if step.kind == "gate"}
    assert gates == {"gate:1": True, "gate:2.1": True, "gate:2.2": False, "gate:2.3": False, "gate:2.4": False}


def test_pauses_stand_between_gates_and_none_at_the_end():
    steps = by_id(deploy(TEN, "h0", "*", batch="5", pause=30.0))
    pauses = {name: step.seconds for name, step in steps.items() if step.kind == "pause"}
    assert pauses == {"pause:1": 30.0, "pause:2.1": 30.0}
    assert steps["pause:1"].needs == ("gate:1",)
    assert steps["activate:h1"].needs == ("fetch:h1", "gate:1", "pause:1")


class TestLeaders:
    INV = inventory(
        instance("a", jump="z"), instance("b"), instance("c", store="ssh://y"), instance("y", jump="z"), instance("z")
    )

    def test_those_that_others_rely_on_come_first_also_across_batches(self):
        plan = deploy(self.INV, "*", batch="1")
        order = sorted(plan.targets, key=lambda target: target.batch)
        assert [target.instance for target in order] == ["z", "y", "a", "b", "c"]

    def test_within_a_batch_only_those_that_rely_on_one_wait_for_it(self):
        steps = by_id(deploy(self.INV, "*"))
        assert steps["activate:a"].after == ("activate:z",)
        assert steps["activate:c"].after == ("activate:y",)
        assert steps["activate:b"].after == ()

    def test_the_targets_keep_the_order_of_the_patterns(self):
        assert [target.instance for target in deploy(self.INV, "b", "*", batch="1").targets] == list("bacyz")


class TestChecks:
    INV = inventory(instance("a", checks=(CHECK,)), instance("b"), instance("c", checks=(CHECK,)))

    def test_the_checks_of_a_wave_come_after_all_of_it_and_before_its_gate(self):
        plan = deploy(self.INV, ["a", "b"], "c")
        steps = by_id(plan)
        assert steps["check:a"].needs == ("activate:a",)
        assert "activate:b" in waits_for(plan, "check:a")
        assert "check:a" in steps["gate:1"].after
        assert "check:b" not in steps

    def test_the_last_wave_has_none(self):
        assert "check:c" not in by_id(deploy(self.INV, ["a", "b"], "c"))

    @pytest.mark.parametrize("options", [{"checks": False}, {"type": "boot"}, {"type": "dry-activate"}])
    def test_there_are_none_where_nothing_new_runs_or_none_are_wanted(self, options):
        assert "check:a" not in by_id(deploy(self.INV, ["a", "b"], "c", **options))

    def test_many_of_them_make_no_edge_from_each_to_each(self):
        inv = inventory(*[instance(f"h{number:04}", checks=(CHECK,)) for number in range(1000)], instance("z"))
        steps = deploy(inv, "h*", "z").steps
        assert sum(len(step.needs) + len(step.after) for step in steps) < 12_000


@pytest.mark.parametrize(
    ("text", "wanted"), [("", None), ("0", 0), ("3", 3), ("10%", 1), ("19%", 1), ("0%", 0), ("100%", 10)]
)
def test_allowed_failures_are_a_number_or_a_share_rounded_down(text, wanted):
    assert deploy(TEN, "*", max_failures=text).allowed == wanted


@pytest.mark.parametrize("text", ["x", "-1", "0", "0%", "101%", "2.5", "10 %%", "٣%x"])
def test_a_batch_that_makes_no_sense_is_refused_with_an_example(text):
    with pytest.raises(OptionError, match=r"--batch .*: it must be .*--batch 10, or --batch 25%"):
        deploy(TEN, "*", batch=text)


@pytest.mark.parametrize("text", ["x", "-1", "101%"])
def test_so_are_failures(text):
    with pytest.raises(OptionError, match="--max-failures 10, or --max-failures 25%"):
        deploy(TEN, "*", max_failures=text)
