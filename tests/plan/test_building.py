"""The steps that make systems: which are evaluated together."""

from __future__ import annotations

import pytest

from nixhive_nb.deployment.inventory import Inventory, System
from nixhive_nb.plan.building import NODES_A_PROCESS, instantiate_steps

NAMES = [f"node-{number:03}" for number in range(300)]


def groups(format_: str, paths=lambda _: ()):
    systems = {name: System(name=name, platform="", paths=paths(name)) for name in NAMES}
    return [step.systems for step in instantiate_steps(Inventory(source="x", systems=systems, format=format_), NAMES)]


def test_systems_of_ours_that_share_their_include_paths_are_evaluated_by_one_process():
    assert groups("hive") == [tuple(NAMES)]
    assert [len(group) for group in groups("hive", lambda name: ("a=/a",) if name < "node-100" else ())] == [200, 100]


@pytest.mark.parametrize("format_", ["flake", "colmena", "deploy-rs", "morph"])
def test_nodes_of_other_formats_are_evaluated_in_small_groups_the_same_on_each_machine(format_):
    found = groups(format_)
    assert [name for group in found for name in group] == NAMES
    assert {len(group) for group in found[:-1]} == {NODES_A_PROCESS}
    assert found == groups(format_)
