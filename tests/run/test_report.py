"""A report tells for each instance the worst that befell it, and what it is like now."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.events import Result, StepEnded
from nixhive_nb.plan.facts import CheckResult
from nixhive_nb.plan.plan import Options, Survey
from nixhive_nb.plan.planner import Goal, plan_reboot, plan_rollback, plan_transfer
from nixhive_nb.run import report as reports
from nixhive_nb.run.report import Tally
from nixhive_nb.view.progress import progress_of
from nixhive_nb.view.report import again_text, failure_text, headline, outcome_text, report_text
from tests.counting import counted
from tests.plan.fleets import CHECK, deploy, instance, inventory

ONE = inventory(instance("a", checks=(CHECK,)), instance("z"))
ALL = ("a", "z")


def ended(plan, ends=None, results=None):
    """Return a report in which each step ended as told, else as done."""
    tally = Tally(plan, 1000.0)
    for step in plan.steps:
        outcome = (ends or {}).get(step.id, "done")
        if outcome is None:
            continue
        bad = outcome not in ("done", "unchanged")
        tally.add(
            StepEnded(
                time=1001.0,
                step=step.id,
                outcome=outcome,
                reason=f"{step.kind} says why" if bad else "",
                result=(results or {}).get(step.id, Result(outcome=outcome)) if outcome != "failed" else None,
            )
        )
    return tally.report()


def outcome_of(ends):
    plan = deploy(ONE, *ALL, reboot="if needed")
    return ended(plan, {f"{kind}:a": outcome for kind, outcome in ends.items()}).instances()[0]


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ({}, "done"),
        ({"activate": "unchanged", "reboot": "unchanged"}, "unchanged"),
        ({"activate": "unchanged"}, "done"),
        ({"activate": "warned", "reboot": "unchanged"}, "warned"),
        ({"activate": "warned", "reboot": "failed"}, "failed"),
        ({"activate": "rolled back", "reboot": "skipped", "check": "skipped"}, "rolled back"),
        ({"activate": "locked", "reboot": "skipped"}, "locked"),
        ({"activate": "unknown", "reboot": "skipped"}, "unknown"),
        ({"check": "failed"}, "failed"),
        ({"check": None}, None),
        ({"activate": "cancelled", "reboot": "cancelled"}, "cancelled"),
        ({"fetch": "failed", "activate": "skipped"}, "failed"),
    ],
)
def test_an_instance_ends_as_the_worst_of_its_steps(ends, outcome):
    record = outcome_of(ends)
    assert record.outcome == outcome
    assert bool(record.reason) == (outcome not in ("done", "unchanged", None))


def test_a_warning_that_held_until_the_reboot_is_over_when_the_host_was_rebooted():
    """A9: and no other warning is."""
    plan = deploy(ONE, "a", reboot="if needed")
    for words, left in (
        ("later", ""),
        ("later; fetched again", "fetched again"),
        ("units failed", "activate says why"),
    ):
        warned = Result(outcome="warned", warning=words, until_reboot="later" if "later" in words else "")
        for rebooted, outcome in (("done", "done"), ("unchanged", "warned")):
            ends = {"activate:a": "warned", "reboot:a": rebooted}
            record = ended(plan, ends, {"activate:a": warned}).instances()[0]
            expected = outcome if "later" in words else "warned"
            assert record.outcome == expected
            assert record.reason == (left if expected == "done" else "activate says why")


@pytest.mark.parametrize(("reboot", "words"), [("always", ""), ("if needed", " --if-needed")])
def test_the_command_that_does_a_reboot_again_has_its_own_options(reboot, words):
    """Section A, "Smaller": it had `--reboot`, which only a deploy takes."""
    plan = plan_reboot(ONE, select_instances(ONE, ["a"]), Options(reboot=reboot, reboot_timeout=30.0), Survey())
    report = msgspec.structs.replace(ended(plan, {"reboot:a": "failed"}), journal="/j/20260101T000000Z-abcdef.jsonl")
    assert again_text(report, "%hive") == f"%hive reboot a{words} --reboot-timeout 30"


def test_a_check_that_held_changes_nothing():
    record = outcome_of({"activate": "unchanged", "reboot": "unchanged", "check": "done"})
    assert record.outcome == "unchanged"


def test_a_push_is_told_by_its_fetches():
    plan = plan_transfer(ONE, select_instances(ONE, ["*"]), "push", Options())
    assert [one.outcome for one in ended(plan, {"fetch:a": "unchanged"}).instances()] == ["unchanged", "done"]


def test_it_tells_what_ran_before_how_checks_went_and_whether_a_reboot_is_needed():
    held = CheckResult(name="listens", kind="tcp", ok=True)
    results = {
        "activate:a": Result(previous="/nix/store/old", reboot=True),
        "check:a": Result(checks=(held,)),
    }
    a, z = ended(deploy(ONE, "a", "z", batch="1"), results=results).instances()
    assert (a.previous, a.checks, a.reboot, a.batch) == ("/nix/store/old", (held,), True, 1)
    assert (z.previous, z.checks, z.reboot) == ("", (), None)


@pytest.mark.parametrize("verb", ["rollback", "reboot"])
def test_verbs_that_move_nothing_have_reports_too(verb):
    targets = select_instances(ONE, ["*"])
    goals = {name: Goal("/nix/store/old", 1) for name in "az"}
    plan = (
        plan_rollback(ONE, targets, Options(), goals, Survey())
        if verb == "rollback"
        else plan_reboot(ONE, targets, Options(), Survey())
    )
    kind = "activate" if verb == "rollback" else "reboot"
    report = ended(plan, {f"{kind}:a": "unknown"})
    assert [one.outcome for one in report.instances()] == ["unknown", "done"]
    assert not report.ok
    assert report.systems() == ()
    assert "? unknown" in report_text(report)
    assert "left this machine" not in report_text(report)


class TestWords:
    def test_warnings_are_good_and_counted(self):
        report = ended(deploy(ONE, *ALL), {"activate:a": "warned"})
        assert report.ok
        assert headline(report) == "2 of 2 deployed, 1 with warnings"
        assert outcome_text(report.instances()[0]) == "⚠ done, with warnings"
        assert report.warnings() == ("activate says why",)

    def test_each_bad_outcome_has_its_words(self):
        report = ended(deploy(ONE, *ALL), {"activate:a": "rolled back", "activate:z": "locked"})
        assert headline(report) == "0 of 2 deployed, 1 rolled back, 1 locked"
        assert "a  ↶ rolled back  activate says why" in failure_text(report)
        assert "z  ✕ locked  activate says why" in failure_text(report)

    def test_a_rollback_that_did_not_come_to_be_is_not_called_rolled_back(self):
        goals = {name: Goal("/nix/store/old", 1) for name in "az"}
        plan = plan_rollback(ONE, select_instances(ONE, ["*"]), Options(), goals, Survey())
        report = ended(plan, {"activate:a": "rolled back"})
        assert headline(report) == "1 of 2 rolled back, 1 went back to what they ran before"

    def test_while_it_runs_each_bad_end_has_its_words(self):
        ends = {"activate:a": "rolled back", "activate:z": "unknown", "fetch:a": "locked", "fetch:z": "failed"}
        rows = progress_of(ended(deploy(ONE, "*"), ends)).rows
        assert {row.state for row in rows} == {
            "↶ activate rolled back",
            "? activate ended unknown",
            "✕ fetch locked out",
            "✕ fetch failed",
        }
        assert all(row.failed for row in rows)

    def test_a_pause_is_shown_by_the_wave_that_it_follows(self):
        plan = deploy(ONE, *ALL, pause=5.0)
        report = ended(plan, {"pause:1": "failed"})
        assert [row.name for row in progress_of(report).rows] == ["wave 1"]


def test_what_shows_a_report_works_its_records_out_once(monkeypatch):
    report = ended(deploy(ONE, "*"), {"fetch:a": "failed"})
    told = counted(monkeypatch, reports, "_deciding")
    systems = counted(monkeypatch, reports.Report, "_system")
    assert all([report_text(report), str(report.timeline()), report._repr_html_(), len(report.frame), report.counts()])
    assert (len(told), len(systems)) == (2, 1)


def test_a_report_that_was_shown_is_the_same_value():
    shown, fresh = (ended(deploy(ONE, "*")) for _ in range(2))
    assert report_text(shown)
    assert shown == fresh == pickle.loads(pickle.dumps(shown))
    assert repr(shown) == repr(fresh)
    assert msgspec.json.encode(shown) == msgspec.json.encode(fresh)
