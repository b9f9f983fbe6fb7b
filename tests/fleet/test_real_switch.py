"""Activations that end badly, on hosts with systemd and on one without: what is said of a host is so."""

from __future__ import annotations

import pytest

from tests.fleet.faults import saw
from tests.fleet.kinds import BOOT, HOSTS, KINDS, PROFILE, REAL, seen, told, up

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
    told(
        ended.stderr,
        "the activation dies halfway, and so does the way back",
        "failed at activate",
        "what it runs is a mixture",
    )
    # The links say that they run what they did, and so does nobody else.
    kinds.unchange()
    kinds.on(HOSTS, "rm /var/die")
    kinds.on(["www-2"], "rm /var/bus; systemctl start dbus.socket dbus.service")
    healed = kinds.deploy(*HOSTS)
    assert healed.returncode == 0, healed.stderr
    assert kinds.on(HOSTS, "cat /etc/change 2>/dev/null || echo none") == ["none"] * 3
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "in sync")
    told(healed.stderr, "what runs is a mixture, and the host is deployed again", "done")


def test_a_check_before_the_switch_refuses_and_what_was_stopped_by_hand_stays_so(kinds):
    """A6."""
    kinds.change('systemd.services.stood.script = "true";')
    kinds.on(["www-1"], "rm /run/nixos/started-units/nginx.service")
    kinds.on(REAL, "systemctl stop nginx")
    kinds.on(HOSTS, "touch /var/refuse")
    before = kinds.boots()
    for words in ((), ("--no", "confirm"), ("-t", "boot")):
        ended = kinds.deploy(*words, *HOSTS)
        assert ended.returncode == 1
        for host, kind in KINDS.items():
            line = seen(ended.stderr, host)
            assert "refused: a pre-switch check failed: Pre-switch check 'own' failed" in line
            assert "Nothing was changed." in line
            if not words:
                saw("a check before the switch refuses", line, kind)
        assert kinds.boots() == before
    assert kinds.on(["www-1"], "ls /run/nixos/started-units | grep nginx || echo stopped") == ["stopped"]
    assert kinds.on(REAL, "systemctl is-active nginx || true") == ["inactive"] * 2
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "outdated")


def test_what_must_not_change_while_it_runs_goes_by_a_reboot(kinds):
    """A6: switch inhibitors are known before; with --reboot-if-needed the host boots into the new system."""
    kinds.change(swap=('dbus = "dbus"', 'dbus = "broker"'))
    before = kinds.boots()
    said = kinds.fails(*HOSTS)
    # It was built, so that a plan can tell.
    assert "dbus: dbus → broker" in kinds.fleet.nix_hive("plan", "-c", "example", *HOSTS).stdout
    forced = kinds.fails("--force", *HOSTS)
    told(
        said,
        "a switch inhibitor (dbus) changes",
        "refused: dbus: dbus → broker: that needs a reboot. Nothing was changed.",
    )
    for host in HOSTS:
        assert "refused: a pre-switch check failed: dbus : dbus -> broker" in seen(forced, host)
    rebooted = kinds.deploy("--reboot-if-needed", *HOSTS)
    assert rebooted.returncode == 0, rebooted.stderr
    after = kinds.boots()
    assert all(len(set(one)) == 1 for one in after)
    assert after != before
    told(rebooted.stderr, "a switch inhibitor (dbus) changes, with --reboot-if-needed")
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "in sync")


def test_no_check_of_the_old_system_is_in_the_way_back(kinds):
    """A7."""
    kinds.change('system.activationScripts.refuses = "touch /var/refuse; exit 1";')
    said = kinds.fails(*HOSTS)
    told(said, "the activation fails, and a check of the old system refuses", "rolled back")
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "outdated")


def test_without_confirmation_a_boot_loader_that_fails_leaves_the_host_as_it_was(kinds):
    """A4."""
    kinds.change("practice.bootLoaderExit = 1;")
    said = kinds.fails("--no", "confirm", *HOSTS)
    told(
        said,
        "the boot loader fails, with --no confirm",
        "switch ended with 1; the system profile and the boot loader were put back",
    )


def test_a_host_whose_boot_loader_starts_something_else_is_not_unchanged(kinds):
    """A4."""
    kinds.change()
    assert kinds.deploy("-t", "boot", *HOSTS).returncode == 0
    kinds.on(HOSTS, f"cp {BOOT} /var/other; nix-env -p {PROFILE} --set {kinds.base}; cp /var/other {BOOT}")
    kinds.unchange()
    assert {boots for _, boots, _ in kinds.boots()} == {kinds.base}
    assert kinds.base not in {loads for *_, loads in kinds.boots()}
    ended = kinds.deploy("-t", "boot", *HOSTS)
    assert ended.returncode == 0, ended.stderr
    assert kinds.boots() == [(kinds.base,) * 3] * 3
    told(ended.stderr, "the boot loader starts another system than the profile says, then deploy -t boot", "done")


def test_a_failed_activation_script_is_seen_where_units_fail_as_well(kinds):
    """A13."""
    kinds.change('system.activationScripts.bad = "exit 1"; systemd.services.bad = { script = "exit 1"; };')
    said = kinds.fails(*HOSTS)
    told(said, "an activation script fails, and a unit as well", "rolled back")


def test_a_worker_that_is_killed_in_the_middle_leaves_a_mixture_until_it_is_deployed_or_rebooted(kinds):
    """A1."""
    kinds.on(HOSTS, "mkfifo /var/here /var/go")
    kinds.change('system.activationScripts.held = "echo here > /var/here; read line < /var/go";')
    for host, kind in KINDS.items():
        deploy = kinds.begin(host)
        kinds.on([host], "cat /var/here; kill -9 $(sed -n 2p /run/nixhive/holder)")
        if kind == "light":  # what it had started goes on there, and is followed to its end
            kinds.on([host], "echo go > /var/go")
        said = deploy.communicate(timeout=30)[1]
        assert deploy.returncode == 1
        line = seen(said, host)
        assert "failed at activate: the activation's own process was killed" in line
        assert "mixture" in line
        saw("the activation's own process is killed (-9) in the middle of a switch", line, kind)
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "mixture")
    kinds.unchange()
    ended = kinds.deploy(*HOSTS[:2])
    assert ended.returncode == 0, ended.stderr
    kinds.lab.reboot_host("www-3")
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "in sync")


# In the place of what starts the worker: it begins when it is told to, and tells of its end.
LATE = """
mkdir -p /run/wrappers/bin; mkfifo /var/here /var/go
for program in setsid systemd-run; do
  starts="/usr/bin/$program --wait "'"$@"'
  echo "#!/bin/sh
(read -r _ </var/go; $starts; echo over >/var/here) >/dev/null 2>&1 &" >"/run/wrappers/bin/$program"
done
chmod 755 /run/wrappers/bin/*
"""


def test_a_worker_that_starts_too_late_changes_nothing_any_more(kinds):
    """A5."""
    kinds.change()
    before = kinds.boots()
    kinds.on(HOSTS, LATE)
    try:
        ended = kinds.deploy("--no", "confirm", "www-*")
        assert ended.returncode == 1
        kinds.on(HOSTS, "echo go >/var/go; cat /var/here")
    finally:
        kinds.on(HOSTS, "rm -f /run/wrappers/bin/setsid /run/wrappers/bin/systemd-run")
    assert kinds.boots() == before
    assert kinds.on(HOSTS, "find /run/nixhive -mindepth 1 -type d") == [""] * 3
    told(
        ended.stderr,
        "the activation's own process starts more than 20 s late, with --no confirm",
        "the activation's own process did not start. Nothing was changed.",
    )


def test_an_activation_that_cannot_be_read_along_is_told_at_its_end(kinds):
    """A5: without `tail`."""
    kinds.change()
    kinds.on(REAL, "mv /usr/bin/tail /usr/bin/tail.away")
    try:
        ended = kinds.deploy("--no", "confirm", "@(www-2 or www-3)")
    finally:
        kinds.on(REAL, "mv /usr/bin/tail.away /usr/bin/tail")
    assert ended.returncode == 0, ended.stderr
    told(ended.stderr, "a host without `tail`, with --no confirm", hosts=REAL)
