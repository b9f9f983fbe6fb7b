"""Limits: each step gets its turn, narrow places do not hold up wide ones, and a copy does not hold up the rest."""

from __future__ import annotations

import pytest

from nixhive_nb.plan.step import Step
from nixhive_nb.run.limits import Limits, Locks


def step(name, *locks, kind="fetch"):
    return Step(id=name, kind=kind, locks=locks)


@pytest.mark.parametrize(
    ("lock", "number"),
    [("all", 32), ("evaluate", 2), ("jump:a", 16), ("relay:ssh://a", 8), ("store:ssh://a", 1), ("store:file:///x", 1)],
)
def test_the_defaults_are_safe_for_a_stock_sshd(lock, number):
    assert Limits().of(lock) == number


def test_those_that_wait_come_in_the_order_in_which_they_came():
    locks = Locks(Limits(parallel=1))
    steps = [step(f"s{number}", "all") for number in range(20)]
    assert [locks.take(one) for one in steps] == [True] + [False] * 19
    order = [steps[0]]
    for _ in range(19):
        order += locks.give_back(order[-1])
    assert order == steps


def test_what_activates_goes_before_what_copies():
    locks = Locks(Limits(parallel=1))
    first, copy, other, activation = (
        step("first", "all"),
        step("copy", "all"),
        step("push", "all", kind="push"),
        step("activation", "all", kind="activate"),
    )
    assert [locks.take(one) for one in (first, copy, other, activation)] == [True, False, False, False]
    assert locks.give_back(first) == [activation]
    assert locks.give_back(activation) == [copy]


def test_one_that_waits_for_a_narrow_limit_takes_nothing_from_the_wide_one():
    locks = Locks(Limits(parallel=2, per_jump=1))
    assert locks.take(step("a", "all", "jump:x"))
    assert not locks.take(step("b", "all", "jump:x"))
    assert locks.take(step("c", "all"))


def test_steps_that_cross_never_wait_for_each_other():
    locks = Locks(Limits(parallel=4, per_jump=1))
    first, second, third = step("1", "jump:a", "jump:b"), step("2", "jump:b", "jump:a"), step("3", "jump:b")
    assert locks.take(first)
    assert not locks.take(second)
    assert not locks.take(third)
    freed = locks.give_back(first)
    assert freed == [third]
    assert locks.give_back(third) == [second]


def test_when_all_is_over_those_that_wait_are_sent_away():
    locks = Locks(Limits(parallel=1))
    running, waiting = step("a", "all"), step("b", "all")
    locks.take(running)
    locks.take(waiting)
    assert locks.leave() == [waiting]
    assert locks.give_back(running) == []
