"""The main job, on a practice fleet with real Nix and real sshd: a deploy of the example."""

from __future__ import annotations

import json

import pytest

from nixhive_nb import Hive

pytestmark = pytest.mark.fleet

HOSTS = ["portico", "depot", "www-1", "www-2", "www-3"]


@pytest.fixture(scope="module")
def first(practice):
    """The first deploy of the fleet, from a terminal."""
    return practice.nix_hive("deploy", "-c", "example", "portico", "*")


@pytest.fixture(scope="module")
def inventory(practice, first):
    ended = practice.nix_hive("build", "--no", "build", "-c", "example")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_deploy_succeeds_and_says_so(first):
    assert first.returncode == 0, first.stderr
    assert "5 of 5 deployed" in first.stderr


def test_each_system_is_built_once(first):
    built = [line for line in first.stderr.splitlines() if line.startswith("register:") and "started" not in line]
    assert sorted(line.split(":")[1] for line in built) == ["depot", "portico", "www"]
    assert len([line for line in first.stderr.splitlines() if line.startswith("push:www>") and "started" in line]) == 1


def test_portico_is_activated_before_all_others(first):
    order = [line for line in first.stderr.splitlines() if line.startswith("activate:")]
    portico_done = next(n for n, line in enumerate(order) if line.startswith("activate:portico: done"))
    others = [n for n, line in enumerate(order) if not line.startswith("activate:portico")]
    assert portico_done < min(others)


@pytest.mark.parametrize("host", HOSTS)
def test_each_host_runs_and_boots_its_system(practice, inventory, host):
    wanted = inventory["systems"][inventory["instances"][host]["system"]]["result"]
    assert practice.runs(host) == wanted
    assert practice.boots(host) == wanted


def test_the_files_of_the_configuration_are_there(practice, first):
    motds = {practice.lab.exec(host, ["cat", "/etc/motd"]) for host in ("www-1", "www-2", "www-3")}
    assert len(motds) == 1
    assert motds != {practice.lab.exec("depot", ["cat", "/etc/motd"])}
    assert all(text.strip() for text in motds)


def test_the_web_servers_took_their_system_from_portico(first):
    for number in (1, 2, 3):
        assert f"fetch:www-{number}: done (from relay)" in first.stderr


def test_a_second_run_changes_nothing_and_says_so(practice, first):
    generations = practice.lab.exec("www-1", ["ls", "/nix/var/nix/profiles"])
    again = practice.nix_hive("deploy", "-c", "example", "portico", "*")
    assert again.returncode == 0, again.stderr
    for host in HOSTS:
        assert f"probe:{host}: unchanged (as seen at " in again.stderr
    assert "5 of 5 deployed, all unchanged" in again.stderr
    assert "0 B left this machine" in again.stderr
    assert practice.lab.exec("www-1", ["ls", "/nix/var/nix/profiles"]) == generations


def test_force_activates_all_the_same(practice, first):
    ended = practice.nix_hive("deploy", "-c", "example", "--force", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert "activate:www-1: done" in ended.stderr


def test_results_are_kept_from_being_collected(practice, inventory):
    for name, system in inventory["systems"].items():
        assert (practice.own / "gcroots" / name).resolve().as_posix() == system["result"]


def test_the_python_api_gives_a_frame(practice, first, monkeypatch):
    monkeypatch.chdir(practice.folder)
    with Hive.load("example") as hive:
        frame = hive.deploy("portico", "*").frame
        assert list(frame.index) == ["portico", "depot", "www-1", "www-2", "www-3"]
        assert set(frame["outcome"]) == {"unchanged"}
        answers = hive.run("web", "hostname")
        assert list(answers["stdout"]) == ["www-1\n", "www-2\n", "www-3\n"]
        assert list(answers["exit_code"]) == [0, 0, 0]


def test_no_build_deploys_what_the_last_build_gave(practice, inventory):
    motd = practice.example / "instance.nix"
    before = motd.read_text()
    ended = practice.nix_hive("deploy", "-c", "example", "--no", "build", "portico", "*")
    assert ended.returncode == 0, ended.stderr
    assert "build: started" not in ended.stderr
    assert "instantiate" not in ended.stderr
    assert motd.read_text() == before


def test_boot_leaves_the_running_system_alone(practice, inventory):
    page = practice.example / "www.nix"
    original = page.read_text()
    try:
        page.write_text(original.replace("This is a web server.", "This one changed."))
        ended = practice.nix_hive("deploy", "-c", "example", "-t", "boot", "www-1")
        assert ended.returncode == 0, ended.stderr
        old = inventory["systems"]["www"]["result"]
        assert practice.runs("www-1") == old
        assert practice.boots("www-1") != old
    finally:
        page.write_text(original)
    ended = practice.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert practice.boots("www-1") == practice.runs("www-1") == inventory["systems"]["www"]["result"]
