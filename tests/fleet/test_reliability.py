"""Faults on real hosts: the other hosts are deployed, and the broken one ends in a named state with one clear line."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import select
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from jupyter_client.manager import start_new_kernel

from nixhive_nb.lab import LabError
from tests.fleet.faults import line_of, saw
from tests.practice import read_until, start
from tests.sshd import eventually

pytestmark = pytest.mark.fleet

CONFIRM = 3
OTHERS = ("portico", "www-1", "www-2")
COMMAND = ("deploy", "-c", "example", "--confirm", str(CONFIRM), "portico", "*")
SESSION = "[s]shd(-session)?: root"
"""The title of what serves a login of root: `sshd: root@notty`, since OpenSSH 9.8 `sshd-session: root@notty`."""
_numbers = itertools.count()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A deployed fleet whose systems, when activated, see to it that the network is up."""
    one = start(tmp_path_factory.mktemp("fleet"), web=2)
    common = one.example / "instance.nix"
    up = 'system.activationScripts.net = lib.mkDefault "ip link set eth0 up; date +%s > /var/up";'
    common.write_text(common.read_text().replace("time.timeZone", f"{up}\n  time.timeZone", 1))
    ended = one.nix_hive(*COMMAND)
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def changed(fleet):
    """Change all systems a little, and depot's also by `options`; afterwards mend it and deploy the rest."""
    files = {name: fleet.example / name for name in ("instance.nix", "depot.nix", "default.nix")}
    texts = {name: file.read_text() for name, file in files.items()}
    mended = texts["instance.nix"].replace("One of the fleet.", f"One of the fleet, change {next(_numbers)}.")

    def change(options="", depot=""):
        files["instance.nix"].write_text(mended)
        files["depot.nix"].write_text(
            texts["depot.nix"].replace("networking.hostName", f"{options}\n  networking.hostName", 1)
        )
        member = 'depot = inner "depot" "depot" [ "storage" ]'
        assert member in texts["default.nix"]
        files["default.nix"].write_text(texts["default.nix"].replace(member, f"{member} // {{ {depot} }}", 1))

    yield change
    for name, file in files.items():
        file.write_text(texts[name])
    ended = fleet.nix_hive(*COMMAND, "--wait", "60")
    assert ended.returncode == 0, ended.stderr


@contextlib.contextmanager
def held(fleet):
    """Two pipes on depot: its activation says that it is there, and waits until it may go on."""
    fleet.lab.exec("depot", ["sh", "-c", "rm -f /var/here /var/go; mkfifo /var/here /var/go"])
    yield 'system.activationScripts.held = "echo here > /var/here; read line < /var/go";'


def release(fleet):
    fleet.lab.exec("depot", ["sh", "-c", "echo go > /var/go"])


def killed(process):
    """Kill it as the kernel does when memory is short."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def settled(fleet):
    """Wait until no activation holds depot any more."""
    fleet.lab.exec("depot", ["flock", "/run/nixhive/lock", "true"])


def assert_others_are_deployed(fleet, ended):
    for host in OTHERS:
        assert f"activate:{host}: done" in ended.stderr, ended.stderr
        assert fleet.runs(host) == fleet.boots(host)


@pytest.mark.parametrize(("status", "outcome"), [(1, "refused"), (2, "rolled back"), (4, "warned"), (100, "warned")])
def test_an_activation_that_ends_with_a_status(fleet, changed, status, outcome):
    before = fleet.runs("depot"), fleet.boots("depot")
    changed(f"practice.switchExit = {status};")
    ended = fleet.nix_hive(*COMMAND)
    assert_others_are_deployed(fleet, ended)
    assert f"activate:depot: {outcome}" in ended.stderr
    after = fleet.runs("depot"), fleet.boots("depot")
    assert (after == before) is (outcome in ("refused", "rolled back"))
    assert after[0] == after[1]
    assert ended.returncode == (0 if outcome == "warned" else 1)
    saw(f"switch-to-configuration ends with {status}", line_of(ended.stderr, "depot"))


def test_an_activation_that_cuts_the_network(fleet, changed):
    before = fleet.runs("depot"), fleet.boots("depot")
    changed('system.activationScripts.net = "date +%s > /var/down; ip link set eth0 down";')
    ended = fleet.nix_hive(*COMMAND)
    assert_others_are_deployed(fleet, ended)
    assert ended.returncode == 1
    assert (fleet.runs("depot"), fleet.boots("depot")) == before
    down, up = (int(fleet.lab.exec("depot", ["cat", f"/var/{name}"])) for name in ("down", "up"))
    assert 0 <= up - down <= CONFIRM + 10
    assert fleet.nix_hive("run", "-c", "example", "depot", "true").returncode == 0
    # Whether a new connection is refused within that time is the network's affair.
    seen = re.sub(r" \(no new connection: .*\)(?=; it is back)", "", line_of(ended.stderr, "depot"))
    saw("the activation cuts the network", seen)


def test_an_activation_that_hangs(fleet, changed):
    before = fleet.runs("depot"), fleet.boots("depot")
    changed('system.activationScripts.hang = "tail -f /dev/null";')
    ended = fleet.nix_hive(*COMMAND, "--activation-timeout", "2")
    assert_others_are_deployed(fleet, ended)
    assert (fleet.runs("depot"), fleet.boots("depot")) == before
    assert not [name for name in fleet.lab.exec("depot", ["ps", "-eo", "args"]).splitlines() if "/dev/null" in name]
    saw("the activation hangs (--activation-timeout 2)", line_of(ended.stderr, "depot"))


def test_a_check_that_fails(fleet, changed):
    before = fleet.runs("depot"), fleet.boots("depot")
    changed(depot='checks.page = { http = "http://localhost:8099/"; timeout = 1; };')
    ended = fleet.nix_hive(*COMMAND)
    assert_others_are_deployed(fleet, ended)
    assert (fleet.runs("depot"), fleet.boots("depot")) == before
    saw("a check fails on trial", line_of(ended.stderr, "depot"))


def test_a_check_that_holds_lets_the_host_go_on(fleet, changed):
    changed(depot='checks.ssh.tcp = 22; checks.motd.command = [ "test" "-e" "/etc/motd" ];')
    ended = fleet.nix_hive(*COMMAND)
    assert "activate:depot: done" in ended.stderr, ended.stderr
    checked = fleet.nix_hive("check", "-c", "example", "depot")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert [line.split()[1] for line in checked.stdout.splitlines()[1:]] == ["motd", "ssh"]


def test_a_host_that_is_rebooted_in_the_middle(fleet, changed):
    before = fleet.runs("depot"), fleet.boots("depot")
    with held(fleet) as options:
        changed(options)
        process = fleet.begin(*COMMAND)
        fleet.lab.exec("depot", ["cat", "/var/here"])
        with contextlib.suppress(LabError):  # it ends with the host
            fleet.lab.exec("depot", ["reboot"])
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert (fleet.runs("depot"), fleet.boots("depot")) == before
    saw("the host is rebooted during the activation", line_of(said, "depot"))


def test_a_link_that_is_lost_during_an_activation(fleet, changed):
    with held(fleet) as options:
        changed(options)
        process = fleet.begin(*COMMAND)
        fleet.lab.exec("depot", ["cat", "/var/here"])
        fleet.lab.exec("depot", ["pkill", "-KILL", "-f", SESSION])
        release(fleet)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert fleet.runs("depot") == fleet.boots("depot")
    saw("the link is lost during the activation", line_of(said, "depot"))


def test_two_operators_at_once(fleet, changed):
    with held(fleet) as options:
        changed(options)
        first = fleet.begin(*COMMAND)
        fleet.lab.exec("depot", ["cat", "/var/here"])
        second = fleet.nix_hive("deploy", "-c", "example", "depot")
        waiting = fleet.begin("deploy", "-c", "example", "--wait", "60", "depot")
        read_until(waiting, "activate:depot: started")
        release(fleet)
        said = first.communicate(timeout=60)[1]
        # It is another activation of the same system, which goes through the gate again or finds nothing to do.
        with contextlib.suppress(LabError):
            fleet.lab.exec("depot", ["sh", "-c", "timeout 5 cat /var/here && echo go > /var/go"])
        waited = waiting.communicate(timeout=60)[1]
    assert first.returncode == 0, said
    assert waiting.returncode == 0, waited
    assert second.returncode == 1
    saw("two operators at once", line_of(second.stderr, "depot"))


def test_a_program_that_is_killed_in_a_build(fleet, changed, gate):
    changed(
        f'system.extraDependencies = [ (derivation {{ name = "gated-{secrets.token_hex(8)}"; '
        f"system = builtins.currentSystem; "
        f'builder = "/bin/sh"; args = [ "-c" "read line < {gate}; echo $line > $out" ]; }}) ];'
    )
    process = fleet.begin(*COMMAND)
    read_until(process, "build: started")
    writer = os.open(gate, os.O_WRONLY)
    killed(process)
    # D3: the build ends with it. Nobody reads any more.
    eventually(lambda: not is_read(writer), "the end of the builder")
    os.close(writer)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.write_text, "go\n")  # for the build of the resumed run
        _assert_resumed(fleet, "the program is killed (-9) in a build, then --resume")


def is_read(writer):
    """Return whether a pipe still has a reader."""
    waiting = select.poll()
    waiting.register(writer, 0)
    return not waiting.poll(0)


def test_a_program_that_is_killed_in_a_copy(fleet, changed):
    changed()
    process = fleet.begin(*COMMAND)
    read_until(process, "fetch:portico: started")
    killed(process)
    _assert_resumed(fleet, "the program is killed (-9) in a copy, then --resume")


def test_a_program_that_is_killed_in_an_activation(fleet, changed):
    before = fleet.runs("depot"), fleet.boots("depot")
    with held(fleet) as options:
        changed(options)
        process = fleet.begin(*COMMAND)
        fleet.lab.exec("depot", ["cat", "/var/here"])
        killed(process)
        release(fleet)
        settled(fleet)
        # Nobody gave the word.
        assert (fleet.runs("depot"), fleet.boots("depot")) == before
        again = fleet.begin("deploy", "-c", "example", "--resume")
        fleet.lab.exec("depot", ["cat", "/var/here"])
        release(fleet)
        said = again.communicate(timeout=120)[1]
    assert again.returncode == 0, said
    assert "killed" in fleet.nix_hive("history", "-c", "example").stdout
    saw("the program is killed (-9) in an activation, then --resume", line_of(said, "depot"))


def test_a_kernel_that_is_killed_in_an_activation(fleet, changed):
    before = fleet.runs("depot"), fleet.boots("depot")
    with held(fleet) as options:
        changed(options)
        kernel, client = start_new_kernel(kernel_name="python3", cwd=str(fleet.folder))
        try:
            client.execute("%load_ext nixhive_nb")
            client.execute(f"%hive deploy -c example --confirm {CONFIRM} portico *")
            fleet.lab.exec("depot", ["cat", "/var/here"])
        finally:
            client.stop_channels()
            kernel.shutdown_kernel(now=True)  # SIGKILL
        release(fleet)
        settled(fleet)
        assert (fleet.runs("depot"), fleet.boots("depot")) == before
        again = fleet.begin("deploy", "-c", "example", "--resume")
        fleet.lab.exec("depot", ["cat", "/var/here"])
        release(fleet)
        said = again.communicate(timeout=120)[1]
    assert again.returncode == 0, said
    saw("the kernel is killed (-9) in an activation, then --resume", line_of(said, "depot"))


def test_an_sshd_that_is_killed_in_the_middle_of_a_copy(fleet, changed):
    # Without a relay all of it comes from here, slowly enough to be cut.
    ballast = f'(pkgs.ballast {{ name = "ballast-{secrets.token_hex(4)}"; kib = 4000; }})'
    changed(f"environment.systemPackages = [ {ballast} ];", depot='store = "";')
    depot = fleet.example / "depot.nix"
    depot.write_text(depot.read_text().replace("{ ... }:", "{ pkgs, ... }:", 1))
    link = ["dev", fleet.lab.link, "root"]
    subprocess.run(
        ["tc", "qdisc", "add", *link, "tbf", "rate", "8mbit", "burst", "32k", "latency", "400ms"], check=True
    )
    try:
        process = fleet.begin("deploy", "-c", "example", "depot")
        lines = read_until(process, "fetch:depot: started")
        serving = f"until pgrep -f '^nix-store.*--serve' >/dev/null; do :; done; pkill -KILL -f '{SESSION}'"
        fleet.lab.exec("depot", ["timeout", "60", "sh", "-c", serving])
    finally:
        subprocess.run(["tc", "qdisc", "del", *link], check=True)
    said = "".join(lines) + process.communicate(timeout=120)[1]
    assert process.returncode == 1, said
    reason = line_of(said, "depot")
    assert "nix copy to ssh://depot failed" in reason
    saw("sshd is killed in the middle of a copy", f"{reason.partition(' failed: ')[0]} failed")


def test_a_relay_that_dies_after_it_was_pushed_to(fleet, changed):
    changed()
    ended = fleet.nix_hive("push", "-c", "example", "portico")
    assert ended.returncode == 0, ended.stderr
    process = fleet.begin(*COMMAND)
    read_until(process, "push:www>ssh://portico: done")
    fleet.lab.stop_host("portico")
    said = process.communicate(timeout=200)[1]
    fleet.lab.start_host("portico")
    assert process.returncode == 1
    # Which of these depends on how far it was at that moment.
    for host in ("www-1", "www-2", "depot"):
        # Depot has a system of its own, which may have been there before that of the others was pushed.
        early = ("done",) if host == "depot" else ()
        assert line_of(said, host).split(": ")[1].split(" ")[1] in ("skipped", "failed", "unknown", *early)
    _assert_resumed(fleet, "the relay (and jump host) dies after it was pushed to, then --resume")


def _assert_resumed(fleet, fault):
    ended = fleet.nix_hive("deploy", "-c", "example", "--resume")
    assert ended.returncode == 0, ended.stderr
    for host in (*OTHERS, "depot"):
        assert fleet.runs(host) == fleet.boots(host)
    again = fleet.nix_hive("deploy", "-c", "example", "--resume")
    assert (again.returncode, "Nothing is left to do: 4 instances" in again.stdout) == (0, True), again.stderr
    status = fleet.nix_hive("status", "-c", "example", "--no", "build")
    assert status.stdout.count("in sync") == len(OTHERS) + 1, status.stdout
    saw(fault, "all hosts run and boot what is wanted")
