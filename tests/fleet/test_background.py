"""Runs in the background, plans that are named by their digest, and `--once`: on real hosts."""

from __future__ import annotations

import secrets

import pytest

from nixhive_nb import Hive
from nixhive_nb.errors import RunFailed
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=2)
    ended = one.nix_hive("deploy", "-c", "example", "portico", "*")
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def change(fleet):
    """Return www another text, and an activation that waits until something comes through a pipe on the host."""
    page = fleet.example / "www.nix"
    original = page.read_text()

    def write(*, waits=False):
        new = original.replace("This is a web server.", f"Page {secrets.token_hex(8)}.")
        script = (
            'system.activationScripts.wait = "echo at the gate > /var/began; read line < /var/gate";' if waits else ""
        )
        page.write_text(new.replace("networking.hostName", f"{script}\n  networking.hostName", 1))
        if waits:
            for host in ("www-1", "www-2"):
                fleet.lab.exec(host, ["sh", "-c", "rm -f /var/gate /var/began; mkfifo /var/gate /var/began"])

    yield write
    page.write_text(original)


@pytest.fixture
def warned():
    return []


@pytest.fixture
def hive(fleet, monkeypatch, warned):
    monkeypatch.chdir(fleet.folder)
    with Hive.load("example", warn=warned.append) as one:
        yield one


def open_gate(fleet, host):
    fleet.lab.exec(host, ["sh", "-c", "echo go > /var/gate"])


def await_gate(fleet, host):
    """Return when the activation has come to the gate."""
    assert fleet.lab.exec(host, ["cat", "/var/began"]) == "at the gate\n"


def test_a_run_in_the_background_goes_on_while_other_things_are_done(fleet, hive, change):
    change(waits=True)
    run = hive.begin(hive.plan("deploy", "www-1", confirm=60.0))
    await_gate(fleet, "www-1")
    assert "deploying" in repr(run)
    # Another deploy meanwhile, and a look at the runs.
    other = hive.begin(hive.plan("deploy", "depot"))
    assert other.wait(60).ok
    assert run.running
    assert set(hive.history().query("state == 'running'").index) == {run.run}
    open_gate(fleet, "www-1")
    report = run.wait(60)
    assert report.counts() == {"done": 1}
    assert not run.running
    assert "1 of 1 deployed" in repr(run)
    assert fleet.runs("www-1") == report.instances()[0].path


def test_a_second_run_on_the_same_instances_warns_before_it_begins(fleet, hive, change, warned):
    change(waits=True)
    first = hive.begin(hive.plan("deploy", "www-1", confirm=60.0))
    await_gate(fleet, "www-1")
    assert hive.begin(hive.plan("deploy", "depot")).wait(60).ok
    assert warned == []
    second = hive.begin(hive.plan("deploy", "www-1", confirm=60.0))
    assert [
        line for line in warned if f"Run {first.run} (deploy) is running in the background, on www-1 as well" in line
    ]
    with pytest.raises(RunFailed, match="locked"):
        second.wait(60)
    open_gate(fleet, "www-1")
    assert first.wait(60).ok


def test_a_run_that_is_cancelled_starts_nothing_more_and_says_so(fleet, hive, change):
    change(waits=True)
    run = hive.begin(hive.plan("deploy", "www-1", "www-2", confirm=60.0))
    await_gate(fleet, "www-1")
    run.cancel()
    open_gate(fleet, "www-1")
    with pytest.raises(RunFailed, match="1 cancelled"):
        run.wait(60)
    assert run.report.counts() == {"done": 1, "cancelled": 1}
    assert hive.history(run.run)["outcome"].tolist() == ["done", "cancelled"]
    assert bool(hive.history().loc[run.run, "interrupted"])


def test_a_deploy_with_another_digest_than_the_one_that_was_looked_at_does_nothing(fleet, hive, change):
    change()
    before = fleet.runs("www-1")
    plan = hive.plan("deploy", "www-1", measure=True)
    change()
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1", "--plan", plan.digest)
    assert ended.returncode == 1
    assert f"and not {plan.digest}" in ended.stderr
    assert fleet.runs("www-1") == before
    fresh = hive.plan("deploy", "www-1", measure=True)
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1", "--plan", fresh.digest)
    assert ended.returncode == 0, ended.stderr
    assert fleet.runs("www-1") != before


def test_once_does_it_once(fleet, change):
    key = secrets.token_hex(4)
    change()
    first = fleet.nix_hive("deploy", "-c", "example", "www-2", "--once", key)
    assert first.returncode == 0, first.stderr
    runs = fleet.runs("www-2")
    change()
    second = fleet.nix_hive("deploy", "-c", "example", "www-2", "--once", key)
    assert second.returncode == 0
    assert f"Nothing was done: --once {key} was done by run " in second.stdout
    assert fleet.runs("www-2") == runs


def test_a_dry_activation_does_not_use_a_key_up(fleet, change):
    words = ("deploy", "-c", "example", "www-2", "--once", secrets.token_hex(4))
    change()
    before = fleet.runs("www-2")
    assert fleet.nix_hive(*words, "-t", "dry-activate").returncode == 0
    assert fleet.runs("www-2") == before
    assert fleet.nix_hive(*words).returncode == 0
    assert fleet.runs("www-2") != before


def test_what_did_not_go_well_is_done_again_with_the_same_key(fleet, change):
    key = secrets.token_hex(4)
    change()
    fleet.lab.stop_host("www-2")
    failed = fleet.nix_hive("deploy", "-c", "example", "www-2", "--once", key)
    fleet.lab.start_host("www-2")
    assert failed.returncode == 1
    again = fleet.nix_hive("deploy", "-c", "example", "www-2", "--once", key)
    assert again.returncode == 0, again.stderr
    assert "1 of 1 deployed" in again.stderr
