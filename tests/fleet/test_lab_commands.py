"""`nix-hive lab`: up, status, down, and the words for a mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import warm

pytestmark = pytest.mark.fleet

EXAMPLE = Path(__file__).parent.parent.parent / "example"


@pytest.fixture
def lab(tmp_path):
    """Run `nix-hive lab` for a copy of the example, with a place of its own for the fleet."""
    shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("lab.nix"))

    def call(*words):
        return subprocess.run(
            [*warm.command(), "lab", *words],
            cwd=tmp_path,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    yield call
    call("down")


def test_a_fleet_comes_up_is_listed_and_goes(lab, tmp_path):
    up = lab("up", "-n", "2")
    assert up.returncode == 0, up.stderr
    assert "4 hosts" in up.stdout
    assert (tmp_path / "example" / "lab.nix").exists()

    rows = json.loads(lab("status", "--json").stdout)
    assert [row["instance"] for row in rows] == ["depot", "portico", "www-1", "www-2"]
    for row in rows:
        assert row["address"]
        assert Path(f"/run/netns/{row['netns']}").exists()
        assert Path(f"/proc/{row['pid']}").exists()

    again = lab("up", "-n", "2")
    assert again.returncode == 0, again.stderr
    assert "up already" in again.stdout

    other = lab("up", "-n", "3")
    assert other.returncode == 1
    assert "take it down first" in other.stderr

    assert lab("down").stdout == "The practice fleet is down.\n"
    assert not (tmp_path / "example" / "lab.nix").exists()
    assert not any(Path(f"/run/netns/{row['netns']}").exists() for row in rows)
    assert lab("down").stdout == "There is no practice fleet.\n"


@pytest.mark.usefixtures("systemd_hosts")
def test_hosts_with_systemd_stand_beside_the_light_ones(lab):
    up = lab("up", "-n", "1", "--systemd", "1")
    assert up.returncode == 0, up.stderr
    assert "4 hosts" in up.stdout
    rows = json.loads(lab("status", "--json").stdout)
    assert {row["instance"]: row["init"] for row in rows} == {
        "depot": "light",
        "portico": "light",
        "www-1": "light",
        "www-2": "systemd",
    }
    assert "up already" in lab("up", "-n", "1", "--systemd", "1").stdout
    # As many web servers, but not of the same kinds.
    other = lab("up", "-n", "2")
    assert other.returncode == 1
    assert "take it down first" in other.stderr


def test_a_status_without_a_fleet_says_so(lab):
    ended = lab("status")
    assert ended.returncode == 1
    assert "There is no practice fleet" in ended.stderr


def test_a_deployment_that_is_not_there_is_named(lab):
    ended = lab("up", "-c", "nowhere")
    assert ended.returncode == 1
    assert "nowhere" in ended.stderr
