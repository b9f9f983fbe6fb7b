"""Hosts with systemd that OpenSSH carries: activations, commands and reboots, and what is left when we are killed."""

from __future__ import annotations

import json
import secrets
import signal

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import line_of, saw
from tests.fleet.own_systems import BOOKWORM, EACH, TRIXIE, own_systems
from tests.sshd import descendants, eventually, is_running

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300), pytest.mark.usefixtures("systemd_hosts")]

HOSTS = {"older": None, "newer": HostSpec("newer", "www", user="deploy", init="systemd", debian="trixie")}
BASE = 'system.activationScripts.net = lib.mkDefault "ip link set eth0 up";'
RESTARTING = 'system.activationScripts.again = "echo sshd.service >>/run/nixos/activation-restart-list";'
CUTTING = """
  systemd.services.cutter = {
    wantedBy = [ "multi-user.target" ];
    script = "ip link set eth0 down";
    serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
  };
"""
HOLDING = """
  mkdir -m 777 /var/held
  for name in here go; do mkfifo -m 666 /var/held/$name; done
  cat >/usr/local/bin/df
  chmod 755 /usr/local/bin/df
  ln -s df /usr/local/bin/nix-store
"""
HOLDER = """#!/bin/sh
name=${0##*/}
case "$name $*" in
  df* | *--realise*) if rm /var/held/$name 2>/dev/null; then echo here >/var/held/here; read line </var/held/go; fi ;;
esac
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/nix/var/nix/profiles/default/bin
exec "$name" "$@"
"""
"""What stands before a program of a host: it waits once, where it is told to."""
RUNS = "pgrep -f '/usr/local/bin/(df|nix-store)' || true"
STAGES = {
    "survey": ("status", EACH),
    "fetch": ("deploy", EACH),
    "run": ("run", EACH, "df /"),
}
WAYS = (signal.SIGINT, signal.SIGKILL, None)
"""How each of them is broken off: by these signals, and by the loss of the link."""
HELD = 'system.activationScripts.held = "if rm /var/hold; then echo here > /var/here; read line < /var/go; fi";'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A deployed fleet that OpenSSH carries."""
    with own_systems(tmp_path_factory.mktemp("fleet"), HOSTS, base=BASE, confirm=8) as own:
        own.carrier = "openssh"
        own.settle()
        yield own


def test_sshd_is_restarted_under_one_and_the_link_of_the_other_is_cut(fleet):
    before = {host: fleet.stands(host) for host in HOSTS}
    fleet.write({"older": RESTARTING, "newer": CUTTING})
    said = fleet.deploy().stderr
    runs, boots, loads = fleet.stands("older")
    assert runs == boots == loads != before["older"][0]
    assert fleet.sh("older", "journalctl -b --no-pager").count("Server listening on 0.0.0.0 port 22") == 2
    saw("carried by OpenSSH: the activation restarts sshd", line_of(said, "older"), host=BOOKWORM)
    assert fleet.stands("newer") == before["newer"]
    assert "rolled back" in line_of(said, "newer")
    assert fleet.nix_hive("run", "newer", "true").returncode == 0
    fleet.settle()


def test_commands_with_input_variables_and_a_time_limit(fleet, tmp_path):
    (tmp_path / "input").write_text("from the file\n")
    words = ("--json", "-v", "WORD=a 'word'", "--stdin-from", str(tmp_path / "input"))
    rows = json.loads(fleet.nix_hive("run", *words, EACH, 'cat; echo "$WORD"; exit 3').stdout)
    assert [(row["stdout"], row["exit_code"]) for row in rows] == [("from the file\na 'word'\n", 3)] * 2
    ended = fleet.nix_hive("run", "--timeout", "1", EACH, "exec sleep 4242")
    assert ended.returncode != 0
    for host in HOSTS:
        eventually(lambda host=host: not fleet.sh(host, "pgrep -f '^sleep 4242' || true"), "the end of the command")


@pytest.fixture(scope="module")
def holding(fleet):
    """Hosts whose `df` and whose fetch wait once, where `/var/held` has their name. They fetch from the jump host."""
    for host in HOSTS:
        fleet.lab.exec(host, ["sh", "-c", HOLDING], text=HOLDER)
    fleet.store = "ssh://portico"
    fleet.base = f'{BASE} environment.etc.fetched.text = "{secrets.token_hex(8)}";'
    fleet.write()
    yield fleet
    fleet.store, fleet.base = "", BASE
    for host in HOSTS:
        fleet.sh(host, "rm -r /var/held /usr/local/bin/df /usr/local/bin/nix-store")


def cut(fleet):
    """Cut the links to the hosts, which both ends are told of."""
    for host in HOSTS:
        fleet.sh(host, "ss -K sport = :22 >/dev/null")


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_a_kill_and_a_lost_link_leave_nothing_and_the_next_run_is_right(holding, stage):
    fleet, program = holding, "nix-store" if stage == "fetch" else "df"
    for way in WAYS:
        for host in HOSTS:
            fleet.sh(host, f"touch /var/held/{program}; chmod 666 /var/held/{program}")
        process = fleet.begin(*STAGES[stage], cold=True)
        for host in HOSTS:
            fleet.sh(host, "cat /var/held/here")
            assert fleet.sh(host, RUNS)
        below = descendants(process.pid)
        assert below
        if way is None:
            cut(fleet)
        else:
            process.send_signal(way)
        said = process.communicate(timeout=120)[1]
        assert process.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}.get(way, int(stage != "survey")), said
        if way is signal.SIGINT and stage == "run":
            assert all(f"{host}: interrupted. It was ended there." in said for host in HOSTS)
        if stage == "fetch" and way is not signal.SIGKILL:
            fault = "an interrupt" if way else "the link is lost, which both ends are told"
            saw(f"carried by OpenSSH: {fault}, in a fetch from the relay", line_of(said, "newer"), host=TRIXIE)
        if way is None:
            assert all(f"{host}: the connection broke." in said for host in HOSTS)
        eventually(lambda below=below: not any(map(is_running, below)), f"the end of the masters ({said})")
        for host in HOSTS:
            eventually(lambda host=host: not fleet.sh(host, RUNS), f"the end of what ran on {host}")
    ended = fleet.nix_hive(*STAGES[stage])
    assert ended.returncode == 0, ended.stderr
    if stage == "fetch":
        assert "done (from relay)" in ended.stderr
        for host in HOSTS:
            assert len(set(fleet.stands(host))) == 1


def test_who_is_killed_in_a_trial_leaves_no_master_and_the_host_goes_back(fleet):
    before = fleet.stands("newer")
    fleet.sh("newer", "rm -f /var/here /var/go; mkfifo /var/here /var/go; touch /var/hold")
    fleet.write({"newer": HELD})
    process = fleet.begin("deploy", "--confirm", "3", "newer", cold=True)
    fleet.sh("newer", "cat /var/here")
    below = descendants(process.pid)
    assert below
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    eventually(lambda: not any(map(is_running, below)), "the end of the masters")
    fleet.sh("newer", "echo go >/var/go; flock /run/nixhive/lock true")
    assert fleet.stands("newer") == before
    fleet.settle("newer")


def test_one_is_rebooted_and_the_other_does_not_come_back(fleet):
    stands = fleet.stands("newer")
    boots = {host: fleet.sh(host, "cat /proc/sys/kernel/random/boot_id") for host in HOSTS}
    fleet.sh("older", "systemctl mask --quiet ssh.service")
    said = fleet.nix_hive("reboot", "--reboot-timeout", "12", EACH).stderr
    fleet.sh("older", "systemctl unmask --quiet ssh.service; systemctl start ssh.service")
    assert {host for host in HOSTS if fleet.sh(host, "cat /proc/sys/kernel/random/boot_id") == boots[host]} == set()
    assert fleet.stands("newer") == stands
    saw("carried by OpenSSH: a reboot", line_of(said, "newer"), host=TRIXIE)
    assert "did not come back within 12 s" in line_of(said, "older")
