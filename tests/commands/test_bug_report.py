"""A bug report where little works: it is written, bounded, for us alone, and says where it is."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from nixhive_nb.cli.main import call
from nixhive_nb.util import log


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(log.VARIABLE, raising=False)
    monkeypatch.setattr(log, "_known", log._Known())
    yield
    monkeypatch.delenv(log.VARIABLE, raising=False)
    log.log_to(None)


def test_there_need_be_no_deployment(capsys):
    assert call(["bug-report"]) == 0
    said = capsys.readouterr().out
    (file,) = [one for one in said.split() if "bug-report-" in one]
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    assert "There is no hive.nix" in Path(file).read_text()
    assert "Nothing was sent." in said


def test_a_run_that_is_not_there_is_a_message(capsys):
    assert call(["bug-report", "nosuchrun"]) == 1
    assert "No run is noted" in capsys.readouterr().err


def test_a_place_that_cannot_be_is_a_message(capsys):
    assert call(["bug-report", "--file", "no/such/folder/report.txt"]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_a_long_log_is_in_it_with_its_end(tmp_path, monkeypatch):
    file = tmp_path / "elsewhere.log"
    file.write_text("2026 an old line with nothing in it\n" * 100_000)
    monkeypatch.setenv(log.VARIABLE, str(file))
    assert call(["bug-report", "--file", "report.txt"]) == 0
    text = (tmp_path / "report.txt").read_text()
    assert len(text) < 300_000
    assert "left out" in text
    assert "nix-hive in" in text


def test_secrets_of_the_environment_are_cut(tmp_path, monkeypatch):
    monkeypatch.setenv("NIX_CONFIG", "cores = 1\naccess-tokens = forge=hunter2 other=hunter3")
    monkeypatch.setenv("NIX_DEPLOY_TOKEN", "hunter4")
    monkeypatch.setenv("https_proxy", "http://ci:hunter5@proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "ci:hunter6@proxy:3128")
    assert call(["bug-report", "--file", "report.txt"]) == 0
    text = (tmp_path / "report.txt").read_text()
    assert "hunter" not in text
    assert "forge=***" in text
