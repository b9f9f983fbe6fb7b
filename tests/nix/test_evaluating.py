"""Evaluating many nodes: one that fails does so alone, and is found in halves."""

from __future__ import annotations

import pytest

from nixhive_nb import Hive
from nixhive_nb.errors import RunFailed
from nixhive_nb.plan.building import NODES_A_PROCESS
from nixhive_nb.run.limits import Limits, able_evaluations
from nixhive_nb.util import process
from tests.counting import counted
from tests.deployment.sources.test_morph import network

pytestmark = pytest.mark.nix


def test_one_broken_node_fails_alone_and_is_found_in_halves(tmp_path, monkeypatch):
    names = [f"node-{number:02}" for number in range(2 * NODES_A_PROCESS)]
    broken = names[5]
    machines = "".join(
        f'{name} = {{ networking.hostName = {"throw" if name == broken else ""} "x"; }};' for name in names
    )
    network(tmp_path, machines)
    monkeypatch.chdir(tmp_path)
    with Hive.load("network.nix") as hive:
        started = counted(monkeypatch, process, "stream")
        with pytest.raises(RunFailed) as failed:
            hive.build("*", no=["realise"])
    outcomes = {one.system: one.outcome for one in failed.value.report.systems()}
    assert outcomes == {name: "failed" if name == broken else "done" for name in names}
    evaluations = [argv for (argv, *_) in started if argv[0] == "nix-instantiate"]
    assert len(evaluations) == 2 + 2 * 3  # eight, then four and four, two and two, one and one


def test_as_many_are_evaluated_at_once_as_the_machine_bears_unless_a_number_is_given():
    assert Limits().of("evaluate") == able_evaluations() >= 1
    assert Limits(evaluations=5).of("evaluate") == 5
