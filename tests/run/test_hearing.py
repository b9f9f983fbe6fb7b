"""Who hears of a run: all of it, in order, on one thread, and without touching the run."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nixhive_nb.plan.events import Result, StepEnded, StepLine
from nixhive_nb.run.engine import Run
from nixhive_nb.run.hearing import Hearing
from tests.plan.fleets import deploy, instance, inventory

HOSTS = 8
LINES = 50


class Talking:
    """A backend whose steps speak from threads of their own, as readers of ssh do."""

    async def perform(self, step, tell):
        def speak():
            for number in range(LINES):
                tell.line(f"{number}")

        await asyncio.gather(*(asyncio.to_thread(speak) for _ in range(2)))
        return Result()


@pytest.fixture
def run():
    return Run(deploy(inventory(*(instance(f"h{number}") for number in range(HOSTS))), "*"), Talking())


def test_each_listener_hears_all_of_it_in_order_on_one_thread(run):
    """D7: steps speak on many threads at once."""
    heard = [[], []]
    for events in heard:
        run.subscribe(lambda event, events=events: events.append((threading.get_ident(), event)))
    recorded = []
    run.record(recorded.append)
    assert run.start().wait(30)
    first, second = heard
    assert [event for _, event in first] == [event for _, event in second] == recorded
    threads = [{thread for thread, _ in events} for events in heard]
    assert list(map(len, threads)) == [1, 1]
    assert not threads[0] & threads[1]
    assert run.unheard == ()


def test_one_that_raises_hears_nothing_more_and_the_others_and_the_run_go_on(run):
    """D2."""
    heard, failure = [], OSError("no screen")

    def broken(event):
        heard.append(event)
        raise failure

    events = []
    run.subscribe(broken)
    run.subscribe(events.append)
    assert run.start().wait(30)
    assert run.report().ok
    assert len(heard) == 1
    assert len([one for one in events if isinstance(one, StepEnded)]) == len(run.plan.steps)
    assert run.unheard == (failure,)


def test_one_that_is_far_behind_misses_lines_and_no_end():
    """D2: what waits for a terminal that was stopped does not fill the memory."""
    gate, heard = threading.Event(), []
    hearing = Hearing(lambda event: gate.wait(30) and heard.append(event), behind=10)
    for number in range(100):
        hearing.tell(StepLine(time=0, step="s", text=str(number)))
    end = StepEnded(time=0, step="s", outcome="done")
    hearing.tell(end)
    gate.set()
    assert hearing.end(30)
    assert 10 <= len(heard) <= 13
    assert heard[-1] == end
