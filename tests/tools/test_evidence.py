"""What a failed test leaves to look at in `build/failed`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.practice import ROOT
from tests.warm import PLACE

FAILING = """
import pytest
from tests.practice import start

@pytest.fixture
def fleet(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    one = start(tmp_path_factory.mktemp("fleet"), web=0)
    yield one
    one.lab.down()

def test_it(fleet):
    fleet.lab.exec("depot", ["sh", "-c", "echo the last words > /var/log/words"])
    ended = fleet.nix_hive("deploy", "-c", "example", "portico")
    assert "no such thing" in ended.stderr
"""


@pytest.mark.fleet
def test_a_failed_test_on_a_fleet_keeps_journals_logs_and_the_last_lines_of_hosts(tmp_path):
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['tests.evidence']\n")
    (tmp_path / "test_fails.py").write_text(FAILING)
    environment = {name: value for name, value in os.environ.items() if name != PLACE} | {"PYTHONPATH": str(ROOT)}
    options = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), f"--basetemp={tmp_path / 'temp'}"]
    argv = [sys.executable, "-m", "pytest", "-q", *options, str(tmp_path)]
    ended = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 1, ended.stdout
    (kept,) = (tmp_path / "build" / "failed").glob("*test_it*/call")
    assert f"logs in {kept}" in ended.stdout
    (words,) = kept.rglob("depot/words")
    assert words.read_text() == "the last words\n"
    assert "sshd" in next(kept.rglob("depot/now")).read_text()
    assert "nix-instantiate" in next(kept.rglob("nix-hive.log")).read_text()
    assert '"activate:portico"' in next(kept.rglob("*.jsonl")).read_text()
