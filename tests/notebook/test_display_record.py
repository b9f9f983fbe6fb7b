"""What a record says of hosts that were not simply done."""

from __future__ import annotations

import re

import msgspec
import pytest

from nixhive_nb import frames
from nixhive_nb.notebook.display import Record
from nixhive_nb.plan.events import Result, StepEnded, StepStarted
from nixhive_nb.plan.facts import CheckResult
from nixhive_nb.plan.plan import Options
from nixhive_nb.run.report import Tally
from nixhive_nb.util import html
from nixhive_nb.view.report import FEWEST, LINE, LINES
from tests.notebook.test_display import bundle, read
from tests.notebook.values import Story, build_plan, deploy_plan, deployed, inventory
from tests.plan.looked import looked, path

RUN = "20261122T211402Z-7f3a01"


def ended(plan, **ends):
    """A run of a plan in which each step took a second and was done, but for those of `ends` (by instance)."""
    tally = Tally(plan, started=0.0)
    for number, step in enumerate(plan.steps):
        tally.add(StepStarted(time=float(number), step=step.id))
        outcome, reason, result = ends.get(step.instance.replace("-", "_"), ("done", "", None))
        if step.kind != "activate":
            outcome, reason, result = "done", "", None
        known = result or Result(path=path("b", step.system))
        tally.add(StepEnded(time=number + 1.0, step=step.id, outcome=outcome, reason=reason, result=known))
    return tally.report()


def colour_of(record, words):
    return re.search(rf'color:([^"]*)">[^<]*{words}', record.html())[1]


def test_each_outcome_has_its_words_and_colour():
    record = Record(
        ended(
            looked(),
            portico=("warned", "2 units failed", Result(outcome="warned")),
            www_1=("rolled back", "check web failed", None),
            www_2=("locked", "ada is activating there", None),
        )
    )
    assert html.WARN in colour_of(record, "⚠ done, with warnings")
    assert html.BAD in colour_of(record, "↶ rolled back")
    assert html.BAD in colour_of(record, "✕ locked")
    assert html.OK in colour_of(record, "✓ done")


def test_what_went_back_names_what_it_runs_again():
    record = Record(ended(looked(), www_1=("rolled back", "not confirmed", None)))
    assert "www-1 runs aaaaaaaa…-nixos-system-www-24.05 again." in read(record).text
    assert f'title="{path("a", "www")}"' in record.html()


def test_failed_checks_are_listed():
    checks = (
        CheckResult(name="web", kind="http", ok=False, reason="status 500, not 200"),
        CheckResult(name="ssh", kind="tcp", ok=True),
    )
    result = Result(checks=checks)
    found = read(Record(ended(looked(), www_1=("failed", "a check failed", result)))).text
    assert "✕ check web status 500, not 200" in found
    assert "check ssh" not in found


def test_a_reboot_has_a_span_of_its_own():
    record = Record(ended(looked(options=Options(reboot="always"))))
    titles = re.findall(r'title="([^"]*)"', record.html())
    assert sum(title.startswith("reboot: ") for title in titles) == 4
    assert "■ reboot" in read(record).text
    assert "■ reboot" not in read(Record(ended(looked()))).text


def test_one_that_needs_a_reboot_says_so():
    found = read(Record(ended(looked(), portico=("done", "", Result(reboot=True))))).text
    assert found.count("reboot needed") == 1


def noted(report, folder):
    """The same report of a run that has a journal."""
    return msgspec.structs.replace(report, journal=str(folder / ".hive" / "runs" / f"{RUN}.jsonl"))


class TestLogs:
    def test_below_the_last_lines_stands_where_all_are(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        record = Record(noted(deployed({"fetch:www-2": "disk full"}), tmp_path))
        found = read(record).text
        log = f"whole log: .hive/runs/{RUN}/www-2.log"
        assert found.index("last line of fetch:www-2") < found.index("whole log: ")
        for text in (re.sub(" +", " ", found), record.text()):
            assert log in text
        assert str(tmp_path) not in "".join(bundle(record).values())

    def test_what_failed_for_several_is_in_the_log_of_this_machine(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        record = Record(noted(deployed({"register:www": "builder failed"}), tmp_path))
        assert f".hive/runs/{RUN}/build.log" in record.text()
        assert "www-1.log" not in record.text()

    def test_a_log_elsewhere_is_named_from_home_or_whole(self, tmp_path, monkeypatch):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        report = noted(deployed({"fetch:www-2": "disk full"}), tmp_path / "there")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert f"whole log: ~/there/.hive/runs/{RUN}/www-2.log" in Record(report).text()
        monkeypatch.setenv("HOME", "/nowhere")
        assert f"whole log: {tmp_path}/there/.hive/runs/{RUN}/www-2.log" in Record(report).text()

    def test_a_run_that_is_not_noted_names_no_log(self):
        record = Record(deployed({"fetch:www-2": "disk full"}))
        assert "whole log" not in read(record).text + record.text()

    def test_what_went_well_names_no_log(self, tmp_path):
        record = Record(noted(deployed(), tmp_path))
        assert "whole log" not in read(record).text + record.text()

    def test_long_logs_are_cut(self, tmp_path):
        story = Story(deploy_plan(inventory(tuple(f"www-{number}" for number in range(30)))))
        for number in range(30):
            story.end(
                f"fetch:www-{number}", "failed", f"reason {number}", [f"{at:02} " + "x" * 9999 for at in range(20)]
            )
        record = Record(noted(story.rest(), tmp_path))
        for text in bundle(record).values():
            lines = re.findall(r"\d\d x+…", text)
            assert len(lines) <= max(LINES, 10 * FEWEST)
            assert max(map(len, lines)) == LINE
            assert f"19 {'x' * 99}" in text
            assert "… and 20 more reasons" in text
        assert len(bundle(record)["text/html"]) < 75_000


def test_its_columns_are_called_as_those_of_the_data_frame():
    names = frames.outcome_frame(deployed()).columns
    said = Record(deployed()).text().splitlines()[1].split()
    assert said[:2] == ["instance", "outcome"]
    assert set(said[2:]) <= set(names)
    assert {"how", "sent"} <= set(said)


class TestAgain:
    def again(self, report):
        return re.sub(" +", " ", read(Record(report)).text).partition("Again, for what failed: ")[2].strip()

    def test_what_failed_can_be_done_again(self, tmp_path):
        report = noted(deployed({"fetch:www-2": "disk full"}), tmp_path)
        assert self.again(report) == "%hive deploy --resume 7f3a01"
        assert Record(report).text().endswith("Again, for what failed: %hive deploy --resume 7f3a01")

    @pytest.mark.parametrize("failing", [{}, {"fetch:www-2": "disk full"}])
    def test_it_is_said_only_where_it_would_work(self, failing, tmp_path):
        report = deployed(failing)
        assert not self.again(report if failing else noted(report, tmp_path))

    def test_what_cannot_be_resumed_is_done_in_the_same_way_with_those_that_failed(self, tmp_path):
        options = Options(batch="10%", pause=1.5, confirm=0.0)
        plan = msgspec.structs.replace(looked(options=options), verb="rollback", to=41, no=("confirm", "checks"))
        report = noted(ended(plan, www_1=("failed", "no luck", None)), tmp_path)
        words = "--no confirm,checks --batch 10% --pause 1.5 --to 41"
        assert self.again(report) == f"%hive rollback www-1 {words}"


def test_nothing_takes_less_than_no_time_when_the_clock_was_put_back():
    tally = Tally(deploy_plan(), started=1000.0)
    tally.add(StepStarted(time=1001.0, step="build"))
    for kind, subject in (("register", "www"), ("fetch", "www-1"), ("activate", "www-1")):
        tally.add(StepStarted(time=1040.0, step=f"{kind}:{subject}"))
        tally.add(StepEnded(time=980.0, step=f"{kind}:{subject}", outcome="done", result=Result()))
    markup = Record(tally.report()).html()
    assert "fetch: 0.0 s to 0.0 s" in markup
    assert not re.search(r"-\d+\.\d s", markup)


def test_a_build_takes_no_less_than_no_time_either():
    tally = Tally(build_plan(), started=1000.0)
    tally.add(StepStarted(time=1040.0, step="build"))
    tally.add(StepEnded(time=980.0, step="register:www", outcome="done", result=Result()))
    assert not re.search(r"-\d+\.\d s", Record(tally.report()).html())


def test_it_names_its_run(tmp_path):
    record = Record(noted(deployed(), tmp_path))
    for text in (read(record).text, record.text()):
        assert f"run {RUN}" in text
