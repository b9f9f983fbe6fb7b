"""Carrying a plan out: whatever comes in between, nothing goes on that nobody waits for, and the journal has an end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading

import pytest

from nixhive_nb.plan.events import Result
from nixhive_nb.run import engine, history
from nixhive_nb.run.carry import carry_out, under_way
from nixhive_nb.run.journal import Journal
from nixhive_nb.run.limits import Limits
from tests.notebook.values import deploy_plan
from tests.run.test_journal import HEADER


class Gated:
    """A backend whose steps wait until the gate is opened."""

    def __init__(self):
        self._is_open = False
        self._loop = self._news = None
        self.began = threading.Event()
        self.cancelled: list[str] = []
        self.run = None

    def open(self):
        self._is_open = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._news.set)

    async def perform(self, step, tell):
        self._loop, self._news = asyncio.get_running_loop(), self._news or asyncio.Event()
        self.began.set()
        try:
            if not self._is_open:
                await self._news.wait()
        except asyncio.CancelledError:
            self.cancelled.append(step.id)
            raise
        return Result()


@pytest.fixture
def journal(tmp_path):
    with contextlib.closing(Journal.begin(tmp_path, HEADER, deploy_plan())) as one:
        yield one


def states(journal):
    return [entry.state for entry in history.runs(journal.path.parents[1])]


def test_who_leaves_before_the_end_ends_the_run(journal):
    backend = Gated()

    def leave():
        with under_way(deploy_plan(), backend, limits=Limits(), follow=None, journal=journal) as run:
            backend.run = run
            assert backend.began.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not backend.run.going
    assert backend.cancelled
    assert states(journal) == ["ended"]


def test_what_breaks_as_the_run_is_shown_for_the_first_time_leaves_nothing(journal):
    backend = Gated()

    @contextlib.contextmanager
    def follow(run):
        backend.run = run
        raise OSError("no screen")
        yield

    with pytest.raises(OSError, match="no screen"):
        carry_out(deploy_plan(), backend, limits=Limits(), follow=follow, journal=journal)
    assert not backend.run.going
    assert not backend.began.is_set()
    assert states(journal) == ["ended"]


class Opened(Gated):
    """One whose gate is open."""

    def __init__(self):
        super().__init__()
        self.open()


def broken(event):
    raise OSError(errno.EPIPE, "Broken pipe")


def test_a_face_that_breaks_in_the_middle_or_at_the_end_does_not_touch_the_run(journal):
    """D2: the run comes to its end, the journal is whole, the report is kept, and somebody is told."""

    @contextlib.contextmanager
    def follow(run):
        run.subscribe(broken)
        try:
            yield
        finally:
            raise ValueError("I/O operation on closed file.")

    warned = []
    report = carry_out(deploy_plan(), Opened(), limits=Limits(), follow=follow, journal=journal, warn=warned.append)
    assert report.ok
    assert history.report_of(history.runs(journal.path.parents[1])[0]).ok
    assert warned == [
        "Not all of the run could be shown: [Errno 32] Broken pipe. Its report is whole.",
        "Not all of the run could be shown: I/O operation on closed file.. Its report is whole.",
    ]


def test_a_face_that_cannot_show_the_end_hides_no_interrupt(journal):
    """D2."""

    @contextlib.contextmanager
    def follow(run):
        try:
            yield
        finally:
            raise BrokenPipeError

    def leave():
        with under_way(deploy_plan(), Opened(), limits=Limits(), follow=follow, journal=journal) as run:
            assert run.wait(20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert states(journal) == ["ended"]


def test_a_face_that_hangs_holds_neither_the_run_nor_its_journal(journal):
    """D2, D7: a terminal that was stopped (Ctrl-S), or a pager that nobody scrolls."""
    free, hung = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def follow(run):
        run.subscribe(lambda _: hung.set() or free.wait(60))
        yield
        assert states(journal) == ["ended"], "though nobody has seen it yet"
        free.set()

    report = carry_out(deploy_plan(), Opened(), limits=Limits(), follow=follow, journal=journal)
    assert hung.is_set()
    assert report.ok


def test_a_run_that_breaks_does_not_seem_to_go_on(journal, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(engine.Policy, "note", broken)
    with pytest.raises(RuntimeError, match="a bug") as caught:
        carry_out(deploy_plan(), Opened(), limits=Limits(), follow=None, journal=journal)
    assert states(journal) == ["killed"], "though somebody holds the traceback"
    assert caught.value.__traceback__
