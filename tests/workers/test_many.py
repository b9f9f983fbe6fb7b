"""Hundreds of instances over two real workers and a real scheduler: each is asked, deployed to and confirmed."""

from __future__ import annotations

import contextlib

import pytest

from benchmarks.afar import Processes, operate, written
from nixhive_nb.workers.cluster import cluster_at

pytest.importorskip("distributed")
pytestmark = [pytest.mark.nix, pytest.mark.slow]

COUNT = 300


def test_a_deploy_by_two_workers_ends_with_each_instance_done_and_another_one_changes_nothing(tmp_path):
    deployment = written(tmp_path, COUNT)
    with contextlib.closing(Processes(2)) as processes:
        found = operate(deployment, COUNT, processes.address, COUNT)
        again = operate(deployment, COUNT, processes.address, COUNT, outcome="unchanged")
        cluster_at(processes.address).close()
        figures = processes.figures()
    # Each instance: started, a line of the fetch, some of the activation, ended; of the second deploy, one step.
    assert found["events"] > 10 * COUNT > again["events"]
    assert all(figures[name] > 0 for name in ("scheduler", "worker", "others"))
