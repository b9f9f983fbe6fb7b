"""Logins that are not root, on real hosts: how they become it, and what is seen before anything is built."""

from __future__ import annotations

import pytest

from nixhive_nb.lab import HostSpec
from tests.practice import start

pytestmark = pytest.mark.fleet

LOG = "/var/log/sudo.log"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A host with sudo that writes down what it starts, and one whose sudo wants a password."""
    specs = [HostSpec("www-2", "www", user="deploy"), HostSpec("depot", "depot", user="deploy", sudo=False)]
    one = start(tmp_path_factory.mktemp("fleet"), web=2, specs=specs)
    for host in ("www-2", "depot"):
        one.lab.exec(host, ["sh", "-c", f"echo 'Defaults logfile={LOG},loglinelen=0' >>/etc/sudoers"])
    one.lab.exec("depot", ["sh", "-c", "echo 'deploy ALL=(ALL:ALL) ALL' >>/etc/sudoers"])
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def said(fleet):
    """Deploy to both, and give what was said."""
    return fleet.nix_hive("deploy", "-c", "example", "www-2", "depot").stderr


def started(fleet, host):
    """What sudo has started or refused there, a line each."""
    return fleet.lab.exec(host, ["cat", LOG]).splitlines()


def test_the_word_that_confirms_a_trial_needs_no_sudo(fleet, said):
    assert "activate:www-2: done" in said
    assert fleet.runs("www-2") == fleet.boots("www-2") != ""
    lines = started(fleet, "www-2")
    assert [line for line in lines if " nixhive begin " in line]
    assert not [line for line in lines if " nixhive say " in line]


def test_a_login_that_does_not_become_root_is_told_before_anything_is_copied(fleet, said):
    why = "depot: sudo was refused (a password is required). Let the login user use sudo without a password"
    assert why in said
    assert "push:depot>ssh://portico: failed: depot: sudo was refused" in said
    assert "fetch:depot: started" not in said
    assert not fleet.lab.exec("depot", ["sh", "-c", "ls -d /run/current-system 2>/dev/null || true"])
    # It is asked once, and when that is known never again.
    assert len([line for line in started(fleet, "depot") if "COMMAND=" in line]) == 1


def test_following_after_a_lost_link_needs_no_sudo(fleet, said):
    page = fleet.example / "www.nix"
    held = 'system.activationScripts.held = "echo here > /var/here; read line < /var/go";'
    page.write_text(page.read_text().replace("networking.hostName", f"{held}\n  networking.hostName", 1))
    fleet.lab.exec("www-2", ["mkfifo", "/var/here", "/var/go"])
    process = fleet.begin("deploy", "-c", "example", "www-2")
    fleet.lab.exec("www-2", ["cat", "/var/here"])
    fleet.lab.exec("www-2", ["pkill", "-KILL", "-f", "[s]shd(-session)?: deploy"])
    fleet.lab.exec("www-2", ["sh", "-c", "echo go > /var/go"])
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 0, told
    assert fleet.runs("www-2") == fleet.boots("www-2")
    assert "the activation is followed anew" in (fleet.folder / "nix-hive.log").read_text()
    assert not [line for line in started(fleet, "www-2") if " nixhive follow " in line]
