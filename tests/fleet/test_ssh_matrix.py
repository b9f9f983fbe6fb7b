"""Wherever `ssh -o BatchMode=yes` gets in, every word does: one host for each row of a matrix, on real sshd."""

from __future__ import annotations

import importlib.util
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet.faults import line_of, saw
from tests.fleet.matrix import BEYOND_FABRIC, FACTORS, REAL_KINDS, REAL_ROWS, ROWS, SHELLS, matrix, named
from tests.fleet.pairs import all_pairs, pairs_of

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]

HAS_OPENSSH = importlib.util.find_spec("nixhive_nb.ssh.openssh") is not None
"""Whether something carries what Fabric cannot."""


def rows_of(rows, *kinds):
    """Return the rows as parameters: the host, its row, and its kind."""
    numbered = enumerate(rows, 1)
    kinds = kinds or ["light"] * len(rows)
    return [
        pytest.param(
            f"row-{number}",
            row,
            kind,
            id=named(row).replace(" ", "-"),
            marks=pytest.mark.skipif(
                row["sshd"] in BEYOND_FABRIC and not HAS_OPENSSH, reason="Fabric has no such algorithm"
            ),
        )
        for (number, row), kind in zip(numbered, kinds, strict=True)
    ]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """All light hosts, each as its row says."""
    if missing := [program for program in (*SHELLS.values(), "doas") if shutil.which(program) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with matrix(tmp_path_factory.mktemp("matrix")) as one:
        yield one


@pytest.fixture(scope="module")
def real_fleet(tmp_path_factory, systemd_hosts):
    """A few hosts with systemd."""
    with matrix(tmp_path_factory.mktemp("matrix"), REAL_ROWS, REAL_KINDS) as one:
        yield one


def said_by(fleet):
    """Say each word once, to all hosts; give what is said of each, by word, and what OpenSSH itself says before."""
    config = fleet.configuration()
    with ThreadPoolExecutor(1) as pool:
        reached = pool.submit(fleet.by_ssh, config)
        ran = fleet.nix_hive("run", "--json", "@(rows)", "printf 'is %s' in")
        deployed = fleet.nix_hive("deploy", "@(rows)")
        reached.result()  # before they are rebooted
    rebooted = fleet.nix_hive("reboot", "@(rows)")
    asked = fleet.nix_hive("status", "--json", "@(rows)")
    return {
        "ssh": reached.result(),
        "run": {row["instance"]: row for row in json.loads(ran.stdout)},
        "deploy": deployed.stderr,
        "reboot": rebooted.stderr,
        "status": {row["instance"]: row for row in json.loads(asked.stdout)},
    }


@pytest.fixture(scope="module")
def said(fleet):
    return said_by(fleet)


@pytest.fixture(scope="module")
def said_by_real(real_fleet):
    return said_by(real_fleet)


def holds(said, host, row, kind):
    assert said["ssh"][host] == "", "OpenSSH itself does not get in"
    ran, asked = said["run"][host], said["status"][host]
    assert "is in" in ran["stdout"], ran
    deployed, rebooted = line_of(said["deploy"], host), line_of(said["reboot"], host)
    assert deployed == f"{host}: ✓ done", deployed
    assert rebooted == f"{host}: ✓ done", rebooted
    assert asked["state"] == "in sync", asked
    saw(f"ssh: {named(row)}", "run, deploy, reboot and status are done", kind)


def test_each_value_meets_each_other():
    met = set().union(*map(pairs_of, ROWS))
    assert met == all_pairs(FACTORS)


@pytest.mark.parametrize(("host", "row", "kind"), rows_of(ROWS))
def test_a_host_that_ssh_reaches_is_reached_by_every_word(host, row, kind, said):
    holds(said, host, row, kind)


@pytest.mark.parametrize(("host", "row", "kind"), rows_of(REAL_ROWS, *REAL_KINDS))
def test_a_host_with_systemd_is_reached_as_well(host, row, kind, said_by_real):
    holds(said_by_real, host, row, kind)
