"""What failures hold back: later waves after a canary or a check, all activations past the limit, and nothing else."""

from __future__ import annotations

import pytest

from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import HostModel, World
from tests.plan.fleets import CHECK, deploy, instance, inventory, ran

BROKEN = HostModel(exit=1)


def ended(inv, *patterns, hosts=None, unbuildable=(), **options):
    """Deploy, and give the report."""
    plan = deploy(inv, *patterns, **options)
    return ran(plan, SimulatedFleet(World(hosts=hosts or {}, unbuildable=unbuildable)))[0]


def outcomes(report):
    return {one.instance: one.outcome for one in report.instances()}


def reasons(report):
    return {one.instance: one.reason for one in report.instances()}


FOUR = inventory(*[instance(name) for name in "abcd"])


def test_a_canary_that_fails_holds_back_all_that_follows_and_is_named():
    report = ended(FOUR, "*", canary=1, hosts={"a": BROKEN})
    assert outcomes(report) == {"a": "rolled back", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert reasons(report)["d"].startswith("gate:1.1 failed: canary a: activate rolled back: switch-to-configuration")
    assert {one.failed_step for one in report.instances()} == {"activate", "gate"}


def test_content_moves_ahead_of_a_closed_gate():
    report = ended(FOUR, "*", canary=1, hosts={"a": BROKEN})
    assert report.steps["fetch:d"].outcome == "done"


def test_a_closed_gate_closes_all_gates_after_it():
    report = ended(FOUR, "a", "b", "c", "d", canary=1, hosts={"b": BROKEN})
    assert outcomes(report) == {"a": "done", "b": "rolled back", "c": "skipped", "d": "skipped"}
    assert report.steps["gate:4"].cause == "gate:2"


def test_without_a_canary_or_a_limit_a_failure_holds_nothing_back():
    report = ended(FOUR, "a", "*", hosts={"a": BROKEN})
    assert outcomes(report) == {"a": "rolled back", "b": "done", "c": "done", "d": "done"}


def test_a_canary_with_warnings_is_good_enough():
    assert ended(FOUR, "*", canary=1, hosts={"a": HostModel(exit=4)}).ok


class TestChecks:
    INV = inventory(instance("a", checks=(CHECK,)), instance("b"))

    def test_a_check_that_no_longer_holds_at_the_end_of_a_wave_closes_its_gate(self):
        report = ended(self.INV, "a", "b", hosts={"a": HostModel(faults=("breaks later",))})
        assert outcomes(report) == {"a": "failed", "b": "skipped"}
        assert report.steps["activate:a"].outcome == "done"
        assert reasons(report)["b"] == "gate:1 failed: a: check failed: a check does not hold."

    def test_one_that_holds_opens_it(self):
        assert ended(self.INV, "a", "b").ok

    def test_an_instance_that_was_not_activated_is_not_checked(self):
        report = ended(self.INV, "a", "b", hosts={"a": BROKEN})
        assert report.steps["check:a"].outcome == "skipped"
        assert outcomes(report) == {"a": "rolled back", "b": "done"}


class TestMaxFailures:
    def test_past_it_no_later_wave_is_begun(self):
        report = ended(FOUR, "a", "b", "*", max_failures="1", hosts={"a": BROKEN, "b": BROKEN})
        assert outcomes(report) == {"a": "rolled back", "b": "rolled back", "c": "skipped", "d": "skipped"}
        assert reasons(report)["d"] == "gate:2 failed: 2 instances failed, more than the 1 allowed"

    def test_as_many_as_are_allowed_hold_nothing_back(self):
        report = ended(FOUR, "a", "*", max_failures="25%", hosts={"a": BROKEN})
        assert outcomes(report) == {"a": "rolled back", "b": "done", "c": "done", "d": "done"}

    def test_inside_a_wave_what_runs_goes_on_and_nothing_more_is_begun(self):
        hosts = {
            "a": HostModel(activation=1, exit=1),
            "b": HostModel(activation=100),
            "c": HostModel(bandwidth=1e6),
            "d": HostModel(bandwidth=1e6),
        }
        report = ended(FOUR, "*", max_failures="0", hosts=hosts)
        assert outcomes(report) == {"a": "rolled back", "b": "done", "c": "skipped", "d": "skipped"}
        assert reasons(report)["c"] == "1 instance failed, more than the 0 allowed"

    def test_those_that_are_held_back_do_not_count_as_failed(self):
        report = ended(FOUR, "a", "b", "c", "d", max_failures="1", canary=1, hosts={"a": BROKEN})
        assert "canary" in reasons(report)["d"]
        assert report.steps["gate:1"].reason.startswith("canary a")

    @pytest.mark.parametrize(("allowed", "outcome"), [("1", "skipped"), ("2", "done")])
    def test_an_instance_whose_system_is_not_built_counts_as_failed(self, allowed, outcome):
        inv = inventory(instance("a"), instance("b", "two"), instance("c", "two"))
        report = ended(inv, "*", max_failures=allowed, unbuildable=("two",))
        assert outcomes(report) == {"a": outcome, "b": "skipped", "c": "skipped"}
        assert reasons(report)["b"].startswith("register:two failed")
