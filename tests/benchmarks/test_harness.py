"""The harness of the benchmarks: turns, ratios, and that nothing fails silently."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks.harness import Line, Measured, Outcome, Tried, Try, Way, is_reached, measured, nothing_failed, ratio

FASTER = Line("ours", "theirs", "faster", 2.0, "1 ×")
TIMES = Line("ours", "theirs", "times", 1.5, "2 ×")
LEAST = Line("ours", "", "least", 1500, "5 kB", "B")


def way(name, done, **more):
    return Way(name, lambda: done.append(name), 1, **more)


def row(**ways):
    return Measured(row="one", hosts=4, date="now", load=(0.0, 0.0), command="make bench", commit="c0ffee", ways=ways)


def tries(hosts, *seconds, **more):
    return Tried(hosts, tuple(Try(one, one, None, **more) for one in seconds))


def test_ways_take_turns_and_each_round_begins_with_another():
    done = []
    found = measured([way("a", done), way("b", done), way("c", done)], 3, lambda _: None)
    assert "".join(done) == "abcbcacab"
    assert [len(one.tries) for one in found.values()] == [3, 3, 3]


def test_what_comes_before_a_try_is_not_measured():
    done = []
    measured([way("work", done, before=lambda: done.append("before"))], 2, lambda _: None)
    assert done == ["before", "work"] * 2


def test_a_way_that_breaks_is_told_and_the_others_go_on():
    said, done = [], []

    def broken():
        raise subprocess.CalledProcessError(3, ["/usr/bin/ssh"], stderr=b"first\nno way there\n")

    found = measured([Way("broken", broken, 1), way("whole", done)], 2, said.append)
    assert found["broken"] == Tried(1, (), "ssh ended with 3: no way there")
    assert any("no way there" in line for line in said)
    assert len(found["whole"].tries) == 2


def test_hosts_that_failed_are_kept_and_told():
    said = []
    found = measured([Way("loop", lambda: Outcome(("www-1", "www-2")), 4)], 1, said.append)
    assert found["loop"].tries[0].failed == ("www-1", "www-2")
    assert "failed on 2: www-1 www-2" in said[0]
    assert not nothing_failed(row(ours=tries(4, 1.0), theirs=found["loop"]), FASTER)


def test_a_ratio_is_the_median_of_those_of_each_round_and_a_host():
    one = row(ours=tries(100, 10, 20, 10), theirs=tries(5, 5, 5, 30))
    assert ratio(one, FASTER) == pytest.approx(10)
    assert ratio(one, TIMES) == pytest.approx(0.1)
    assert ratio(row(ours=tries(4, 1, value=900.0)), LEAST) == 900


def test_where_one_side_is_missing_there_is_no_ratio():
    assert ratio(row(ours=tries(4, 1.0)), FASTER) is None
    assert ratio(row(ours=tries(4, 1.0), theirs=Tried(4, (), "not there")), TIMES) is None


@pytest.mark.parametrize(("line", "good", "bad"), [(FASTER, 2.0, 1.9), (TIMES, 1.5, 1.6), (LEAST, 1500, 1501)])
def test_what_is_reached_follows_the_sense_of_a_line(line, good, bad):
    assert is_reached(line, good)
    assert not is_reached(line, bad)
