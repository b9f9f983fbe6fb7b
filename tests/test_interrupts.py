"""Interrupts: a wait sees one soon, and a beginning is not torn by one."""

from __future__ import annotations

import signal
import threading

import pytest

from nixhive_nb.interrupts import interrupts_held, wait_awake


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_a_wait_goes_on_in_short_pieces_until_its_time_is_over():
    pieces = []

    def wait(seconds):
        pieces.append(seconds)
        return len(pieces) == 5

    assert wait_awake(wait)
    assert pieces == [1.0] * 5
    assert not wait_awake(threading.Event().wait, 0.01)
    assert not wait_awake(threading.Event().wait, 0)
    assert wait_awake(lambda seconds: seconds < 0.5, 0.4)


@pytest.mark.parametrize("deep", [1, 2])
def test_an_interrupt_is_held_until_the_end_of_the_outermost(deep):
    done = []

    def work(deep):
        with interrupts_held():
            if deep > 1:
                work(deep - 1)
            else:
                interrupt()
            done.append(deep)

    with pytest.raises(KeyboardInterrupt):
        work(deep)
    assert done == list(range(1, deep + 1))
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_on_another_thread_there_is_nothing_to_hold():
    seen = []

    def work():
        with interrupts_held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
