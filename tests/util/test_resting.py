"""Rests after work that is done again and again."""

from __future__ import annotations

from nixhive_nb.util.resting import Resting


def rests_after(*works):
    """Get how long one rests after each."""
    clock = [0.0]
    resting = Resting(lambda: clock[0])
    rests = []
    for seconds in works:
        resting.begin()
        clock[0] += seconds
        rests.append(resting.end())
    return rests


def test_work_that_always_takes_long_is_a_tenth_of_the_time():
    assert rests_after(1.0, 1.0, 1.0)[1:] == [9.0, 9.0]


def test_what_took_long_once_is_no_measure():
    assert rests_after(6.0, 0.0, 0.0, 6.0, 0.0) == [0.0] * 5


def test_time_between_works_is_none():
    clock = [0.0]
    resting = Resting(lambda: clock[0])
    for _ in range(3):
        resting.begin()
        rest = resting.end()
        clock[0] += 100.0
    assert rest == 0.0
