"""The help of `%hive` and its commands, by `?` and by `--help`."""

from __future__ import annotations

import inspect
import re

import pytest

from nixhive_nb.commands import hive_group
from nixhive_nb.notebook.help import ask_for_help


def text_of(cell):
    return "".join(ask_for_help(cell.splitlines(keepends=True)))


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        ("%hive deploy?", "%hive deploy --help\n"),
        ("%hive deploy??", "%hive deploy --help\n"),
        ("%hive deploy ?", "%hive deploy --help\n"),
        ("%hive deploy --help?", "%hive deploy --help\n"),
        ("%hive -c example deploy web?", "%hive deploy --help\n"),
        ("%hive lab up?", "%hive lab up --help\n"),
        ("?%hive deploy", "%hive deploy --help\n"),
        ("??%%hive run", "%hive run --help\n"),
        ("%hive ?", "%hive --help\n"),
        ("%%hive run?\nuptime\n", "%hive run --help\n"),
        ("%%hive run --help\n", "%hive run --help\n"),
        ("x = 1\n%hive run?\ny = 2\n", "x = 1\n%hive run --help\ny = 2\n"),
        ("if x:\n    %hive run?\n", "if x:\n    %hive run --help\n"),
        ("%hive deploy web \\\n  www-?\n", "%hive deploy --help\n"),
        ("x = 1\n%hive deploy \\\n  web \\\n  www-?\ny = 2\n", "x = 1\n%hive deploy --help\ny = 2\n"),
        ("?%hive deploy \\\n  web", "%hive deploy --help\n"),
        ("%hive help deploy?", "%hive deploy --help\n"),
        ("?%hive help lab up", "%hive lab up --help\n"),
        ("%hive help?", "%hive help --help\n"),
        ("%hive -c example help deploy?", "%hive deploy --help\n"),
    ],
)
def test_a_question_mark_asks_for_the_help_of_a_command(cell, asked):
    assert text_of(cell) == asked


@pytest.mark.parametrize(
    "cell",
    [
        "%hive?",  # IPython's own
        "%%hive?",
        "x = '''\n%hive deploy?\n'''\n",
        "%hive instances 'www-?'\n",
        "%%hive run www-?\nuptime\n",
        "%%hive run web\nls what?\n",
        "%%bash\n%hive deploy?\n",
        "# %hive deploy?\n",
        "%hives deploy?\n",
        "print?\n",
        "%hive deploy\n",
        "%hive deploy web \\\n  www-1\n",
        "%hive deploy web\nwww?\n",
        "%hive instances web \\\n  'www-?'\n",
        "",
    ],
)
def test_other_lines_stay_as_they_are(cell):
    assert text_of(cell) == cell


@pytest.mark.parametrize(
    "cell",
    [
        "%hive deploy?",
        "%hive deploy web?",
        "%hive deploy --help",
        "%hive help deploy",
        "%hive help deploy?",
        "%hive deploy --yes web \\\n  www-?",
    ],
)
def test_help_is_printed_and_nothing_is_done(shell, cell):
    assert shell.run(cell) is None
    assert shell.out.startswith("Usage: %hive deploy ")
    assert "Each pattern is a wave" in shell.out


@pytest.mark.parametrize("cell", ["%hive lab", "%hive lab?", "%hive help lab"])
def test_a_group_of_commands_alone_is_answered_with_its_help(shell, cell):
    assert shell.run(cell) is None
    assert shell.out.startswith("Usage: %hive lab ")
    assert "  up " in shell.out


def test_the_help_of_what_is_not_there_says_so(shell):
    error = shell.error("%hive deplo?")
    assert "No such command 'deplo'" in str(error)


def test_the_magic_tells_of_every_command(shell):
    shell.run("%hive?")
    told = inspect.cleandoc(shell.ip.find_line_magic("hive").__doc__)  # Python 3.13 has done that already
    assert "%hive deploy portico '*'" in told
    lines = told[told.index("Commands (") : told.index("PATTERN is a name")].splitlines()
    left = [re.split(" {2,}", line.strip())[0] for line in lines if line.startswith("  ")]
    assert {part.split()[0] for one in left for part in one.split(", ")} == set(hive_group.commands)
