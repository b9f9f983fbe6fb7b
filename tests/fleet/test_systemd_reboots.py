"""Hosts with systemd that are rebooted, lose their power or their operator, and go back to what they were."""

from __future__ import annotations

import contextlib
import json
import signal

import pytest

from nixhive_nb.lab import HostSpec, LabError
from tests.fleet.faults import line_of, saw
from tests.fleet.own_systems import BOOKWORM, EACH, TRIXIE, own_systems

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("systemd_hosts")]

HOSTS = {
    "usual": None,
    "newer": HostSpec("newer", "www", user="deploy", init="systemd", debian="trixie"),
    "shut": None,
    "refusing": None,
    "other": None,
    "once": None,
}
KERNEL = "boot.kernelPackages = pkgs.linuxPackages_latest;"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet that was deployed to twice."""
    with own_systems(tmp_path_factory.mktemp("fleet"), HOSTS, confirm=5) as own:
        for own.mark in range(2):
            own.write()
            ended = own.deploy()
            assert ended.returncode == 0, ended.stderr
        yield own


@contextlib.contextmanager
def trial(fleet, host):
    """Have an activation of a host in its middle: `leave` lets it go on."""
    fleet.sh(host, "rm -f /var/here /var/go; mkfifo /var/here /var/go; touch /var/hold")
    # Once: not when it is activated again, or boots.
    hold = "if rm /var/hold 2>/dev/null; then echo here > /var/here; read line < /var/go; fi"
    fleet.write({host: f'system.activationScripts.held = "{hold}";'})
    process = fleet.begin("deploy", "--confirm", "5", host)
    fleet.sh(host, "cat /var/here")
    yield process
    fleet.settle(host)


def state_of(fleet, host):
    (row,) = json.loads(fleet.nix_hive("status", host, "--json").stdout)
    return row["state"]


def older(fleet, host):
    """Return the system of the generation before."""
    return fleet.sh(host, "readlink -f /nix/var/nix/profiles/system-1-link").strip()


def test_hosts_that_are_told_to_reboot(fleet):
    """B: reboot; host does not come back; reboot refused; boot loader starts another system; one-shot entry."""
    boots = {host: fleet.sh(host, "cat /proc/sys/kernel/random/boot_id") for host in HOSTS}
    stands = {host: fleet.stands(host) for host in HOSTS}
    fleet.sh("shut", "systemctl mask --quiet ssh.service")
    fleet.sh("refusing", "systemctl mask --quiet reboot.target")
    fleet.sh("other", f"sed -i 's|init=/nix/store/[^/]*|init={older(fleet, 'other')}|' /boot/extlinux/extlinux.conf")
    fleet.sh("once", f"echo {older(fleet, 'once')} >/boot/once")
    said = fleet.nix_hive("reboot", "--reboot-timeout", "12", EACH).stderr
    fleet.sh("shut", "systemctl unmask --quiet ssh.service; systemctl start ssh.service")
    fleet.sh("refusing", "systemctl unmask --quiet reboot.target")
    for host, kind in (("usual", BOOKWORM), ("newer", TRIXIE)):
        assert fleet.stands(host) == stands[host]
        assert fleet.sh(host, "readlink -f /run/booted-system").strip() == stands[host][0]
        saw("a reboot", line_of(said, host), host=kind)
    saw("the host comes back from a reboot without sshd (--reboot-timeout 12)", line_of(said, "shut"), host=BOOKWORM)
    saw("the host refuses to reboot", line_of(said, "refusing"), host=BOOKWORM)
    saw("the boot loader starts another system", line_of(said, "other"), host=BOOKWORM)
    saw("a boot entry for one boot starts another system", line_of(said, "once"), host=BOOKWORM)
    rebooted = {host for host in HOSTS if fleet.sh(host, "cat /proc/sys/kernel/random/boot_id") != boots[host]}
    assert rebooted == set(HOSTS) - {"refusing"}
    # An entry for one boot is good for one.
    assert state_of(fleet, "once") == "boots it next"
    assert fleet.nix_hive("reboot", "--if-needed", "once").returncode == 0
    assert state_of(fleet, "once") == "in sync"
    assert state_of(fleet, "other") == "outdated"
    fleet.settle("other")


def test_another_kernel_needs_a_reboot(fleet):
    """B: new kernel + `--reboot-if-needed`."""
    kinds = {"usual": BOOKWORM, "newer": TRIXIE}
    fleet.write(dict.fromkeys(kinds, KERNEL))
    ended = fleet.deploy()
    assert ended.returncode == 0, ended.stderr
    assert [state_of(fleet, host) for host in kinds] == ["reboot needed"] * 2
    ended = fleet.deploy("--reboot-if-needed")
    assert [state_of(fleet, host) for host in kinds] == ["in sync"] * 2
    for host, kind in kinds.items():
        saw("another kernel, with --reboot-if-needed", line_of(ended.stderr, host), host=kind)
    fleet.settle()


def test_a_host_goes_back_to_the_generation_before_and_to_one_by_its_number(fleet):
    """B: `generations`, `rollback`, `rollback --to 35`."""
    first, now = older(fleet, "usual"), fleet.stands("usual")[0]
    fleet.write({"usual": 'environment.etc.news.text = "";'})
    assert fleet.deploy("usual").returncode == 0
    newest = fleet.stands("usual")[0]
    listed = json.loads(fleet.nix_hive("generations", "usual", "--json").stdout)
    assert [row["path"] for row in listed if row["current"] and row["running"]] == [newest]
    back = fleet.nix_hive("rollback", "usual")
    assert fleet.stands("usual") == (now, now, now)
    saw("rollback", line_of(back.stderr, "usual"), host=BOOKWORM)
    far = fleet.nix_hive("rollback", "--to", "1", "usual")
    assert fleet.stands("usual") == (first, first, first)
    saw("rollback to a generation by its number", line_of(far.stderr, "usual"), host=BOOKWORM)
    fleet.settle("usual")


def test_a_host_whose_operator_is_killed_goes_back_by_itself(fleet):
    """B: `kill -9` of the product in a trial."""
    before = fleet.stands("usual")
    with trial(fleet, "usual") as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        other = fleet.nix_hive("deploy", "usual").stderr
        fleet.sh("usual", "echo go >/var/go; flock /run/nixhive/lock true")
        assert fleet.stands("usual") == before
        assert "killed" in fleet.nix_hive("history").stdout
        fault = "the program of somebody else was killed (-9) in an activation, which is on trial"
        saw(fault, line_of(other, "usual"), host=BOOKWORM)


def test_who_waits_for_one_that_was_killed_comes_after_its_host_has_gone_back(fleet):
    """B: `kill -9` of the product in a trial, and `--wait 60` of somebody else."""
    before = fleet.stands("newer")
    with trial(fleet, "newer") as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        waiting = fleet.begin("deploy", "--confirm", "5", "--wait", "60", "newer")
        fleet.sh("newer", "until grep -q ' waits ' /run/nixhive/*/log; do sleep 0.05; done")
        fleet.sh("newer", "echo go >/var/go")
        said = waiting.communicate(timeout=120)[1]
        assert waiting.returncode == 0, said
        runs, boots, loads = fleet.stands("newer")
        assert runs == boots == loads != before[0]
        saw("somebody waits (--wait 60) for one that was killed (-9)", line_of(said, "newer"), host=TRIXIE)


@pytest.mark.parametrize(("host", "kind"), [("usual", BOOKWORM), ("newer", TRIXIE)])
def test_a_host_that_loses_its_power_in_a_trial_boots_what_it_ran(fleet, host, kind):
    """B: power cut in a trial."""
    before = fleet.stands(host)
    with trial(fleet, host) as process:
        fleet.lab.stop_host(host)
        fleet.lab.start_host(host)
        said = process.communicate(timeout=120)[1]
        assert fleet.stands(host) == before
        saw("the power is cut in the middle of an activation", line_of(said, host), host=kind)


def test_a_host_that_is_rebooted_in_a_trial_boots_what_it_ran(fleet):
    """B: reboots."""
    before = fleet.stands("usual")
    with trial(fleet, "usual") as process:
        with contextlib.suppress(LabError):  # it may end with the host
            fleet.sh("usual", "systemctl reboot")
        said = process.communicate(timeout=120)[1]
        assert fleet.stands("usual") == before
        saw("the host is rebooted during the activation", line_of(said, "usual"), host=BOOKWORM)
