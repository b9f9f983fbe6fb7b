"""Activations that end badly, on hosts with systemd and on one without: what is said of a host is so."""

from __future__ import annotations

import pytest

from tests.fleet.faults import saw
from tests.fleet.kinds import HOSTS, KINDS, seen, up

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("systemd_hosts")]

BASE = """
  system.activationScripts.dies = "if test -e /var/die; then kill -9 $PPID; fi";
  system.preSwitchChecks.own = "test ! -e /var/refuse";
  system.switch.inhibitors.dbus = "dbus";
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    with up(tmp_path_factory.mktemp("fleet"), BASE) as one:
        yield one


@pytest.fixture(autouse=True)
def mended(kinds):
    yield
    kinds.mend()


def test_a_host_that_cannot_go_back_is_a_mixture_until_it_is_activated_well(kinds):
    """A1."""
    # Without the bus, the way back does not get as far as the files; elsewhere it dies as well.
    stops = "if test -e /var/bus; then systemctl stop dbus.socket dbus.service; fi"
    mark = kinds.change(f'system.activationScripts.bus = "{stops}";')
    before = kinds.boots()
    kinds.on(HOSTS, "touch /var/die")
    kinds.on(["www-2"], "touch /var/bus")
    ended = kinds.deploy(*HOSTS)
    assert ended.returncode == 1
    assert kinds.boots() == before
    assert kinds.on(["www-2"], "cat /etc/change") == [mark]
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "mixture")
    for host, kind in KINDS.items():
        line = seen(ended.stderr, host)
        assert "failed at activate" in line
        assert "what it runs is a mixture" in line
        saw("the activation dies halfway, and so does the way back", line, kind)
    # The links say that they run what they did, and so does nobody else.
    kinds.unchange()
    kinds.on(HOSTS, "rm /var/die")
    kinds.on(["www-2"], "rm /var/bus; systemctl start dbus.socket dbus.service")
    healed = kinds.deploy(*HOSTS)
    assert healed.returncode == 0, healed.stderr
    assert kinds.on(HOSTS, "cat /etc/change 2>/dev/null || echo none") == ["none"] * 3
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "in sync")
    for host, kind in KINDS.items():
        line = seen(healed.stderr, host)
        assert "done" in line
        saw("what runs is a mixture, and the host is deployed again", line, kind)
