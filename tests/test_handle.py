"""A run in the background: a handle that is told the end whatever happens, and that Python does not leave behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading

import pytest

from nixhive_nb.handle import RunHandle, going, in_background, in_foreground
from nixhive_nb.run import engine
from nixhive_nb.run.carry import under_way
from nixhive_nb.run.limits import Limits
from tests.notebook.values import deploy_plan
from tests.run.test_carry import Gated

SCRIPT = """
import asyncio, contextlib, sys, threading
from nixhive_nb.handle import RunHandle, in_background
from nixhive_nb.run.limits import Limits
from nixhive_nb.run.carry import under_way
from nixhive_nb.plan.events import Result
from tests.notebook.values import deploy_plan

def say(text):
    sys.stdout.write(f"{text}\\n")  # in one piece: two threads speak
    sys.stdout.flush()

class Slow:
    async def perform(self, step, tell):
        if step.kind == "activate":
            say(f"began {step.id}")
            began.set()
            # In an executor, as the real one does it: these are the first to go when Python ends.
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            await asyncio.get_running_loop().run_in_executor(None, say, f"ended {step.id}")
        return Result()

class Told(RunHandle):
    def cancel(self, **how):
        super().cancel(**how)
        say("cancelled")

@contextlib.contextmanager
def carried():
    with under_way(deploy_plan(), Slow(), limits=Limits(), follow=None, journal=None) as run:
        yield Told("it", run)

began = threading.Event()
run = in_background(carried())
began.wait()
"""


ID = "20261125T211402Z-7f3a91"


@contextlib.contextmanager
def carried(backend):
    with under_way(deploy_plan(), backend, limits=Limits(), follow=None, journal=None) as run:
        yield RunHandle(ID, run)


def begin(backend):
    return in_background(carried(backend))


def test_what_breaks_at_the_end_is_told_to_who_waits():
    backend = Gated()
    backend.open()

    @contextlib.contextmanager
    def shown_badly():
        with carried(backend) as handle:
            yield handle
        raise OSError("no screen")

    run = in_background(shown_badly())
    with pytest.raises(OSError, match="no screen"):
        run.wait(20)
    assert not run.running


def test_in_the_foreground_it_is_the_same_handle_and_its_report_is_given():
    backend = Gated()
    backend.open()
    handles = []

    @contextlib.contextmanager
    def kept():
        with carried(backend) as handle:
            handles.append(handle)
            yield handle

    report = in_foreground(kept())
    (handle,) = handles
    assert report.ok
    assert not handle.running
    assert handle.wait(0) == report
    assert going() == []


def test_an_interrupt_in_the_foreground_stops_the_run_and_goes_on_up():
    staying, handles = threading.Event(), []

    class Stays(RunHandle):
        def stay(self):
            handles.append(self)
            staying.set()
            super().stay()

    @contextlib.contextmanager
    def kept():
        with under_way(deploy_plan(), Gated(), limits=Limits(), follow=None, journal=None) as run:
            yield Stays(ID, run)

    def interrupt():
        staying.wait(20)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        in_foreground(kept())
    thread.join()
    (handle,) = handles
    assert not handle.running
    assert handle.report.counts() == {"cancelled": 4}


def test_an_interrupt_ends_the_waiting_alone():
    backend = Gated()
    run = begin(backend)
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run.wait(20)
    timer.join()
    assert run.running
    backend.open()
    assert run.wait(20).ok


def test_in_short_it_says_how_it_is_also_where_it_broke(monkeypatch):
    backend = Gated()
    run = begin(backend)
    assert backend.began.wait(10)
    assert repr(run).startswith("RunHandle(20261125T211402Z-7f3a91: deploying, 0 of ")
    backend.open()
    run.wait(20)
    assert "4 of 4 deployed" in repr(run)

    def broken(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(engine.Policy, "note", broken)
    backend = Gated()
    backend.open()
    run = begin(backend)
    with pytest.raises(ZeroDivisionError):
        run.wait(20)
    assert repr(run) == f"RunHandle({ID}: broken, ZeroDivisionError: division by zero)"


def test_where_no_thread_can_be_had_nothing_goes_on(monkeypatch):
    backend = Gated()
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("hive-background"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        begin(backend)
    assert not [one for one in threading.enumerate() if one.name.startswith("hive-run")]


def test_when_python_ends_an_activation_comes_to_its_end_and_nothing_more_is_started():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert {process.stdout.readline() for _ in range(2)} == {"began activate:portico\n", "cancelled\n"}
    # D20: who waits says for what, and for how long.
    waits = process.stderr.readline()
    assert waits.startswith("Python ends when run it does, which waits for portico, at most "), waits
    said, wrong = process.communicate("go on\n" * 9, timeout=30)
    assert said == "ended activate:portico\n", wrong
    assert process.returncode == 0
