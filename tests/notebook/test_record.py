"""What a record says of hosts that were not simply done."""

from __future__ import annotations

import re

from nixhive_nb.notebook import html
from nixhive_nb.notebook.record import Record
from nixhive_nb.plan.event import Result, StepEnded, StepStarted
from nixhive_nb.plan.facts import CheckResult
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.report import Tally
from tests.notebook.test_display import read
from tests.plan.looked import looked, path


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
    assert colour_of(record, "⚠ done, with warnings") == html.WARN
    assert colour_of(record, "↶ rolled back") == html.BAD
    assert colour_of(record, "✕ locked") == html.BAD
    assert colour_of(record, "✓ done") == html.OK


def test_what_went_back_names_what_it_runs_again():
    record = Record(ended(looked(), www_1=("rolled back", "no word came", None)))
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
