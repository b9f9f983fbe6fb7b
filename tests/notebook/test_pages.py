"""Which pages can show widgets, by what they say and what they do not."""

from __future__ import annotations

import pytest

from nixhive_nb.notebook import pages as module
from nixhive_nb.notebook.pages import HINT, PATIENCE, Pages


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pages(clock, monkeypatch):
    monkeypatch.setattr(module, "here", lambda: "one")
    return Pages(clock)


def cell(pages, clock, *, after=0.0, asks=""):
    """Run a cell that begins some seconds after the one before it."""
    clock.now += after
    pages.cell_begins()
    hint = pages.hint(asks) if asks else ""
    if asks:
        pages.ask(asks)
    clock.now += 60.0
    pages.cell_ends()
    return hint


def test_one_that_says_nothing_though_the_kernel_was_idle_is_told_once_what_to_install(pages, clock):
    assert [cell(pages, clock, after=PATIENCE, asks="one") for _ in range(3)] == ["", HINT, ""]
    assert not pages.shows("one")


def test_cells_that_were_begun_together_leave_it_no_time_to_be_heard(pages, clock):
    """F2: Run All. The kernel hears it when all of them have ended."""
    assert [cell(pages, clock, after=0.1, asks="one") for _ in range(3)] == ["", "", ""]


def test_one_that_says_hello_is_remembered(pages, clock):
    cell(pages, clock, asks="one")
    pages.heard()
    assert pages.shows("one")
    assert cell(pages, clock, after=PATIENCE, asks="one") == ""


def test_another_page_of_the_kernel_has_to_say_so_itself(pages, clock):
    cell(pages, clock, asks="one")
    pages.heard()
    cell(pages, clock, asks="two")
    assert not pages.shows("two")
    assert cell(pages, clock, after=PATIENCE, asks="two") == HINT


def test_a_page_that_was_asked_for_nothing_is_told_nothing(pages, clock):
    cell(pages, clock)
    assert cell(pages, clock, after=PATIENCE, asks="one") == ""
