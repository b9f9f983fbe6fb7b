"""Builds on other machines of the fleet that break off: by an interrupt, a full disk, a place that goes away."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import line_of, saw
from tests.fleet.there import Fresh, is_here
from tests.practice import read_until, start

pytestmark = pytest.mark.fleet

SOURCE = 3_000_000
"""Bytes of a source of the web servers that no host has."""
A_HOST = 80_000
"""Bytes that a host is asked with besides: see `test_relay.py`."""
COUNTED = 'system.extraDependencies = [ (derivation { name = "counted"; system = builtins.currentSystem; builder = \
"/bin/sh"; args = [ "-c" "echo built >>/var/builds; echo > $out" ]; source = ./source; }) ];'
FILLING = 'system.extraDependencies = [ (derivation { name = "filling"; system = builtins.currentSystem; builder = \
"/bin/sh"; PATH = "/usr/bin:/bin"; args = [ "-c" "head -c 90000000 /dev/zero > $out" ]; source = ./source; }) ];'
SESSION = "sshd(-session)?: "
WEB = ("www-1", "www-2")
RELAY = "ssh://portico"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    specs = [HostSpec("www-3", "www", disk="6M"), HostSpec("www-4", "www", disk="48M")]
    one = start(folder, web=2, specs=specs)
    yield Fresh(one, folder)
    one.lab.down()


@pytest.fixture
def fresh(kept):
    kept.renew()
    (kept.fleet.example / "source").write_bytes(os.urandom(SOURCE))
    kept.lab.exec("portico", ["sh", "-c", ": >/var/builds; chmod 666 /var/builds"])
    return kept


@contextlib.contextmanager
def slow_link(fresh, rate):
    link = ["dev", fresh.lab.link, "root"]
    subprocess.run(["tc", "qdisc", "add", *link, "tbf", "rate", rate, "burst", "32k", "latency", "400ms"], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", *link], check=True)


def resumed(fresh, *hosts):
    """Go on with the last run, after which each of the hosts runs and boots what was built, once."""
    ended = fresh.deploy("--resume")
    assert ended.returncode == 0, ended.stderr
    for host in hosts:
        assert fresh.fleet.runs(host) == fresh.fleet.boots(host) != ""
    assert not is_here(fresh.fleet.runs(hosts[0]))
    assert fresh.roots("portico") == []
    return ended.stderr


def builds(fresh):
    """How many times the system of the web servers was built on the relay."""
    return fresh.lab.exec("portico", ["cat", "/var/builds"]).split().count("built")


def short(text):
    """What is told, without figures that differ from run to run."""
    return re.sub(r"\d+(\.\d)? [kM]?B\b", "N MB", text)


@pytest.mark.parametrize(
    ("step", "told"), [("send:www>ssh://portico", "the copy"), ("fetch:www-1", "the fan-out")], ids=["send", "fetch"]
)
def test_an_interrupt_is_gone_on_with_and_nothing_is_built_twice(fresh, step, told):
    fresh.add(COUNTED)
    with slow_link(fresh, "4mbit") if step.startswith("send") else contextlib.nullcontext():
        begun = fresh.begin(*WEB, "--build-on", "relay")
        lines = read_until(begun, f"{step}: started")
        begun.send_signal(signal.SIGINT)
        said = "".join(lines) + begun.communicate(timeout=120)[1]
    assert begun.returncode == 130, said
    assert step.startswith("fetch") or f"{step}: cancelled" in said
    assert len({host: line_of(said, host) for host in WEB}) == len(WEB)
    assert builds(fresh) == step.startswith("fetch")
    resumed(fresh, *WEB)
    assert builds(fresh) == 1
    saw(f"an interrupt in {told} of a system that its relay builds, then --resume", "built once, deployed to all")


def test_a_relay_that_goes_away_while_it_builds(fresh):
    fresh.gate("portico")
    begun = fresh.begin(*WEB, "--build-on", "relay")
    fresh.at_gate("portico")
    # Its links end at once, as where a host is shut down; one that is unplugged is noticed by their deadlines.
    fresh.lab.exec("portico", ["pkill", "-KILL", "-f", SESSION])
    fresh.lab.stop_host("portico")
    try:
        said = begun.communicate(timeout=200)[1]
    finally:
        fresh.lab.start_host("portico")
    assert begun.returncode == 1, said
    (line,) = [line for line in said.splitlines() if line.startswith("build:www>ssh://portico: failed")]
    assert "the link to ssh://portico was lost while it built" in line
    for host in WEB:
        assert f"activate:{host}: skipped" in said
    with ThreadPoolExecutor(1) as pool:
        passed = pool.submit(fresh.opened, "portico")
        resumed(fresh, *WEB)
        passed.result()
    saw("the relay that builds a system goes down in the build, then --resume", "all hosts run and boot what is wanted")


def test_two_places_build_side_by_side(fresh):
    fresh.gate(*WEB)
    begun = fresh.begin(*WEB, "--build-on", "instance")
    for host in WEB:
        fresh.at_gate(host)
    for host in WEB:
        fresh.open_gate(host)
    said = begun.communicate(timeout=120)[1]
    assert begun.returncode == 0, said
    for host in WEB:
        assert f"build:www>ssh://{host}: done (built on ssh://{host})" in said


def test_a_full_disk_is_told_with_its_place_its_room_and_what_to_do(fresh):
    """Before anything is sent where that is known, and after the build that filled it."""
    fresh.add(FILLING)
    ended = fresh.deploy("www-3", "www-4", "--build-on", "instance")
    assert ended.returncode == 1
    (before,) = [line for line in ended.stderr.splitlines() if line.startswith("send:www>ssh://www-3: failed")]
    (after,) = [line for line in ended.stderr.splitlines() if re.match("build:www>ssh://www-4:? failed: ", line)]
    assert re.search(r"ssh://www-3 cannot build www: it has \d\.\d MB free on /nix\. Make room there", before)
    assert re.search(r"ssh://www-4: .*No room was left there: [\d.]+ [kM]?B are free on /nix now", after)
    assert "Build elsewhere: --build-on" in before
    assert "Build elsewhere: --build-on" in after
    assert fresh.roots("www-3") == fresh.roots("www-4") == []
    saw("the disk of a place that is to build is full", short(before))
    saw("a build fills the disk of the place that builds", f"… {short(after[after.index('No room') :])}")


def test_a_disk_that_was_filled_since_it_was_asked_is_told_with_its_room(fresh):
    fresh.lab.exec("www-4", ["nix-store", "--gc"])
    fresh.add(COUNTED)
    planned = fresh.fleet.nix_hive("plan", "-c", "example", "www-4", "--build-on", "instance", "--out", "full.json")
    assert planned.returncode == 0, planned.stderr
    fill = "head -c 100000000 /dev/zero >/nix/filler 2>/dev/null; test -s /nix/filler"
    fresh.lab.exec("www-4", ["sh", "-c", fill])
    try:
        ended = fresh.fleet.nix_hive("apply", "full.json", "--force")
    finally:
        fresh.lab.exec("www-4", ["rm", "/nix/filler"])
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if re.match("send:www>ssh://www-4:? failed: ", line)]
    assert re.search(r"ssh://www-4: .*No room was left there: .* free on /nix now.*Make room there", line)


def test_what_is_sent_is_what_the_plan_said(fresh):
    """The last one here: what is pushed is kept at the relay."""
    fresh.add(COUNTED)
    words = ("-c", "example", *WEB, "--build-on", "relay")
    rows = json.loads(fresh.fleet.nix_hive("plan", *words, "--json").stdout)
    lacks = next(row["to_send"] for row in rows if row["instance"] == "www-1")
    before = fresh.fleet.link_bytes()
    ended = fresh.fleet.nix_hive("push", *words)
    sent = fresh.fleet.link_bytes() - before
    assert ended.returncode == 0, ended.stderr
    assert lacks > SOURCE
    assert lacks <= sent <= 1.02 * lacks + A_HOST * (1 + len(WEB))
