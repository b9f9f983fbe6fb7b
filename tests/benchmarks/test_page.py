"""The page of what was measured: it says what is missing, what failed and what is not reached."""

from __future__ import annotations

import re

import pytest

from benchmarks import page
from benchmarks.__main__ import ROWS
from benchmarks.counts import Counts, Soaked, Stage
from benchmarks.harness import Line, Measured, Row, Tried, Try
from tests.pages import ROOT

ROW = Row("one", "some work", (Line("ours", "theirs", "faster", 2.0, "1.5 ×"),), "the weather.", list, hosts=4)


def found(**ways):
    missing = {"pyinfra": "pip could not install it"}
    return Measured("one", 4, "2026-11-28", (1.25, 2.5), "make bench ROWS=one", "c0ffee", ways, missing)


def tries(*seconds, failed=()):
    return Tried(4, tuple(Try(one, one / 2, 3 * one, failed) for one in seconds))


def table(text):
    return next(line for line in text.splitlines() if line.startswith("| some work"))


def test_a_row_has_what_is_wanted_what_came_out_and_what_limits_it():
    text = page.text([ROW], {"one": found(ours=tries(1.0), theirs=tries(3.0))})
    assert table(text) == "| some work | ours | theirs: times as fast | 4 | 1.5 × | 3.00 × | ≥ 2.00 × | yes |"
    assert "| ours | 4 | 1.00 (1.00 to 1.00) | 250 | 125 | 750 |  | none |" in text
    assert "`make bench ROWS=one` on 2026-11-28, commit c0ffee, 1 rounds; load average 1.2 and 2.5" in text
    assert "What limits it: the weather." in text
    assert "left out: pip could not install it" in text


def test_what_was_not_measured_is_said():
    text = page.text([ROW], {})
    assert "| not measured |" in table(text)
    assert "Not measured yet: `make bench ROWS=one`." in text


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (tries(3.0, failed=("www-1",)), "1 of 4 in 1 of 1 rounds"),
        (
            Tried(4, (), "ssh ended with 255: /tmp/there/is | none"),
            "could not be tried: ssh ended with 255: … \\| none",
        ),
    ],
)
def test_a_base_that_failed_is_said_and_nothing_is_reached_against_it(theirs, said):
    text = page.text([ROW], {"one": found(ours=tries(1.0), theirs=theirs)})
    assert said in text
    assert not table(text).endswith("| yes |")


def test_the_page_that_is_there_has_each_row_and_no_place_of_a_machine():
    text = page.PAGE.read_text()
    assert re.findall(r"^### ([\w-]+):", text, re.MULTILINE) == list(ROWS)
    assert not re.search(r"/(tmp|root|work|home)/", text)
    assert str(ROOT) not in text


def test_a_soak_has_what_was_open_and_what_was_not_as_it_should_be():
    counts = [Counts(threads, 20, 10, 2, 1_000_000 * threads) for threads in (5, 40, 6)]
    stage = Stage("redeploy", 12.4, *counts, said="4 unchanged")
    last = Soaked("2026-11-28", "c0ffee", 4, 2, 1, 0.5, (stage,), ("after it there is 1 thread more",))
    text = page.soak(last)
    assert "| redeploy | 12 | 4 unchanged | 5 → 40 → 6 | 20 → 20 → 20 | 10 → 10 → 10 | 2 → 2 → 2 | 5 → 40 → 6 |" in text
    assert "- after it there is 1 thread more" in text
    assert "None yet" in page.soak(None)
