"""What an activation stands on, and what is said when it is restarted or gives way: sshd, systemd, the boot loader."""

from __future__ import annotations

import os
import re

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import line_of, saw
from tests.fleet.own_systems import BOOKWORM, TRIXIE, own_systems

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("systemd_hosts")]

CONFIRM = 8
LONG = int(os.environ.get("NIXHIVE_LONG_ACTIVATION", "15"))
"""Seconds of an activation that takes long."""
BASE = """
  system.activationScripts.net = lib.mkDefault "ip link set eth0 up";
  system.activationScripts.sshd = lib.mkDefault ''
    if grep -q AllowUsers /etc/ssh/sshd_config; then
      sed -i /AllowUsers/d /etc/ssh/sshd_config
      echo sshd.service >>/run/nixos/activation-restart-list
    fi
  '';
"""
RESTARTING = """
  environment.etc."systemd/system.conf".text = "[Manager]";
  system.activationScripts.again = "echo sshd.service >>/run/nixos/activation-restart-list";
"""
CHANGES = {
    "restarting": RESTARTING,
    "bus": 'system.activationScripts.bus = "systemctl restart dbus.service";',
    "newer": RESTARTING,
    "closed": """
      system.activationScripts.sshd = ''
        echo AllowUsers nobody >>/etc/ssh/sshd_config
        echo sshd.service >>/run/nixos/activation-restart-list
      '';
    """,
    "cut": """
      systemd.services.cutter = {
        wantedBy = [ "multi-user.target" ];
        script = "ip link set eth0 down";
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      };
    """,
    "init": "systemd.package = pkgs.systemd // { interfaceVersion = 3; };",
    "loader": "practice.bootLoaderExit = 1;",
    "full": "",
    "busless": "",
    "sessions": "",
    "refusing": "",
    "lacking": "",
    "slow": f'system.activationScripts.slow = "sleep {LONG}";',
    "brimful": "",
}
HOSTS = dict.fromkeys(CHANGES) | {"newer": HostSpec("newer", "www", user="deploy", init="systemd", debian="trixie")}
BEFORE = {
    "full": """
      cp -r /boot/extlinux /var/loader
      mount -t tmpfs -o size=8k tmpfs /boot
      cp -r /var/loader /boot/extlinux
      head -c 4096 /dev/zero >/boot/filler
    """,
    "busless": "systemctl stop dbus.socket dbus.service",
    "sessions": """
      systemd-run --quiet --unit=login --service-type=exec --property=PAMName=login sleep 1000
      echo 'sleep 2; echo profile >>/var/profile' >/root/.profile
    """,
    "refusing": """
      printf '#!/bin/sh\\necho "Failed to start transient service unit: Access denied" >&2\\nexit 1\\n' \\
        >/usr/local/sbin/systemd-run
      chmod 755 /usr/local/sbin/systemd-run
    """,
    "lacking": "mv /usr/bin/systemd-run /usr/bin/systemd-run.away",
    "brimful": """
      mount -o remount,size=$(($(df -k --output=used /run | tail -n 1) + 32))k /run
      cat /dev/zero >/run/filler || true
    """,
}
"""What is done to a host by hand, before all of them are changed."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A deployed fleet."""
    with own_systems(tmp_path_factory.mktemp("fleet"), HOSTS, base=BASE, confirm=CONFIRM) as own:
        ended = own.deploy()
        assert ended.returncode == 0, ended.stderr
        yield own


@pytest.fixture(scope="module")
def before(fleet):
    """Return how each host stands before all of them are changed, and what process its systemd is."""
    for host, words in BEFORE.items():
        fleet.sh(host, f"set -e\n{words}")
    return {host: fleet.stands(host) for host in HOSTS}


@pytest.fixture(scope="module")
def said(fleet, before):
    """Change all hosts at once, and give what was said of that."""
    del before
    fleet.write(CHANGES)
    return fleet.deploy().stderr


def is_new(fleet, before, host):
    runs, boots, loads = fleet.stands(host)
    return runs == boots == loads != before[host][0]


@pytest.mark.parametrize(("host", "kind"), [("restarting", BOOKWORM), ("newer", TRIXIE)])
def test_an_activation_survives_that_it_restarts_what_it_stands_on(fleet, before, said, host, kind):
    """B: sshd restarted; `daemon-reexec` in the middle."""
    assert is_new(fleet, before, host)
    journal = fleet.sh(host, "journalctl -b --no-pager")
    assert "Reexecuting" in journal
    assert journal.count("Server listening on 0.0.0.0 port 22") == 2
    saw("the activation restarts sshd, and has systemd execute itself anew", line_of(said, host), host=kind)


def test_an_activation_survives_that_dbus_is_restarted(fleet, before, said):
    """B: dbus restarted in the activation."""
    assert is_new(fleet, before, "bus")
    saw("dbus is restarted in the activation", line_of(said, "bus"), host=BOOKWORM)


def test_an_sshd_that_takes_nobody_any_more_is_a_reason_to_go_back(fleet, before, said):
    """B: sshd that takes nobody (`AllowUsers`)."""
    assert fleet.stands("closed") == before["closed"]
    assert "AllowUsers" not in fleet.sh("closed", "cat /etc/ssh/sshd_config")
    assert fleet.nix_hive("run", "closed", "true").returncode == 0
    seen = re.sub(r" Keys tried: .*\?(?=\))", "", line_of(said, "closed"))
    saw("sshd takes nobody after the activation", seen, host=BOOKWORM)


def test_a_link_that_a_unit_cuts_is_back(fleet, before, said):
    """B: link cut by a unit on `test`."""
    assert fleet.stands("cut") == before["cut"]
    assert fleet.nix_hive("run", "cut", "true").returncode == 0
    # Whether a new connection is refused within that time is the network's affair.
    seen = re.sub(r" \(no new connection: .*\)(?=; it is back)", "", line_of(said, "cut"))
    saw("a unit of the new system cuts the network", seen, host=BOOKWORM)


def test_another_init_takes_effect_at_the_next_boot(fleet, before, said):
    """B: exit 100."""
    runs, boots, loads = fleet.stands("init")
    assert boots == loads != before["init"][1]
    assert runs == before["init"][0]
    saw("switch-to-configuration ends with 100: another init", line_of(said, "init"), host=BOOKWORM)


@pytest.mark.parametrize(
    ("host", "fault"),
    [("loader", "the boot loader fails after a good trial"), ("full", "/boot is full after a good trial")],
)
def test_a_boot_loader_that_cannot_be_set_is_a_reason_to_go_back(fleet, before, said, host, fault):
    """B: boot loader fails after a good test; `/boot` full (8 kB tmpfs)."""
    assert fleet.stands(host) == before[host]
    saw(fault, line_of(said, host), host=BOOKWORM)


def test_without_dbus_nothing_is_changed(fleet, before, said):
    """B: dbus dead before."""
    assert fleet.stands("busless") == before["busless"]
    saw("dbus is dead before the activation", line_of(said, "busless"), host=BOOKWORM)


def test_sessions_of_users_are_reloaded_and_their_profiles_waited_for(fleet, before, said):
    """B: user units (session of root open, user manager re-executed); hanging `~/.profile` of root."""
    assert is_new(fleet, before, "sessions")
    assert fleet.sh("sessions", "cat /var/profile").split() == ["profile"]
    assert fleet.sh("sessions", "systemctl is-active login.service") == "active\n"
    saw("sessions of root are open, whose ~/.profile takes 2 s", line_of(said, "sessions"), host=BOOKWORM)


@pytest.mark.parametrize(
    ("host", "fault"), [("refusing", "systemd-run refuses"), ("lacking", "there is no systemd-run")]
)
def test_without_a_unit_for_the_worker_nothing_is_begun(fleet, before, said, host, fault):
    """B: `systemd-run` refuses, or is missing."""
    assert fleet.stands(host) == before[host]
    saw(fault, line_of(said, host), host=BOOKWORM)


def test_a_full_run_is_seen_before_anything_is_begun(fleet, before, said):
    """A5: `/run` is full."""
    assert fleet.stands("brimful") == before["brimful"]
    saw("/run is full", line_of(said, "brimful"), host=BOOKWORM)


def test_an_activation_may_take_longer_than_the_word_that_confirms_it(fleet, before, said):
    """B: an activation of 3 minutes; how long it takes here can be said by NIXHIVE_LONG_ACTIVATION."""
    assert LONG > CONFIRM
    assert is_new(fleet, before, "slow")
    saw("the activation takes longer than --confirm", line_of(said, "slow"), host=BOOKWORM)
