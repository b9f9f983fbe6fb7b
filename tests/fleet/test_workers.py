"""Workers of Dask on a practice fleet: a real scheduler and real workers, which are killed in the middle."""

from __future__ import annotations

import threading

import pytest

from tests.practice import start
from tests.sshd import eventually
from tests.workers.cluster import Cluster, make_certificates

pytest.importorskip("distributed")
pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

_HELD = 'system.activationScripts.held = "echo >>/var/here; if test -p /var/go; then read line </var/go; fi";'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=3)
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    one = Cluster(folder, make_certificates(folder / "tls"))
    one.start_worker("portico")
    one.start_worker("second", "--for", "portico")
    yield one
    one.close()


def test_a_deploy_goes_by_the_workers_and_again_changes_nothing(fleet, cluster):
    first = fleet.nix_hive("deploy", "-c", "example", *cluster.on, "--canary", "1", "--batch", "2", "portico", "*")
    assert first.returncode == 0, first.stderr
    assert all(fleet.runs(name) == fleet.boots(name) != "" for name in fleet.lab.instances)
    again = fleet.nix_hive("deploy", "-c", "example", *cluster.on, "portico", "*")
    assert again.returncode == 0, again.stderr
    assert "unchanged" in again.stderr
