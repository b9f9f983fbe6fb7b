"""Wherever `ssh -o BatchMode=yes` gets in, every word does: one host for each row of a matrix, on real sshd."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.fleet.faults import line_of, saw
from tests.fleet.matrix import FACTORS, ROWS, SHELLS, matrix, named
from tests.fleet.pairs import all_pairs, pairs_of

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

NUMBERED = {f"row-{number}": row for number, row in enumerate(ROWS, 1)}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """All hosts, each as its row says."""
    if missing := [program for program in (*SHELLS.values(), "doas") if shutil.which(program) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with matrix(tmp_path_factory.mktemp("matrix")) as one:
        yield one


@pytest.fixture(scope="module")
def reached(fleet):
    """What OpenSSH says of each host: empty where it gets in."""
    return fleet.by_ssh()


@pytest.fixture(scope="module")
def said(fleet):
    """Say each word once, to all hosts; give what is said of each, by word."""
    ran = fleet.nix_hive("run", "--json", "@(rows)", "printf 'is %s' in")
    deployed = fleet.nix_hive("deploy", "@(rows)")
    asked = fleet.nix_hive("status", "--json", "@(rows)")
    rebooted = fleet.nix_hive("reboot", "@(rows)")
    after = fleet.nix_hive("status", "--json", "@(rows)")
    return {
        "run": {row["instance"]: row for row in json.loads(ran.stdout)},
        "deploy": deployed.stderr,
        "status": {row["instance"]: row for row in json.loads(asked.stdout)},
        "reboot": rebooted.stderr,
        "after": {row["instance"]: row for row in json.loads(after.stdout)},
    }


def test_each_value_meets_each_other():
    met = set().union(*map(pairs_of, ROWS))
    assert met == all_pairs(FACTORS)


@pytest.mark.parametrize("host", NUMBERED, ids=lambda host: named(NUMBERED[host]).replace(" ", "-"))
def test_a_host_that_ssh_reaches_is_reached_by_every_word(host, reached, said):
    assert reached[host] == "", "OpenSSH itself does not get in"
    ran, asked, after = said["run"][host], said["status"][host], said["after"][host]
    assert "is in" in ran["stdout"], ran
    deployed, rebooted = line_of(said["deploy"], host), line_of(said["reboot"], host)
    assert deployed == f"{host}: ✓ done", deployed
    assert asked["state"] == "in sync", asked
    assert rebooted == f"{host}: ✓ done", rebooted
    assert after["state"] == "in sync", after
    saw(f"ssh: {named(NUMBERED[host])}", "run, deploy, status and reboot are done")
