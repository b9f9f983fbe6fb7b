"""How many nodes are read, in a terminal: one line while it takes long, and nothing after it."""

from __future__ import annotations

import io
import sys

import pytest

from nixhive_nb.view import counting
from nixhive_nb.view.counting import NodeCount
from tests.sshd import eventually


class Screen(io.StringIO):
    """A standard error that is a terminal, or none."""

    def __init__(self, *, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.fixture
def screen(monkeypatch):
    def made(*, is_terminal, pause=0.0):
        monkeypatch.setattr(counting, "PAUSE", pause)
        monkeypatch.setattr(sys, "stderr", Screen(is_terminal=is_terminal))
        monkeypatch.setenv("TERM", "xterm")
        return sys.stderr

    return made


def test_a_terminal_says_it_while_it_goes_on(screen):
    shown, count = screen(is_terminal=True), NodeCount()
    count(1, 3)
    count(2, 3)
    eventually(lambda: "2 of 3 nodes evaluated" in shown.getvalue())
    count(3, 3)
    assert count.words == ""
    length = len(shown.getvalue())
    count.close()
    assert len(shown.getvalue()) == length


def test_what_breaks_off_leaves_nothing_that_is_drawn_anew(screen):
    shown, count = screen(is_terminal=True), NodeCount()
    count(1, 3)
    count.close()
    length = len(shown.getvalue())
    count.close()
    assert len(shown.getvalue()) == length


@pytest.mark.parametrize(("is_terminal", "pause"), [(False, 0.0), (True, 1000.0)])
def test_nothing_is_drawn_for_a_file_or_for_what_is_quick(screen, is_terminal, pause):
    shown, count = screen(is_terminal=is_terminal, pause=pause), NodeCount()
    count(1, 3)
    assert shown.getvalue() == ""
    assert count.words == "reading the deployment: 1 of 3 nodes evaluated"
    count.close()
