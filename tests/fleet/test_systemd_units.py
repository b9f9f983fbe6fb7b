"""Units of a real systemd that an activation stops, starts and waits for, and what is said of those that fail."""

from __future__ import annotations

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import line_of, saw
from tests.fleet.own_systems import BOOKWORM, TRIXIE, own_systems

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("systemd_hosts")]

BROKEN = 'systemd.services.broken = { wantedBy = [ "multi-user.target" ]; script = "exit 1"; };'
SICK = BROKEN.replace("broken", "sick")
SILENT = """
  systemd.services.silent = {
    wantedBy = [ "multi-user.target" ];
    serviceConfig = { Type = "notify"; TimeoutStartSec = 2; ExecStart = "/bin/sleep 1000"; };
  };
"""
CHANGES = {
    "changed": "",
    "failing": BROKEN,
    "checked": BROKEN,
    "recovered": "",
    "sickly": f'{SICK} environment.etc.news.text = "";',
    "hanging": "",
    "waiting": SILENT,
    "refusing": 'system.activationScripts.broken = "exit 1";',
    "newer": BROKEN.replace("broken", "lost"),
}
HOSTS = dict.fromkeys(CHANGES) | {"newer": HostSpec("newer", "www", user="deploy", init="systemd", debian="trixie")}


def unit(name, options=""):
    """Return a unit that notes on its host what is done with it, and is another one on the host `changed`."""
    notes = "".join(
        f"{word} = \"/bin/sh -c 'echo {name} {what} >>/var/units'\"; "
        for word, what in (("ExecStart", "started"), ("ExecReload", "reloaded"), ("ExecStop", "stopped"))
    )
    return f"""
      systemd.services.{name} = {{
        wantedBy = [ "multi-user.target" ];
        description = if own == "changed" then "another" else "one";
        serviceConfig = {{ Type = "oneshot"; RemainAfterExit = true; {notes} }};
        {options}
      }};
    """


BASE = f"""
  {unit("usual")}
  {unit("steady", "stopIfChanged = false;")}
  {unit("gentle", "reloadIfChanged = true;")}
  systemd.services.stubborn = {{
    wantedBy = [ "multi-user.target" ];
    description = if own == "hanging" then "another" else "one";
    serviceConfig = {{
      ExecStart = "/bin/sh -c 'trap : TERM; while :; do sleep 1000 & wait; done'";
      TimeoutStopSec = 2;
    }};
  }};
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Hosts that nothing was deployed to."""
    with own_systems(tmp_path_factory.mktemp("fleet"), HOSTS, base=BASE) as own:
        yield own


@pytest.fixture(scope="module")
def first(fleet):
    """Return how the first deploy ended."""
    ended = fleet.deploy()
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


@pytest.fixture(scope="module")
def again(fleet, first):
    """Return how the same deploy ended another time."""
    del first
    return fleet.deploy().stderr


@pytest.fixture(scope="module")
def before(fleet, again):
    """Have some units failed, and give how all hosts stand before they are changed."""
    del again
    fleet.write({"sickly": SICK})
    assert "sick.service" in fleet.deploy("sickly").stderr
    fleet.sh("recovered", "systemd-run --quiet --unit=transient --wait false || rm -f /var/units")
    fleet.sh("changed", "rm /var/units")
    return {host: fleet.stands(host) for host in HOSTS}


@pytest.fixture(scope="module")
def said(fleet, before):
    """Change all hosts at once, and give what was said of that."""
    del before
    fleet.write(
        CHANGES, checks=dict.fromkeys(("checked", "sickly", "recovered"), "units = { units = true; timeout = 1; };")
    )
    return fleet.deploy().stderr


def test_a_first_deploy(first):
    """B: first deploy."""
    for host, kind in (("changed", BOOKWORM), ("newer", TRIXIE)):
        saw("a first deploy", line_of(first, host), host=kind)


def test_the_same_again_changes_nothing(again):
    """B: same again."""
    for host, kind in (("changed", BOOKWORM), ("newer", TRIXIE)):
        saw("the same deploy again", line_of(again, host), host=kind)


def test_changed_units_are_stopped_restarted_and_reloaded_as_they_want(fleet, said):
    """B: changed unit."""
    line = line_of(said, "changed")
    assert "✓ done" in line
    assert fleet.sh("changed", "cat /var/units").splitlines() == [
        "usual stopped",
        "gentle reloaded",
        "steady stopped",
        "steady started",
        "usual started",
    ]
    saw("changed units: one is stopped and started, one restarted, one reloaded", line, host=BOOKWORM)


@pytest.mark.parametrize(("host", "kind"), [("failing", BOOKWORM), ("newer", TRIXIE)])
def test_a_unit_that_fails_is_named_and_the_host_goes_on(fleet, before, said, host, kind):
    """B: unit fails to start (4)."""
    runs, boots, loads = fleet.stands(host)
    assert runs == boots == loads != before[host][0]
    saw("a unit fails to start", line_of(said, host), host=kind)


def test_a_unit_that_fails_is_a_reason_to_go_back_where_units_are_checked(fleet, before, said):
    """B: with `units` check."""
    assert fleet.stands("checked") == before["checked"]
    saw("a unit fails to start, and failed units are checked for", line_of(said, "checked"), host=BOOKWORM)


def test_a_unit_that_had_failed_by_itself_is_forgotten_by_a_switch(fleet, before, said):
    """B: unit failed before the deploy, transient."""
    runs, boots, loads = fleet.stands("recovered")
    assert runs == boots == loads != before["recovered"][0]
    saw(
        "a transient unit had failed before, and failed units are checked for",
        line_of(said, "recovered"),
        host=BOOKWORM,
    )


def test_a_unit_of_the_system_that_had_failed_and_fails_again_is_named(fleet, before, said):
    """B: unit failed before the deploy, of the system and still broken."""
    assert fleet.stands("sickly") == before["sickly"]
    saw(
        "a unit had failed before and fails again, and failed units are checked for",
        line_of(said, "sickly"),
        host=BOOKWORM,
    )


def test_a_unit_that_hangs_on_stop_is_waited_for(fleet, said):
    """B: hangs on stop."""
    assert "stubborn.service: State 'stop-sigterm' timed out" in fleet.sh("hanging", "journalctl -b --no-pager")
    saw("a unit hangs on stop (TimeoutStopSec=2)", line_of(said, "hanging"), host=BOOKWORM)


def test_a_unit_that_never_gets_ready_fails_by_its_own_timeout(fleet, before, said):
    """B: Type=notify that never gets ready."""
    assert fleet.stands("waiting")[0] != before["waiting"][0]
    saw("a unit never gets ready (Type=notify, TimeoutStartSec=2)", line_of(said, "waiting"), host=BOOKWORM)


def test_an_activation_script_that_fails_goes_back(fleet, before, said):
    """B: activation script fails (2)."""
    assert fleet.stands("refusing") == before["refusing"]
    saw("an activation script fails", line_of(said, "refusing"), host=BOOKWORM)
