"""Every word, said to hosts that are each reached in another way, and what has to come of it."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet.faults import line_of, saw
from tests.fleet.matrix import BEYOND_FABRIC, named

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


def said_by(fleet):
    """Say each word once, to all hosts; give what is said of each, by word, and what OpenSSH itself says before."""
    config = fleet.configuration()
    with ThreadPoolExecutor(1) as pool:
        reached = pool.submit(fleet.by_ssh, config)
        ran = fleet.nix_hive("run", "--json", "@(rows)", "printf 'is %s' in")
        deployed = fleet.given("deploy", "@(rows)")
        reached.result()  # before they are rebooted
    rebooted = fleet.given("reboot", "@(rows)")
    asked = fleet.nix_hive("status", "--json", "@(rows)")
    return {
        "ssh": reached.result(),
        "run": {row["instance"]: row for row in json.loads(ran.stdout)},
        "deploy": deployed.stderr,
        "reboot": rebooted.stderr,
        "status": {row["instance"]: row for row in json.loads(asked.stdout)},
    }


def holds(said, host, row, kind):
    assert said["ssh"][host] == "", "OpenSSH itself does not get in"
    ran, asked = said["run"][host], said["status"][host]
    assert "is in" in ran["stdout"], ran
    deployed, rebooted = line_of(said["deploy"], host), line_of(said["reboot"], host)
    assert deployed == f"{host}: ✓ done", deployed
    assert rebooted == f"{host}: ✓ done", rebooted
    assert asked["state"] == "in sync", asked
    saw(f"ssh: {named(row)}", "run, deploy, reboot and status are done", kind)
