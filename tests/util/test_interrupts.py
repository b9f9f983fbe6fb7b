"""Interrupts: a wait sees one soon, and a beginning is not torn by one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from nixhive_nb.util.interrupts import interrupts_held, wait_awake


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_with_its_default_action_is_held_and_not_lost(number):
    """D14: where nobody has made a handler, it ends the program, but not before the beginning is whole."""
    code = f"""
import signal
import subprocess
import sys
from nixhive_nb.util.interrupts import interrupts_held
signal.signal({int(number)}, signal.SIG_DFL)
with interrupts_held():
    signal.raise_signal({int(number)})
    print("whole", flush=True)
print("lost", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (-number, "whole\n")


def test_sigterm_and_sighup_are_interrupts_of_a_program_and_nohup_is_obeyed():
    """D3."""
    code = """
import signal, sys
from nixhive_nb.util.interrupts import Caught
signal.signal(signal.SIGHUP, signal.SIG_IGN)
caught = Caught()
signal.raise_signal(signal.SIGHUP)
for one in (signal.SIGTERM, signal.SIGINT):
    try:
        signal.raise_signal(one)
    except KeyboardInterrupt:
        print(one.name, caught.first)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "SIGTERM 15\nSIGINT 15\n", ended.stderr
