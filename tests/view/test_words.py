"""The one table of words: it has all there is, and pages have a style for each tone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import nixhive_nb
from nixhive_nb.plan.events import BAD, Outcome
from nixhive_nb.plan.plan import Verb
from nixhive_nb.plan.status import STANDINGS
from nixhive_nb.plan.step import Kind, stage
from nixhive_nb.view.plan_rows import FATES as ALL_FATES
from nixhive_nb.view.words import (
    COLOURS,
    FATES,
    LOOKS,
    OUTCOMES,
    STEPS,
    STYLES,
    VERBS,
    Counted,
    Tone,
    look_of,
    wave_look,
)

PACKAGE = Path(nixhive_nb.__file__).parent


def page(name):
    """The text of a script or a style of a widget."""
    (file,) = (PACKAGE / "notebook").rglob(name)
    return file.read_text()


def test_whatever_there_is_has_its_words():
    assert set(VERBS) == set(get_args(Verb))
    assert set(STEPS) == {*get_args(Kind), "wait"}
    assert set(OUTCOMES) == {*get_args(Outcome), None}
    assert set(LOOKS) == set(STANDINGS)
    assert set(FATES) == set(ALL_FATES)
    assert set(COLOURS) == set(STYLES) == set(get_args(Tone))


def test_each_outcome_is_counted_and_what_ended_badly_says_how():
    assert {words.counted for words in OUTCOMES.values()} == set(get_args(Counted)) - {"waiting"}
    for outcome in BAD:
        words = OUTCOMES[outcome]
        assert (words.counted, words.tone) == ("failed", "bad")
        assert words.ended


def test_what_a_timeline_shows_of_a_step_is_a_letter_of_its_own():
    letters = [STEPS[kind].letter for kind in {*map(stage, get_args(Kind)), "wait"} - {"gate"}]
    assert all(letters)
    assert len(letters) == len(set(letters))


def test_other_words_than_standings_stand_back():
    assert (look_of("in sync").tone, look_of("mixture").tone) == ("ok", "bad")
    assert (look_of("whatever").symbol, look_of("whatever").tone) == ("", "dim")


@pytest.mark.parametrize("tone", get_args(Tone))
def test_the_tracker_has_a_style_for_each_tone(tone):
    assert f".hive-tracker .hive-{tone} {{" in page("tracker.css")


def test_the_picker_has_a_style_for_each_tone_of_a_standing():
    styled = set(re.findall(r'data-tone="(\w+)"', page("picker.css")))
    assert styled == {look.tone for look in LOOKS.values()}


@pytest.mark.parametrize("script", ["tracker.js", "picker.js"])
def test_pages_know_no_symbols_and_tones_of_their_own(script):
    assert not re.search("[✓✕↶⊘⚠◐◑○●]", page(script))


def test_a_wave_has_the_symbol_and_the_tone_of_how_it_is():
    looks = [wave_look(done, failed, 3) for done, failed in [(0, 0), (1, 0), (3, 0), (1, 1)]]
    assert [(look.symbol, look.tone) for look in looks] == [("○", "dim"), ("●", "run"), ("✓", "ok"), ("✕", "bad")]


@pytest.mark.parametrize("file", sorted({*(PACKAGE / "view").glob("*.py")} - {PACKAGE / "view" / "words.py"}))
def test_no_other_view_has_a_table_of_its_own(file):
    """A symbol that stands as the value of a key."""
    assert not re.search(r'": *\(?"[✓✕↶⊘⚠◐◑○●=?] ?"', file.read_text())
