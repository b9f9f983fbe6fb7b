"""Which revision runs where, on real hosts, and what a deployment has refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nixhive_nb import Hive, PlanRefused
from tests.deployment.test_repository import commit, git
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=1)
    git(one.example, "init", "-q", "-b", "main")
    yield one
    one.lab.down()


@pytest.fixture
def first(fleet):
    """The example as it was deployed, committed."""
    head = commit(fleet.example)
    ended = fleet.nix_hive("deploy", "-c", "example", "portico", "*")
    assert ended.returncode == 0, ended.stderr
    assert f"revision {head[:12]} " in ended.stderr
    yield head
    git(fleet.example, "checkout", "-q", "-f", "main")
    git(fleet.example, "reset", "-q", "--hard", head)


def revisions(fleet, *words):
    ended = fleet.nix_hive("status", "-c", "example", "--json", *words)
    assert ended.returncode == 0, ended.stderr
    return {row["instance"]: row["revision"] for row in json.loads(ended.stdout)}


def change(fleet, text):
    page = fleet.example / "www.nix"
    page.write_text(page.read_text().replace("networking.hostName", f"{text}\n  networking.hostName", 1))


def refuse(fleet, *words):
    expression = fleet.example / "default.nix"
    named = " ".join(f'"{word}"' for word in words)
    expression.write_text(expression.read_text().replace("  systems =", f"  refuse = [ {named} ];\n  systems =", 1))
    assert "refuse" in expression.read_text()


def test_each_host_is_known_by_what_it_was_deployed_from(fleet, first):
    assert revisions(fleet) == dict.fromkeys(("portico", "depot", "www-1"), first)
    change(fleet, 'environment.etc."new".text = "one";')
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert revisions(fleet) == {"portico": first, "depot": first, "www-1": f"{first}-dirty"}
    assert revisions(fleet, "@(revision = dirty)") == {"www-1": f"{first}-dirty"}
    assert set(revisions(fleet, f"@(revision = {first[:6]})")) == {"portico", "depot", "www-1"}
    ended = fleet.nix_hive("history", "-c", "example", "--json")
    told = [run["revision"] for run in json.loads(ended.stdout)]
    assert told[:2] == [f"{first}-dirty", first]


def test_what_a_host_says_of_itself_counts_before_what_was_noted(fleet, first):
    change(fleet, 'system.configurationRevision = "release-7";')
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert revisions(fleet, "www-1") == {"www-1": "release-7"}
    assert revisions(fleet, "@(revision = release-7)") == {"www-1": "release-7"}


def test_another_folder_of_state_knows_nothing_of_it(fleet, first, tmp_path):
    assert revisions(fleet, "--state-dir", str(tmp_path)) == dict.fromkeys(("portico", "depot", "www-1"), "")
    assert len(revisions(fleet, "--state-dir", str(tmp_path), "@(revision = unknown)")) == 3


def test_what_is_not_committed_is_refused_before_anything_is_built(fleet, first):
    refuse(fleet, "dirty")
    change(fleet, 'environment.etc."new".text = "two";')
    ran = fleet.runs("www-1")
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 1
    assert "something in its folder is not committed" in ended.stderr
    assert "--refuse nothing" in ended.stderr
    assert "build: started" not in ended.stderr
    assert fleet.runs("www-1") == ran
    planned = fleet.nix_hive("plan", "-c", "example", "www-1")
    assert planned.returncode == 0
    assert "not committed" in planned.stdout
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1", "-t", "dry-activate")
    assert ended.returncode == 0, ended.stderr
    commit(fleet.example)
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr


def test_a_host_that_runs_something_newer_is_refused(fleet, first):
    refuse(fleet, "older")
    guarded = commit(fleet.example)
    change(fleet, 'environment.etc."new".text = "three";')
    newer = commit(fleet.example)
    assert fleet.nix_hive("deploy", "-c", "example", "www-1").returncode == 0
    git(fleet.example, "checkout", "-q", guarded)
    ended = fleet.nix_hive("deploy", "-c", "example", "*")
    assert ended.returncode == 1
    assert f"www-1: what runs there is of {newer[:12]}, which its history does not have" in ended.stderr
    assert "portico:" not in ended.stderr.partition("is refused:")[2]
    ended = fleet.nix_hive("deploy", "-c", "example", "--refuse", "nothing", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert revisions(fleet, "www-1") == {"www-1": guarded} or revisions(fleet, "www-1") == {"www-1": first}


def test_all_at_once_is_refused_where_nobody_is_named(fleet, first):
    refuse(fleet, "all")
    ended = fleet.nix_hive("deploy", "-c", "example")
    assert ended.returncode == 1
    assert "name them. '*' is all of them" in ended.stderr
    assert fleet.nix_hive("deploy", "-c", "example", "*").returncode == 0
    assert fleet.nix_hive("push", "-c", "example").returncode == 0


def test_a_plan_that_was_looked_at_is_refused_as_well(fleet, first):
    refuse(fleet, "dirty")
    commit(fleet.example)
    with Hive.load(fleet.example, state=fleet.folder / ".hive.state") as hive:
        plan = hive.plan("deploy", "www-1", force=True)
        assert not plan.warnings
        (fleet.example / "new.nix").write_text("{ }")
        for carry_out in (hive.execute, hive.begin, hive.apply):
            with pytest.raises(PlanRefused, match="not committed"):
                carry_out(plan)
        (fleet.example / "new.nix").unlink()
        assert hive.execute(plan).ok


def test_a_word_that_cannot_be_refused_is_named(fleet, first):
    refuse(fleet, "drity")
    ended = fleet.nix_hive("status", "-c", "example")
    assert ended.returncode == 1
    assert "default.nix:" in ended.stderr
    assert "`refuse` holds 'drity'; it may hold all, dirty, older" in ended.stderr


def test_without_git_all_goes_on_and_nothing_is_known(fleet, first, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in map(Path, os.environ["PATH"].split(":")):
        for program in place.iterdir() if place.is_dir() else ():
            if program.name != "git" and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert "revision" not in ended.stderr
    ended = fleet.nix_hive("deploy", "-c", "example", "--refuse", "dirty", "www-1")
    assert ended.returncode == 1
    assert "no repository that git or jj can read" in ended.stderr
