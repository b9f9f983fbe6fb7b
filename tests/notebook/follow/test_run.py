"""Following a run in a cell: seldom, and only with news."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nixhive_nb.notebook.display import Record
from nixhive_nb.notebook.follow import cell as tracking
from nixhive_nb.notebook.follow.cell import track
from nixhive_nb.notebook.follow.model import PlainView
from nixhive_nb.notebook.follow.pump import Pump
from nixhive_nb.notebook.follow.run import ProgressView, RunSource, follow_in_notebook
from nixhive_nb.plan.events import Result
from nixhive_nb.run.engine import Run
from nixhive_nb.view.progress import progress_of
from tests.notebook.shows import Ended, Scripted
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
    """Stands where IPython's `display` does, and keeps what it was given."""

    def __init__(self):
        self.views = []

    def __call__(self, view, *, display_id):
        assert display_id
        self.views.append(view)
        return self

    def update(self, view):
        self.views.append(view)


class Quick:
    """A backend that says much and takes no time."""

    async def perform(self, step, tell):
        for number in range(50):
            tell.line(f"line {number}")
            tell.progress(number, 50)
            await asyncio.sleep(0)
        return Result()


class Held:
    """A backend whose steps go on until a test lets them."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    async def perform(self, step, tell):
        tell.line(f"{step.id} speaks")
        self.begun.set()
        await asyncio.to_thread(self.go.wait)
        return Result()


@pytest.fixture
def screen(monkeypatch):
    one = Screen()
    monkeypatch.setattr(tracking, "display", one)
    monkeypatch.setattr(tracking, "in_kernel", lambda: True)
    return one


def settled(condition):
    for _ in range(500):
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


class TestPump:
    def test_it_publishes_once_a_pause_however_much_happens(self):
        clock, published = Clock(), []
        pump = Pump(lambda: published.append(1), first=0.3, ended=clock)
        pump.start()
        for wanted in (1, 2, 3):
            for _ in range(1000):
                pump.note()
            clock.ticks.release()
            assert settled(lambda wanted=wanted: len(published) == wanted)
        pump.stop()
        assert len(published) == 3
        assert clock.pauses == [0.3, 0.5, 0.5, 0.5]

    def test_what_takes_long_again_and_again_is_published_seldom_and_what_did_once_is_not(self):
        """The first view imports what is needed, and a machine may stand still: nine times that is no pause."""
        clock, published, took = Clock(), [], [6.0, 1.0, 2.0, 0.01, 0.01]
        pump = Pump(lambda: published.append(1), ended=clock, worked=lambda: sum(took[: len(published)]))
        pump.start()
        for wanted in range(1, 6):
            pump.note()
            clock.ticks.release()
            assert settled(lambda wanted=wanted: len(clock.pauses) == wanted + 1)
        pump.stop()
        assert clock.pauses == pytest.approx([0.5, 0.5, 9.0, 9.0, 0.5, 0.5])

    def test_it_publishes_nothing_when_nothing_changes(self):
        clock, published = Clock(), []
        pump = Pump(lambda: published.append(1), ended=clock)
        pump.start()
        for _ in range(5):
            clock.ticks.release()
        pump.stop()
        assert published == []

    def test_time_may_go_on_though_nothing_changes(self):
        clock, published = Clock(), threading.Event()
        pump = Pump(published.set, idle=0.01, ended=clock)
        pump.start()
        clock.ticks.release()
        assert published.wait(5)
        pump.stop()

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
        assert isinstance(screen.views[0], PlainView)
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

    def test_it_may_be_left_on_another_thread(self, screen):
        tracked = track(Scripted(), Ended, blocking=False)
        tracked.__enter__()
        leaver = threading.Thread(target=tracked.__exit__, args=(None, None, None))
        leaver.start()
        leaver.join()
        assert isinstance(screen.views[-1], Ended)

    def test_a_record_that_cannot_be_made_leaves_what_was_shown_last(self, screen):
        def broken():
            raise RuntimeError("a bug")

        with pytest.raises(RuntimeError, match="a bug"), track(Scripted(), broken):
            pass
        assert isinstance(screen.views[-1], PlainView)

    def test_widgets_that_cannot_be_made_are_done_without(self, screen, monkeypatch):
        def missing(*_, **__):
            raise ImportError

        monkeypatch.setattr("nixhive_nb.notebook.follow.widget.RunTracker.__init__", missing)
        source = Scripted()
        with track(source, Ended) as changed:
            source.lines.append("shown as HTML")
            changed(None)
            assert settled(lambda: len(screen.views) > 1)
        assert [type(view) for view in screen.views] == [PlainView] * (len(screen.views) - 1) + [Ended]
        assert "shown as HTML" in screen.views[1].html()

    def test_outside_a_kernel_nothing_is_shown(self, monkeypatch):
        screen = Screen()
        monkeypatch.setattr(tracking, "display", screen)
        with track(Scripted(), Ended) as changed:
            changed(None)
        assert screen.views == []


class TestRunSource:
    @pytest.fixture
    def held(self):
        """A run in its midst, and what holds it."""
        backend = Held()
        run = Run(deploy_plan(), backend).start()
        assert backend.begun.wait(10)
        yield run, backend
        backend.go.set()
        run.abandon()
        assert run.wait(10)

    def test_a_row_has_its_last_lines(self, held):
        source = RunSource(held[0])
        assert source.tail("not there") == ()
        row = source.view().rows[0]
        assert row.state == "● evaluating"
        assert source.tail(row.id) == (f"{row.id} speaks",)

    def test_the_first_cancel_is_in_good_order_and_the_second_at_once(self, held, monkeypatch):
        run, said = held[0], []
        stop = run.stop
        monkeypatch.setattr(run, "stop", lambda: (said.append("stop"), stop()))
        monkeypatch.setattr(run, "abandon", lambda: said.append("abandon"))
        source = RunSource(run)
        assert not source.view().stopping
        source.cancel()
        assert source.view().stopping
        source.cancel()
        monkeypatch.undo()
        assert said == ["stop", "abandon"]

    def test_the_html_of_a_report_is_that_of_its_progress(self, held):
        assert "● evaluating" in ProgressView(progress_of(held[0].report())).html()
