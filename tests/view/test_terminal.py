"""What a terminal shows: words of hosts and of the deployment are data, and neither style it nor break its view."""

from __future__ import annotations

import asyncio
import io
import threading

import msgspec
import pytest
from rich.console import Console

from nixhive_nb.errors import StepFailed
from nixhive_nb.run.engine import Run
from nixhive_nb.util import streams
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.progress import progress_of
from nixhive_nb.view.terminal import Frame, HostLines, HostOutputs, follow_in_terminal, head_of
from tests.plan.fleets import deploy, instance, inventory

SAID = "\x1b]0;evil\x07 \x1b[31m[bold red]see [/nix/store/x] now\x9b2J"
SHOWN = "[bold red]see [/nix/store/x] now"
FAILED_ROW = {"instance": "www-1", "exit_code": None, "stdout": "", "stderr": ""}


class Saying:
    """A backend whose first step says a line, and then fails when it may."""

    def __init__(self):
        self.said = threading.Event()
        self.may_end = threading.Event()

    async def perform(self, step, tell):
        tell.line(SAID)
        self.said.set()
        await asyncio.to_thread(self.may_end.wait, 30)
        raise StepFailed(f"it failed: {SAID}")


@pytest.fixture
def backend():
    one = Saying()
    yield one
    one.may_end.set()


@pytest.fixture
def run(backend):
    return Run(deploy(inventory(instance("www-1")), "*"), backend)


@pytest.fixture(params=["terminal", "pipe"])
def is_terminal(request, monkeypatch):
    """Whether standard error is a terminal."""
    if request.param == "terminal":
        be_a_terminal(monkeypatch)
    return request.param == "terminal"


def be_a_terminal(monkeypatch):
    """Have rich take the captured standard error for a wide terminal. Its TTY_COMPATIBLE is not in 13.7, our floor."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


def test_on_80_columns_the_head_is_one_line_and_its_facts_are_whole(run):
    progress = msgspec.structs.replace(progress_of(run.report()), title="deploy of 2 instances", moved=12_345_678)
    facts = progress.facts(3_200_000.0)
    console = Console(width=80, file=io.StringIO())
    console.print(head_of(progress, 3_200_000.0))
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("deploy of 2 instances")
    assert line.rstrip().endswith(facts)


def test_a_line_of_a_step_that_goes_on_is_shown_as_it_was_said(run, backend, monkeypatch, capsys):
    be_a_terminal(monkeypatch)
    with follow_in_terminal(run):
        run.start()
        assert backend.said.wait(30)
    shown = capsys.readouterr().err
    assert SHOWN in strip_control(shown)
    assert_is_tame(shown)


def test_why_a_step_failed_is_shown_as_it_was_said(run, backend, is_terminal, capsys):
    backend.may_end.set()
    with follow_in_terminal(run):
        assert run.start().wait(30)
    shown = capsys.readouterr().err
    assert f"it failed: {SHOWN}" in " ".join(strip_control(shown).split())
    assert_is_tame(shown)
    if not is_terminal:
        assert "\x1b" not in shown


def test_what_came_of_an_interrupted_run_is_told_without_terminal_control(run, backend, capsys):
    backend.may_end.set()

    def interrupted():
        with follow_in_terminal(run):
            assert run.start().wait(30)
            capsys.readouterr()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    shown = capsys.readouterr().err
    assert SHOWN in shown
    assert "\x1b" not in shown
    assert_is_tame(shown)


@pytest.mark.parametrize("listener", [HostLines, HostOutputs])
def test_how_a_host_failed_is_told_without_terminal_control(listener, capsys):
    one = listener()
    one.hosts(["www-1"], "x")
    one.ended({**FAILED_ROW, "error": f"www-1: {SAID}"})
    assert capsys.readouterr().err.splitlines()[-1] == f"!! www-1:  {SHOWN}"


def test_lines_that_come_together_are_printed_together(monkeypatch):
    """A write and a look at the terminal for each line took most of the time of a program that printed 100 MB."""
    written = []
    monkeypatch.setattr(streams, "write", lambda text, *, error=False: written.append((text, error)))
    one = HostLines()
    one.hosts(["www-10", "db"], "x")
    one.said_lines("db", "stdout", "a\n\nb")
    one.said_lines("www-10", "stderr", "c")
    assert written == [("db     | a\ndb     | \ndb     | b\n", False), ("www-10 | c\n", True)]


def assert_is_tame(shown):
    """See that what was said is not carried out: no title, no red, no cleared screen."""
    assert "\x07" not in shown
    assert "\x1b[31m[" not in shown
    assert "\x9b" not in shown
    assert "\x1b[1;31m" not in shown


def test_a_view_that_takes_long_to_make_is_made_seldom():
    """Of a very large fleet a view takes a second, and the terminal asks for four of them a second."""
    clock, made = [0.0], []

    def make():
        made.append(clock[0])
        clock[0] += 1.0
        return len(made)

    frame = Frame(make, now=lambda: clock[0], worked=lambda: clock[0])
    while clock[0] < 100:
        frame()
        clock[0] += 0.25
    # The first is no measure: it may have imported what all of them need.
    assert made[:2] == [0.0, 1.25]
    assert 9 <= len(made[1:]) <= 10

    quick = Frame(lambda: made.append("quick"), now=lambda: clock[0], worked=lambda: 0.0)
    made.clear()
    for _ in range(5):
        quick()
        clock[0] += 0.25
    assert len(made) == 5
