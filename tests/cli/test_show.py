"""What a terminal shows of a listing: as much as a person reads, and to a program all of it."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from nixhive_nb.cli import show
from nixhive_nb.commands.session import Listing
from nixhive_nb.view.doctor import doctor_table
from nixhive_nb.view.screen import Screen
from tests.plan.diagnoses import diagnosis, lost

MOST = 20
FOUND = [*(diagnosis(f"well-{number}") for number in range(100)), *(lost("gone: off", f"gone-{at}") for at in range(5))]


@pytest.fixture
def shown(capsys, monkeypatch):
    """Show a listing on a screen of some width, or where there is none."""

    def shown(form, width=None):
        monkeypatch.setattr(show, "screen_of", lambda: Screen(width=width))
        frame = pd.DataFrame({"instance": [one.instance for one in FOUND], "word": "ü"}).set_index("instance")
        show.show(Listing(frame=frame, table=doctor_table(FOUND), form=form, most=MOST))
        return capsys.readouterr().out

    return shown


def test_a_terminal_shows_the_worst_and_counts_the_others(shown):
    told = shown("table", 120)
    assert told.count("✕ unreachable") == 5
    assert told.count("✓ well") == MOST - 5
    assert "… and 85 more: 85 well" in told


@pytest.mark.parametrize(("form", "width"), [("table", None), ("wide", 120)])
def test_a_pipe_and_who_asks_for_all_get_all(shown, form, width):
    told = shown(form, width)
    assert told.count("✓ well") == 100
    assert " more" not in told


def test_json_is_one_array_of_all_rows(shown):
    told = shown("json", 120)
    rows = [{"instance": one.instance, "word": "ü"} for one in FOUND]
    assert told == f"{json.dumps(rows, indent=2, ensure_ascii=False)}\n"
