"""Deadlines: each is kept, whatever the others are."""

from __future__ import annotations

import contextlib
import threading

from nixhive_nb.ssh.watchdog import Watchdog


def test_one_that_is_farther_than_threads_can_wait_does_not_end_the_others():
    passed = threading.Event()
    with contextlib.closing(Watchdog()) as watchdog:
        # Until the second one has passed its thread waits for that; from then on for the far one.
        far = watchdog.after(1e300, lambda: None)
        for _ in range(2):
            passed.clear()
            watchdog.after(0.01, passed.set)
            assert passed.wait(10)
        assert not far.expired


def test_what_is_done_in_time_is_let_be():
    acted, later = threading.Event(), threading.Event()
    with contextlib.closing(Watchdog()) as watchdog:
        with watchdog.limit(0.05, acted.set) as limit:
            pass
        watchdog.after(0.1, later.set)
        assert later.wait(10)
    assert not acted.is_set()
    assert not limit.expired


def test_an_action_that_fails_does_not_keep_the_others_from_theirs():
    """D12: the thread died with the first one, and no deadline held any more."""
    later = threading.Event()

    def broken():
        raise RuntimeError("can't start new thread")

    with contextlib.closing(Watchdog()) as watchdog:
        first = watchdog.after(0, broken)
        watchdog.after(0.05, later.set)
        assert later.wait(10)
        assert first.expired


def test_deadlines_of_work_that_was_done_in_time_are_not_kept_until_they_pass():
    with contextlib.closing(Watchdog()) as watchdog:
        still = watchdog.after(3600, lambda: None)
        for _ in range(5000):
            with watchdog.limit(3600, lambda: None):
                pass
        assert len(watchdog._entries) < 600
        assert not still.is_over
        assert any(entry[2] is still for entry in watchdog._entries)


def test_a_deadline_that_is_later_than_others_wakes_nobody():
    with contextlib.closing(Watchdog()) as watchdog:
        watchdog.after(60, lambda: None)
        woken = []
        watchdog._changed.notify = lambda: woken.append(True)
        watchdog.after(120, lambda: None)
        assert not woken
        watchdog.after(30, lambda: None)
        assert woken
