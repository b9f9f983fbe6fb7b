"""A log without a terminal has a line at least once a minute (case 25)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nixhive_nb.run.engine import Run
from nixhive_nb.view.terminal import _in_short
from tests.plan.fleets import deploy, instance, inventory
from tests.view.test_terminal import SHOWN, Saying

QUIET = """
import sys
from nixhive_nb.cli import main as cli
from nixhive_nb.util import process
cli.call = lambda words: process.run(["sh", "-c", "read line <" + sys.argv[1]]).status
cli.main(sys.argv[2:], pulse=0.1)
"""


@pytest.fixture
def quiet(tmp_path):
    """Start a command that does nothing until somebody writes to its gate."""
    gate = tmp_path / "gate"
    subprocess.run(["mkfifo", gate], check=True)
    started = []

    def begin(*words):
        argv = [sys.executable, "-c", QUIET, str(gate), *words]
        started.append(subprocess.Popen(argv, stderr=subprocess.PIPE, text=True))
        return started[-1], gate

    yield begin
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.parametrize("words", [["deploy", "*"], ["status"], ["run", "*", "true"], ["build"]])
def test_a_command_that_says_nothing_says_that_it_goes_on(quiet, words):
    process, gate = quiet(*words)
    for _ in range(3):
        assert process.stderr.readline().startswith(f"{words[0]}: running, after ")
    gate.write_text("go\n")
    assert process.wait(30) == 0


def test_what_another_program_has_our_terminal_for_is_left_alone(quiet):
    process, gate = quiet("ssh", "web", "true")
    gate.write_text("go\n")
    assert process.communicate(timeout=30)[1] == ""


def test_of_a_run_it_says_what_goes_on_and_how_far_it_is():
    backend = Saying()
    run = Run(deploy(inventory(instance("www-1")), "*"), backend).start()
    try:
        assert backend.said.wait(30)
        said = _in_short(run)
    finally:
        backend.may_end.set()
        run.wait(30)
    assert said == f"Deploying, instances: 0 done · 0 failed · 0 running · 1 waiting. one ● evaluating: {SHOWN}"
