"""Threads for what waits for hosts."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import pytest

from nixhive_nb.util.workers import Workers
from tests.sshd import eventually


def threads(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_no_work_waits_for_a_thread_and_a_few_are_kept_for_the_next():
    together = threading.Barrier(20, timeout=60)
    with contextlib.closing(Workers("w-kept", kept=3)) as workers:
        for future in [workers.submit(together.wait) for _ in range(20)]:
            future.result(60)
        eventually(lambda: len(threads("w-kept")) == 3, "the end of those that are too many")
        before = set(threads("w-kept"))
        assert workers.submit(threading.current_thread).result(60) in before
    eventually(lambda: not threads("w-kept"), "the end of all")


def test_what_work_raises_is_told_and_costs_no_thread():
    with contextlib.closing(Workers("w-raises")) as workers:
        with pytest.raises(ZeroDivisionError):
            workers.submit(lambda: 1 / 0).result(60)
        eventually(lambda: workers._idle == 1)
        with pytest.raises(KeyboardInterrupt):
            workers.submit(lambda: (_ for _ in ()).throw(KeyboardInterrupt())).result(60)
        assert len(threads("w-raises")) == 1


def test_a_thread_that_waits_holds_nothing_of_what_it_did():
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    with contextlib.closing(Workers("w-holds")) as workers:
        workers.submit(lambda big=big: None).result(60)
        eventually(lambda: workers._idle == 1)
        del big
        gc.collect()
        assert gone() is None


def test_what_is_begun_after_the_end_is_done_all_the_same():
    workers = Workers("w-late")
    workers.close()
    assert workers.submit(lambda: 3).result(60) == 3
    eventually(lambda: not threads("w-late"), "its end")


def test_threads_that_are_too_many_end_when_fewer_are_to_be_kept():
    together = threading.Barrier(6, timeout=60)
    with contextlib.closing(Workers("w-fewer", kept=6)) as workers:
        for future in [workers.submit(together.wait) for _ in range(6)]:
            future.result(60)
        eventually(lambda: workers._idle == 6)
        workers.keep(2)
        eventually(lambda: len(threads("w-fewer")) == 2, "the end of those that are too many")
        assert workers.submit(lambda: 3).result(60) == 3


class Later:
    """What comes when the test says so."""

    def __init__(self):
        self.waiting = threading.Event()
        self._act = None

    def then(self, act):
        self._act = act
        self.waiting.set()

    def comes(self):
        assert self.waiting.wait(60)
        self._act()


def test_no_thread_waits_between_two_steps():
    together = threading.Barrier(20, timeout=60)
    laters = [Later() for _ in range(20)]

    def steps(number):
        together.wait()  # all at once
        yield laters[number]
        return number

    with contextlib.closing(Workers("w-steps", kept=3)) as workers:
        futures = [workers.drive(steps(number)) for number in range(20)]
        eventually(lambda: len(threads("w-steps")) == 3, "the end of those that are too many")
        assert not any(future.done() for future in futures)
        for later in laters:
            later.comes()
        assert [future.result(60) for future in futures] == [*range(20)]


def test_what_a_step_raises_is_told_and_what_is_let_go_of_before_it_began_does_nothing():
    def steps(later):
        yield later
        raise ZeroDivisionError

    begun = []
    with contextlib.closing(Workers("w-steps-raise")) as workers:
        later = Later()
        future = workers.drive(steps(later))
        later.comes()
        with pytest.raises(ZeroDivisionError):
            future.result(60)

        class Slow(Workers):
            def _do(self, work):
                begun.append(work)

        slow = Slow("w-steps-slow")
        future = slow.drive(steps(later))
        assert future.cancel()
        later.waiting.clear()
        begun[0]()
        assert not later.waiting.is_set()
