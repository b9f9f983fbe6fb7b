"""What a text is shown on."""

from __future__ import annotations

import io
import os
import pty
import sys

import pytest

from nixhive_nb.view.screen import ENDLESS, Screen, screen_of

COLOURS = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")


@pytest.fixture
def on(monkeypatch):
    """Have standard error lead to a terminal, with these variables."""
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w")

    def be(**variables):
        for name in COLOURS:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stderr", stream)
        return screen_of(error=True)

    yield be
    stream.close()
    os.close(ours)


def test_a_terminal_has_a_width_and_colours(on):
    assert on(TERM="xterm-256color", COLUMNS="72") == Screen(width=72, colour=True)
    assert on(TERM="xterm-256color").width == 80, "a terminal that does not know its width"
    assert on(TERM="xterm", COLUMNS="3").width == 40


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {}])
def test_a_terminal_without_colours_gets_none(on, variables):
    assert not on(**variables).colour
    assert on(**variables).width is not None


def test_a_pipe_has_no_end_and_no_colours(monkeypatch):
    for name in COLOURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert screen_of() == ENDLESS
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert screen_of() == Screen(colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen_of() == ENDLESS


def test_a_stream_that_is_closed_is_no_terminal(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert screen_of().width is None
