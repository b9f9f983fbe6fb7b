"""What we use of IPython and ipykernel though they never promised it: what it gives here is what we take it for."""

from __future__ import annotations

import pytest
from IPython.core.magic import Magics, line_magic, magics_class

from nixhive_nb.notebook.private import drop_magics, in_kernel, is_attended, magics_of, stands_alone, statements


@magics_class
class Asking(Magics):
    """A magic that notes whether it stands alone."""

    def __init__(self, shell):
        super().__init__(shell)
        self.alone = []

    @line_magic
    def asking(self, line):
        self.alone.append(stands_alone())
        return line


@pytest.fixture
def asking(shell):
    shell.ip.register_magics(Asking)
    return magics_of(shell.ip, Asking)


@pytest.mark.parametrize(
    ("cell", "alone"),
    [
        ("%asking", [True]),
        ("%asking a;", [True]),
        ("1\n%asking\n2", [True]),
        ("for x in range(2):\n    %asking", [True, True]),
        ("%asking \\\n  a", [True]),
        ("x = %asking", [False]),
        ("a, b = %asking ab", [False]),
        ("get_ipython().run_line_magic('asking', '')", [True]),
        ("print(get_ipython().run_line_magic('asking', ''))", [False]),
        ("def f():\n    %asking\nf()", [True]),
    ],
)
def test_whether_a_value_is_taken(shell, asking, cell, alone):
    shell.run(cell)
    assert asking.alone == alone


def test_what_runs_outside_of_a_cell_does_not_stand_alone():
    assert not stands_alone()


def test_magics_that_are_dropped_are_gone(shell, asking):
    assert isinstance(asking, Asking)
    drop_magics(shell.ip, Asking, "asking")
    assert magics_of(shell.ip, Asking) is None
    assert "asking" not in shell.ip.magics_manager.magics["line"]
    drop_magics(shell.ip, Asking, "asking")


def test_the_statements_of_a_cell():
    found = list(statements(["x = '''\n", "?%hive a\n", "'''\n", "  %hive b \\\n", "    c?\n"]))
    assert [(one.first, one.column, one.begins) for one in found] == [(0, 0, "x"), (3, 2, "%")]
    assert (found[1].last, found[1].ends, found[1].text.split()) == (4, "?", ["%hive", "b", "c?"])


def test_a_shell_without_a_kernel():
    assert not in_kernel()
    assert not is_attended()
