"""`plan` plans what the command of a verb would do, also with the settings of a notebook."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("confirm", [None, 45.0])
@pytest.mark.parametrize("verb", ["deploy", "push", "rollback", "reboot", "build"])
def test_a_plan_is_made_as_the_command_of_its_verb_makes_it(in_notebook, verb, confirm):
    in_notebook.session.confirm = confirm
    hows = []
    for words in (["plan", verb], [verb]):
        with pytest.raises(in_notebook.Reached, match=verb) as reached:
            in_notebook(*words, "www", attended=True)
        # How it is looked at, and not what is done.
        hows.append({name: value for name, value in reached.value.how.items() if name not in ("measure", "follow")})
    assert {"to": 0, "no": (), **hows[1]} == hows[0]


def test_a_reboot_if_needed_is_planned_in_the_words_of_its_command(in_notebook):
    """Section A, "Smaller"."""
    hows = []
    for words in (["plan", "reboot"], ["reboot"]):
        with pytest.raises(in_notebook.Reached, match="reboot") as reached:
            in_notebook(*words, "www", "--if-needed", attended=True)
        hows.append(reached.value.how["reboot"])
    assert hows == ["if needed", "if needed"]
