"""What is printed cannot be written: a run takes no notice, its report is kept, and the exit status says how it was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.fleet.faults import saw
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("output"), web=0)
    yield one
    one.lab.down()


@pytest.fixture
def shell(fleet):
    """Runs words of a shell, with `nix-hive` in it, in the fleet's folder; `env` is added to the environment."""

    def run(words, **env):
        program = f"{sys.executable} -m nixhive_nb"
        return subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", words.replace("nix-hive", program)],
            cwd=fleet.folder,
            env={**os.environ, "NO_COLOR": "1", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run


DEPLOY = "nix-hive deploy -c example --yes --force --confirm 20 portico '*'"


@pytest.mark.parametrize(
    ("fault", "words", "env"),
    [
        ("the reader of a deploy's output goes away", f"{DEPLOY} 2>&1 | head -n 1 >&2", {}),
        ("the disk that a deploy's output goes to is full", f"{DEPLOY} >/dev/full 2>/dev/full", {}),
        ("a deploy's output and error are closed", f"{DEPLOY} >&- 2>&- <&-", {}),
        ("the terminal's encoding has no ✓", DEPLOY, {"PYTHONIOENCODING": "ascii:strict"}),
    ],
)
def test_a_deploy_comes_to_its_end_whatever_becomes_of_what_it_prints(fleet, shell, fault, words, env):
    """D2, case 18, N7."""
    ended = shell(words, **env)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    last = shell("nix-hive report -c example").stdout
    assert re.findall(r"^(\S+) +✓ done", last, re.MULTILINE) == ["portico", "depot"], last
    newest = shell("nix-hive history -c example").stdout.splitlines()[2]
    assert "killed" not in newest
    assert all(fleet.runs(name) == fleet.boots(name) != "" for name in ("portico", "depot"))
    saw(fault, f"exit status {ended.returncode}; `report`: {last.partition(' (')[0]}")


def test_what_fails_says_so_by_its_exit_status_though_nothing_can_be_written(shell):
    """D2: the only thing left that can say it."""
    for way in (">/dev/full 2>/dev/full", ">&- 2>&-", "2>&1 | true"):
        assert shell(f"nix-hive run -c example '*' false {way}").returncode == 1


@pytest.mark.parametrize("words", ["status -c example", "plan -c example deploy '*'", "run -c example '*' 'echo é'"])
def test_what_was_asked_for_and_cannot_be_written_is_said(shell, words):
    """D2, case 18: the result of these is what they print."""
    ended = shell(f"nix-hive {words} >/dev/full")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == ("nix-hive: standard output could not be written: No space left on device.")
    gone = shell(f"nix-hive {words} | true")
    if words.startswith("run"):
        # Nobody reads what the hosts say: what still runs there is ended.
        assert gone.returncode in (0, 1)
        assert set(re.findall(r": (\w+)", gone.stderr)) <= {"interrupted", "given"}, gone.stderr
    else:
        assert (gone.returncode, gone.stderr) == (0, "")


def test_a_host_says_what_the_terminal_cannot_show(shell):
    """Case 18: `run` went down with the first host that said ✓."""
    said = r"\342\234\223 caf\303\251\n"
    words = f"nix-hive run -c example depot 'printf \"{said}\"'"
    for encoding, line in (("latin-1:strict", "\\u2713 café"), ("ascii:strict", "\\u2713 caf\\xe9")):
        shown = shell(f"{words} | iconv -f latin1 -t utf8", PYTHONIOENCODING=encoding)
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"depot | {line}\n", "")
    told = shell(words.replace(" depot", " --json depot"), PYTHONIOENCODING="ascii:strict")
    assert [row["stdout"] for row in json.loads(told.stdout)] == ["✓ café\n"]
