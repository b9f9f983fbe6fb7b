"""Systems that are built on another machine of the fleet: what builds them goes over the operator's link alone."""

from __future__ import annotations

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.there import Fresh, is_here
from tests.practice import read_until, start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    one = start(folder, web=2, specs=[HostSpec("www-3", "www", user="deploy")])
    yield Fresh(one, folder)
    one.lab.down()


@pytest.fixture
def fresh(kept):
    kept.renew()
    return kept


def test_an_instance_builds_for_itself_and_nothing_of_it_comes_here(fresh):
    ended = fresh.deploy("www-1", "--build-on", "instance")

    assert ended.returncode == 0, ended.stderr
    assert not is_here(fresh.fleet.runs("www-1"))
    assert fresh.roots("www-1") == []
    again = fresh.deploy("www-1", "--build-on", "instance")
    assert again.returncode == 0, again.stderr
    assert "unchanged" in again.stdout + again.stderr
    kept = fresh.deploy("www-1", "--build-on", "instance", "--no", "build", "--force")
    assert kept.returncode == 0, kept.stderr
    assert fresh.roots("www-1") == []


def test_a_login_that_is_not_root_builds_by_its_daemon(fresh):
    ended = fresh.deploy("www-3", "--build-on", "instance")

    assert ended.returncode == 0, ended.stderr
    assert not is_here(fresh.fleet.runs("www-3"))
    assert fresh.roots("www-3") == []


def test_what_a_relay_builds_is_signed_from_here_and_instances_take_it_from_there(fresh):
    plan = json.loads(
        fresh.fleet.nix_hive("plan", "-c", "example", "www-1", "www-2", "--build-on", "relay", "--json").stdout
    )
    rows = {row["instance"]: row for row in plan}
    assert rows["www-1"]["built_on"] == "ssh://portico"
    lacks = rows["www-1"]["to_send"]
    before = fresh.fleet.link_bytes()
    ended = fresh.deploy("www-1", "www-2", "--build-on", "relay")
    sent = fresh.fleet.link_bytes() - before

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("(from relay)") == 2
    assert "copied from" not in ended.stderr
    running = fresh.fleet.runs("www-1")
    assert running == fresh.fleet.runs("www-2")
    assert not is_here(running)
    # What builds it, and of what is built nothing: logins, questions, signatures and two activations have the rest.
    sizes = fresh.lab.exec("portico", ["sh", "-c", f"nix-store -q --size $(nix-store -qR {running})"])
    assert lacks < sum(map(int, sizes.split()))
    assert sent < lacks + sum(map(int, sizes.split())) / 2
    assert {host: fresh.roots(host) for host in ("portico", "www-1", "www-2")} == {
        "portico": [],
        "www-1": [],
        "www-2": [],
    }


@pytest.mark.parametrize(("where", "store"), [("relay", "ssh://portico"), ("ssh-ng://portico", "ssh-ng://portico")])
def test_what_is_not_signed_there_goes_through_this_machine_and_is_told(fresh, where, store):
    members = fresh.fleet.example / "default.nix"
    fresh.change(members, "signing.keyFile = ", "# ")

    ended = fresh.deploy("www-1", "--build-on", where)

    assert ended.returncode == 0, ended.stderr
    assert "has no signing.keyFile to sign what is built there" in ended.stderr
    assert f"copied from {store} through this machine" in ended.stderr
    assert not is_here(fresh.fleet.runs("www-1"))


def test_a_host_that_is_its_own_relay_builds_for_itself(fresh):
    fresh.change(
        fresh.fleet.example / "default.nix", 'tags = [ "jump" ];', 'tags = [ "jump" ]; store = "ssh://portico";'
    )
    ended = fresh.deploy("portico", "--build-on", "relay")

    assert ended.returncode == 0, ended.stderr
    assert not is_here(fresh.fleet.runs("portico"))
    assert "push:" not in ended.stderr
    assert fresh.roots("portico") == []


def test_two_systems_are_built_at_one_place(fresh):
    ended = fresh.deploy("www-1", "depot", "--build-on", "relay")

    assert ended.returncode == 0, ended.stderr
    for system in ("www", "depot"):
        assert f"build:{system}>ssh://portico: done (built on ssh://portico)" in ended.stderr
    assert fresh.roots("portico") == []


def test_a_build_that_fails_there_is_told_with_its_log(fresh):
    fresh.change(fresh.builders, "inherit system script;", 'inherit system; script = "echo it breaks >&2; exit 3";')

    ended = fresh.deploy("www-1", "--build-on", "instance")

    assert ended.returncode == 1
    # Up to Nix 2.29, and since.
    said = "build:www>ssh://www-1 failed: ssh://www-1: (builder for|Cannot build)"
    assert re.search(said, ended.stderr), ended.stderr
    assert "it breaks" in ended.stderr
    assert "activate:www-1: skipped" in ended.stderr
    assert fresh.roots("www-1") == []


def test_a_place_that_cannot_build_the_platform_is_refused_in_the_plan_and_nothing_is_sent(fresh):
    conf = "/etc/nix/nix.conf"
    fresh.lab.exec("www-1", ["sh", "-c", f"cp -L {conf} /var/conf; rm {conf}; cp /var/conf {conf}"])
    fresh.lab.exec("www-1", ["sh", "-c", f"printf 'system = riscv64-linux\\nextra-platforms =\\n' >>{conf}"])
    try:
        plan = fresh.fleet.nix_hive("plan", "-c", "example", "www-1", "--build-on", "instance")
        ended = fresh.deploy("www-1", "www-2", "--build-on", "instance")
    finally:
        fresh.lab.exec("www-1", ["sh", "-c", f"cp /var/conf {conf}"])

    why = "ssh://www-1 cannot build www: it is for x86_64-linux, and its Nix builds riscv64-linux"
    assert "1 cannot be built there" in plan.stdout
    assert why in plan.stdout
    assert ended.returncode == 1
    assert f"send:www>ssh://www-1: failed: {why}" in ended.stderr
    assert "activate:www-2: done" in ended.stderr


def test_a_login_that_the_daemon_does_not_let_in_is_refused_in_the_plan(fresh):
    socket = "/nix/var/nix/daemon-socket"
    fresh.lab.exec("www-3", ["chmod", "700", socket])
    try:
        plan = fresh.fleet.nix_hive("plan", "-c", "example", "www-3", "--build-on", "instance")
    finally:
        fresh.lab.exec("www-3", ["chmod", "755", socket])
    assert "ssh://www-3 cannot build www: its Nix does not let deploy in: " in plan.stdout
    assert "Name deploy in allowed-users there" in plan.stdout


def test_a_collection_in_the_middle_takes_nothing_of_a_build(fresh):
    fresh.gate("www-1")
    process = fresh.begin("www-1", "--build-on", "instance")
    fresh.at_gate("www-1")
    assert len(fresh.roots("www-1")) == 2
    fresh.lab.exec("www-1", ["nix-store", "--gc"])
    fresh.open_gate("www-1")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert not is_here(fresh.fleet.runs("www-1"))
    assert fresh.roots("www-1") == []


def test_an_interrupt_in_a_build_leaves_nothing_there_and_it_is_resumed(fresh):
    fresh.gate("www-1")
    begun = fresh.begin("www-1", "--build-on", "instance")
    fresh.at_gate("www-1")
    begun.send_signal(signal.SIGINT)
    said = begun.communicate(timeout=120)[1]
    assert begun.returncode == 130, said
    assert "build:www>ssh://www-1: cancelled" in said
    assert fresh.roots("www-1") == []
    fresh.builder_ended("www-1")
    resumed(fresh)


def test_a_run_that_was_killed_leaves_roots_that_the_next_one_removes(fresh):
    fresh.gate("www-1")
    begun = fresh.begin("www-1", "--build-on", "instance")
    fresh.at_gate("www-1")
    begun.kill()
    begun.communicate(timeout=60)
    assert len(fresh.roots("www-1")) == 2
    fresh.builder_ended("www-1")
    resumed(fresh)
    assert fresh.roots("www-1") == []


def test_a_place_that_goes_down_in_a_build_is_told_and_nothing_else_fails(fresh):
    fresh.gate("www-1")
    begun = fresh.begin("@(www-1 or depot)", "--build-on", "instance")
    fresh.at_gate("www-1")
    read_until(begun, "activate:depot: done")
    fresh.lab.stop_host("www-1")
    try:
        said = begun.communicate(timeout=200)[1]
    finally:
        fresh.lab.start_host("www-1")
    assert begun.returncode == 1
    assert "ssh://www-1" in said
    assert "activate:www-1: skipped" in said
    resumed(fresh)
    assert fresh.roots("www-1") == []


def resumed(fresh):
    with ThreadPoolExecutor(1) as pool:
        passed = pool.submit(fresh.opened, "www-1")
        ended = fresh.deploy("--resume")
        assert ended.returncode == 0, ended.stderr
        passed.result()
    assert fresh.fleet.runs("www-1") == fresh.fleet.boots("www-1") != ""
