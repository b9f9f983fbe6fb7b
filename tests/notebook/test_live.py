"""Following a run in a cell: seldom, and only with news."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nixhive_nb.notebook import live
from nixhive_nb.notebook.live import ProgressView, Pump, follow_in_notebook
from nixhive_nb.notebook.record import Record
from nixhive_nb.notebook.run_output import Counting, RunOutput, RunWatch
from nixhive_nb.plan.engine import Run
from nixhive_nb.plan.event import Result
from tests.notebook.values import deploy_plan


class Clock(threading.Event):
    """An event whose pauses end when a test says so."""

    def __init__(self):
        super().__init__()
        self.pauses = []
        self.ticks = threading.Semaphore(0)

    def wait(self, timeout=None):
        self.pauses.append(timeout)
        while not self.ticks.acquire(timeout=0.05):
            if self.is_set():
                break
        return self.is_set()


class Screen:
    """Stands where `Live` does, and keeps what it was given."""

    views: list[object]

    def __init__(self, view):
        Screen.views = [view]

    def update(self, view):
        Screen.views.append(view)


class Quick:
    """A backend that says much and takes no time."""

    async def perform(self, step, tell):
        for number in range(50):
            tell.line(f"line {number}")
            tell.progress(number, 50)
            await asyncio.sleep(0)
        return Result()


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setattr(live, "Live", Screen)
    return Screen


def settled(condition):
    for _ in range(500):
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


class TestPump:
    def test_it_publishes_once_a_pause_however_much_happens(self):
        clock, published = Clock(), []
        pump = Pump(lambda: published.append(1), ended=clock)
        pump.start()
        for wanted in (1, 2, 3):
            for _ in range(1000):
                pump.note()
            clock.ticks.release()
            assert settled(lambda wanted=wanted: len(published) == wanted)
        pump.stop()
        assert len(published) == 3
        assert set(clock.pauses) == {0.5}

    def test_it_publishes_nothing_when_nothing_changes(self):
        clock, published = Clock(), []
        pump = Pump(lambda: published.append(1), ended=clock)
        pump.start()
        for _ in range(5):
            clock.ticks.release()
        pump.stop()
        assert published == []

    def test_a_view_that_cannot_be_made_does_no_harm(self):
        clock, tried = Clock(), threading.Event()

        def publish():
            tried.set()
            raise ValueError

        pump = Pump(publish, ended=clock)
        pump.start()
        pump.note()
        clock.ticks.release()
        assert tried.wait(5)
        pump.stop()


class TestFollow:
    def test_the_record_takes_the_place_of_the_view(self, screen):
        run = Run(deploy_plan(), Quick())
        with follow_in_notebook(run):
            assert run.start().wait(30)
        assert isinstance(screen.views[0], ProgressView)
        assert isinstance(screen.views[-1], Record)
        assert screen.views[-1].report.ok
        assert len(screen.views) <= 4

    def test_also_after_an_interrupt(self, screen):
        def interrupted(run):
            with follow_in_notebook(run):
                run.start().wait(30)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted(Run(deploy_plan(), Quick()))
        assert isinstance(screen.views[-1], Record)
        names = {thread.name for thread in threading.enumerate()}
        assert "hive-display" not in names


class TestRunWatch:
    def test_it_counts_at_most_twice_a_second(self, monkeypatch):
        monkeypatch.setattr("nixhive_nb.notebook.run_output.Live", Screen)
        monkeypatch.setattr("nixhive_nb.notebook.run_output.in_kernel", lambda: True)
        now = [0.0]
        watch = RunWatch(lambda: now[0])
        watch.begin([f"www-{number}" for number in range(100)])
        for number in range(100):
            now[0] += 0.01
            watch.add(
                {"instance": f"www-{number}", "exit_code": 0, "stdout": "", "stderr": "", "error": "", "seconds": 0}
            )
        watch.end()
        assert [type(view) for view in Screen.views] in ([Counting, Counting, RunOutput], [Counting] * 3 + [RunOutput])
        assert len(Screen.views[-1].rows) == 100
