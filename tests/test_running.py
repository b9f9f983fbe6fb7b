"""Carrying a plan out: whatever comes in between, nothing goes on that nobody waits for, and the journal has an end."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from nixhive_nb.plan import history
from nixhive_nb.plan.event import Result
from nixhive_nb.plan.journal import Journal
from nixhive_nb.plan.limits import Limits
from nixhive_nb.running import carry_out, under_way
from tests.notebook.values import deploy_plan
from tests.plan.test_journal import HEADER


class Gated:
    """A backend whose steps wait until the gate is opened."""

    def __init__(self):
        self._is_open = False
        self._loop = self._news = None
        self.began = threading.Event()
        self.cancelled: list[str] = []
        self.closed_while_going: bool | None = None
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

    def close(self):
        self.closed_while_going = self.run is not None and self.run.going


@pytest.fixture
def journal(tmp_path):
    with contextlib.closing(Journal.begin(tmp_path, HEADER, deploy_plan())) as one:
        yield one


def states(journal):
    return [entry.state for entry in history.runs(journal.path.parents[1])]


def test_who_leaves_before_the_end_ends_the_run_before_the_backend(journal):
    backend = Gated()

    def leave():
        with under_way(deploy_plan(), backend, limits=Limits(), follow=None, journal=journal) as run:
            backend.run = run
            assert backend.began.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not backend.run.going
    assert backend.closed_while_going is False
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


def test_a_run_that_breaks_does_not_seem_to_go_on(journal):
    @contextlib.contextmanager
    def follow(run):
        run.subscribe(broken)
        yield

    def broken(event):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug") as caught:
        carry_out(deploy_plan(), Gated(), limits=Limits(), follow=follow, journal=journal)
    assert states(journal) == ["killed"], "though somebody holds the traceback"
    assert caught.value.__traceback__
