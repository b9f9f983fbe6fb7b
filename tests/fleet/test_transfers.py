"""Transfers that stand still or crawl, and collectors that come between a copy and its use."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet.faults import line_of, saw
from tests.practice import read_until, start
from tests.sshd import eventually

pytestmark = pytest.mark.fleet

COMMAND = ("deploy", "-c", "example", "--confirm", "5")
ROOTS = "/nix/var/nix/gcroots/nixhive"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=1)
    page = one.example / "depot.nix"
    page.write_text(page.read_text().replace("{ ... }:", "{ pkgs, ... }:", 1))
    ended = one.nix_hive(*COMMAND, "portico", "*")
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def change(fleet):
    """Change the system of depot: by some options, and by a path of so many KiB that nobody has yet."""
    pages = {name: fleet.example / name for name in ("depot.nix", "default.nix")}
    texts = {name: page.read_text() for name, page in pages.items()}

    def change(options="", kib=4, member=""):
        ballast = f'(pkgs.ballast {{ name = "ballast-{secrets.token_hex(4)}"; kib = {kib}; }})'
        mark = f"environment.systemPackages = [ {ballast} ]; {options}"
        text = texts["depot.nix"].replace("networking.hostName", f"{mark}\n  networking.hostName", 1)
        pages["depot.nix"].write_text(text)
        known = 'depot = inner "depot" "depot" [ "storage" ]'
        pages["default.nix"].write_text(texts["default.nix"].replace(known, f"{known} // {{ {member} }}", 1))

    yield change
    for name, page in pages.items():
        page.write_text(texts[name])


def roots(fleet, host):
    return fleet.lab.exec(host, ["sh", "-c", f"ls {ROOTS} 2>/dev/null || true"]).split()


def collect(fleet, host):
    fleet.lab.exec(host, ["nix-collect-garbage"])


@contextlib.contextmanager
def first_wave_held(fleet):
    """A deploy of www-1, and then of depot: in the block, somebody else holds the lock of www-1, so depot must wait."""
    hold = "mkdir -p /run/nixhive; exec flock /run/nixhive/lock sh -c 'echo held >/var/held; read line </var/go'"
    fleet.lab.exec("www-1", ["sh", "-c", "rm -f /var/held /var/go; mkfifo /var/held /var/go"])
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(fleet.lab.exec, "www-1", ["sh", "-c", hold])
        fleet.lab.exec("www-1", ["cat", "/var/held"])
        try:
            yield fleet.begin(*COMMAND, "--force", "--wait", "100", "www-1", "depot")
        finally:
            fleet.lab.exec("www-1", ["sh", "-c", "echo go >/var/go"])
            held.result()


@contextlib.contextmanager
def slow(namespace, device, rate):
    """Let a link carry no more than so much."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    link = ["dev", device, "root"]
    subprocess.run(
        [*inside, "tc", "qdisc", "add", *link, "tbf", "rate", rate, "burst", "32k", "latency", "400ms"], check=True
    )
    try:
        yield
    finally:
        subprocess.run([*inside, "tc", "qdisc", "del", *link], check=True)


def stop_serving(fleet, host, client):
    """Stop the Nix that serves a store there to a client, as soon as there is one.

    One that has served a push may not have ended yet: it is told by the address that its session came from.
    """
    served = "$(pgrep -f '^nix-store.*--serve' | sed 's|.*|/proc/&/environ|')"
    found = f"$(grep -lz '^SSH_CONNECTION={address(fleet, client)} ' {served} 2>/dev/null | cut -d/ -f3)"
    words = f'until pids={found}; [ -n "$pids" ]; do :; done; kill -STOP $pids'
    fleet.lab.exec(host, ["timeout", "60", "sh", "-c", words])


def address(fleet, host):
    """Return the address by which those behind the jump host know one of them; that of the jump host is known there."""
    if host == "portico":
        return fleet.lab.exec(host, ["sh", "-c", "ip -4 -o addr show br0 | awk '{print $4}'"]).partition("/")[0]
    return next(status.address for status in fleet.lab.status() if status.instance == host)


def end_serving(fleet, host):
    fleet.lab.exec(host, ["sh", "-c", "pkill -KILL -f '^nix-store.*--serve' || true"])


def logged(fleet):
    """Return what the last run has in its log of depot."""
    logs = sorted((fleet.own / "runs").glob("*/depot.log"))
    return logs[-1].read_text()


def namespace(fleet, host):
    return next(status.netns for status in fleet.lab.status() if status.instance == host)


def test_a_relay_that_stalls_is_given_up_and_the_host_is_copied_to(fleet, change):
    """N4."""
    change(kib=6000)
    with slow(namespace(fleet, "portico"), "br0", "4mbit"):
        process = fleet.begin(*COMMAND, "--stall-timeout", "12", "depot")
        lines = read_until(process, "fetch:depot: started")
        stop_serving(fleet, "portico", "depot")
    said = "".join(lines) + process.communicate(timeout=120)[1]
    end_serving(fleet, "portico")
    assert process.returncode == 0, said
    (line,) = [line for line in said.splitlines() if line.startswith("fetch:depot: done (from here)")]
    assert "did not take it from ssh://portico (no bytes moved for 1" in line
    assert "no bytes have moved for 1" in logged(fleet)
    saw("a relay stalls in the middle of a fetch (--stall-timeout 12)", line.replace("13.0 s", "12.0 s"))


def test_a_host_that_stalls_under_a_copy_from_here_is_given_up(fleet, change):
    """N4."""
    change(kib=6000, member='store = "";')
    with slow("", fleet.lab.link, "8mbit"):
        process = fleet.begin(*COMMAND, "--stall-timeout", "12", "depot")
        lines = read_until(process, "fetch:depot: started")
        stop_serving(fleet, "depot", "portico")
    said = "".join(lines) + process.communicate(timeout=120)[1]
    end_serving(fleet, "depot")
    assert process.returncode == 1
    line = line_of(said, "depot")
    assert "nix copy to ssh://depot was given up: no bytes moved for 1" in line
    assert not subprocess.run(["pgrep", "-f", "nix.*copy --to ssh://depot"], check=False, capture_output=True).stdout


def test_one_path_over_a_slow_link_is_not_given_up(fleet, change):
    """N4: Nix says nothing within a path."""
    change(kib=2500, member='store = "";')
    with slow("", fleet.lab.link, "1mbit"):
        ended = fleet.nix_hive(*COMMAND, "--stall-timeout", "5", "depot")
    assert ended.returncode == 0, ended.stderr
    saw("one path takes four times as long as --stall-timeout", line_of(ended.stderr, "depot"))


def test_one_path_from_a_slow_relay_is_not_given_up(fleet, change):
    """N4."""
    change(kib=2500)
    # Pushed beforehand: the link to the relay is quick.
    assert fleet.nix_hive("push", "-c", "example", "depot", "--no", "checks").returncode == 0
    change(kib=2500)
    with slow(namespace(fleet, "portico"), "br0", "1mbit"):
        ended = fleet.nix_hive(*COMMAND, "--stall-timeout", "5", "depot")
    assert ended.returncode == 0, ended.stderr
    assert "fetch:depot: done (from relay)" in ended.stderr


@pytest.mark.parametrize("store", ["ssh://portico", ""], ids=["fetches", "is copied to"])
def test_another_nix_on_the_host_is_told(fleet, change, store):
    """N4, N3: Nix itself says nothing of a path that another one brings."""
    change(member=f'store = "{store}";')
    built = fleet.nix_hive("build", "-c", "example", "depot")
    assert built.returncode == 0, built.stderr
    result = json.loads(built.stdout)["systems"]["depot"]["result"]
    # What another Nix holds while it brings a path.
    hold = f"flock {result}.lock sh -c 'echo held >/var/held; read _ </var/go'"
    fleet.lab.exec("depot", ["sh", "-c", "rm -f /var/held /var/go; mkfifo /var/held /var/go"])
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(fleet.lab.exec, "depot", ["sh", "-c", hold])
        fleet.lab.exec("depot", ["cat", "/var/held"])
        process = fleet.begin("push", "-c", "example", "depot")
        try:
            read_until(process, "fetch:depot: started")
            # Up to then the newest log is that of the run before.
            eventually(lambda: f"{result}'" in logged(fleet), "the copy", 60)
            eventually(lambda: "waits for another Nix on depot (process " in logged(fleet), "the word of it", 60)
        finally:
            fleet.lab.exec("depot", ["sh", "-c", "echo go >/var/go"])
            said = process.communicate(timeout=120)[1]
            held.result()
    assert process.returncode == 0, said
    (line,) = [line for line in logged(fleet).splitlines() if "waits for another Nix" in line]
    saw(
        "another Nix brings the path to the host, and holds its lock", re.sub(r"process \d+", "process 1234", line[21:])
    )


def test_a_path_that_was_copied_stays_until_it_is_used(fleet, change):
    """Case 7: a collector on the host and on the relay, between the copy and the activation."""
    change()
    before = {host: set(roots(fleet, host)) for host in ("depot", "portico")}
    with first_wave_held(fleet) as process:
        read_until(process, "fetch:depot: done")
        run = set(roots(fleet, "depot")) - before["depot"]
        for host in ("depot", "portico"):
            collect(fleet, host)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert len(run) == 1
    assert "activate:depot: done" in said
    assert "fetched again" not in said
    assert {host: set(roots(fleet, host)) for host in before} == before
    saw("garbage is collected on the host between the copy and the activation", line_of(said, "depot"))


def test_a_path_that_vanished_is_fetched_again_once_and_that_is_said(fleet, change):
    """Case 7."""
    change()
    with first_wave_held(fleet) as process:
        read_until(process, "fetch:depot: done")
        fleet.lab.exec("depot", ["sh", "-c", f"rm {ROOTS}/*"])
        collect(fleet, "depot")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    line = next(line for line in said.splitlines() if line.startswith("activate:depot: done"))
    assert "had vanished from the host" in line
    saw("the system vanishes from the host before it is activated", line)


def test_roots_of_a_dead_run_are_swept_after_a_day(fleet, change):
    """Case 7."""
    change()
    ended = fleet.nix_hive("push", "-c", "example", "depot")
    assert ended.returncode == 0, ended.stderr
    for host in ("depot", "portico"):
        assert roots(fleet, host)
        fleet.lab.exec(host, ["sh", "-c", f"touch -h -d '25 hours ago' {ROOTS}/*"])
    ended = fleet.nix_hive(*COMMAND, "depot")
    assert ended.returncode == 0, ended.stderr
    assert roots(fleet, "depot") == roots(fleet, "portico") == []
