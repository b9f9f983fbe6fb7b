"""Relays of relays: a push goes down the tree, each edge once."""

from __future__ import annotations

import pytest

from nixhive_nb.plan.relays import RelayTree
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import HostModel, World
from tests.plan.fleets import by_id, deploy, instance, inventory, ran, waits_for

TOP, MIDDLE = "ssh://top", ("ssh://mid-1", "ssh://mid-2")
LEAVES = {f"www-{number}": MIDDLE[number % 2] for number in range(6)}
TREE = inventory(
    instance("top", "relay"),
    instance("mid-1", "relay", store=TOP),
    instance("mid-2", "relay", store=TOP),
    *[instance(name, "www", store=store) for name, store in LEAVES.items()],
)


def pushes(plan):
    return [step.id for step in plan.steps if step.kind == "push"]


def test_a_system_goes_over_each_edge_once_from_the_top_down():
    plan = deploy(TREE, "www-*")
    first, *rest = pushes(plan)
    assert first == "push:www>ssh://top"
    assert sorted(rest) == ["push:www>ssh://mid-1", "push:www>ssh://mid-2"]
    steps = by_id(plan)
    assert steps["push:www>ssh://mid-1"].needs == ("sign:www", "push:www>ssh://top")
    assert steps["fetch:www-0"].needs == ("sign:www", "push:www>ssh://mid-1")


def test_instances_begin_as_soon_as_their_own_relay_has_it():
    waits = waits_for(deploy(TREE, "*"), "fetch:www-0")
    assert "push:www>ssh://mid-2" not in waits
    assert not {name for name in waits if name.startswith(("fetch:", "activate:"))}


def test_who_reads_from_a_relay_counts_against_its_limit():
    steps = by_id(deploy(TREE, "www-*"))
    assert "relay:ssh://top" in steps["push:www>ssh://mid-1"].locks
    assert not [lock for lock in steps["push:www>ssh://top"].locks if lock.startswith("relay:")]


@pytest.mark.parametrize(
    ("stores", "above"),
    [
        ({"a": "", "b": "ssh://a"}, {"ssh://b": ("ssh://a",), "ssh://a": ()}),
        ({"a": "ssh://a", "b": "ssh://a"}, {"ssh://b": ("ssh://a",), "ssh://a": ()}),
        ({"a": "https://cache", "b": "ssh://a"}, {"ssh://b": ("ssh://a", "https://cache")}),
        ({"a": "ssh://b", "b": "ssh://a", "c": "ssh://a"}, {"ssh://a": (), "ssh://b": (), "ssh://c": ("ssh://a",)}),
        ({"a": "ssh://elsewhere", "b": "ssh-ng://root@a:22?x=1"}, {"ssh-ng://root@a:22?x=1": ("ssh://elsewhere",)}),
        ({"a": "ssh://b"}, {"ssh://b": (), "file:///cache": ()}),
    ],
)
def test_which_stores_stand_above_one(stores, above):
    tree = RelayTree(inventory(*[instance(name, store=store) for name, store in stores.items()]))
    assert {store: tree.above(store) for store in above} == above


def test_what_is_built_on_a_relay_passes_none_above_it():
    plan = deploy(TREE, "www-0", build_on="relay")
    assert pushes(plan) == ["push:www>ssh://mid-1"]
    plan = deploy(TREE, "www-0", build_on="ssh://top")
    assert pushes(plan) == ["push:www>ssh://top", "push:www>ssh://mid-1"]
    assert "build:www>ssh://top" in by_id(plan)["push:www>ssh://mid-1"].needs


def test_a_relay_is_rebooted_after_the_relays_below_it_have_read():
    steps = by_id(deploy(TREE, "*", reboot="always"))
    assert {"push:www>ssh://mid-1", "push:www>ssh://mid-2"} <= set(steps["reboot:top"].after)


def outcomes(broken, **options):
    """Deploy the whole tree with some hosts down: how each instance ended, and from where it got its system."""
    world = World(hosts={name: HostModel(faults=("unreachable",)) for name in broken})
    report, _ = ran(deploy(TREE, "*", **options), SimulatedFleet(world))
    return {one.instance: one.outcome for one in report.instances()}, {
        one.instance: one.result.how for one in report.steps.values() if one.kind == "fetch" and one.result
    }


def test_what_is_below_a_relay_that_failed_is_skipped_and_nothing_else():
    ended, _ = outcomes(["mid-1"])
    below = {name for name, store in LEAVES.items() if store == "ssh://mid-1"}
    assert {name for name, outcome in ended.items() if outcome == "skipped"} == below
    assert {name for name, outcome in ended.items() if outcome == "done"} == set(ended) - below - {"mid-1"}


def test_with_reroute_it_comes_from_the_relay_above():
    ended, fetched = outcomes(["mid-1"], reroute=True)
    assert {name for name, outcome in ended.items() if outcome != "done"} == {"mid-1"}
    assert {fetched[name] for name, store in LEAVES.items() if store == "ssh://mid-1"} == {"from ssh://top"}
    assert {fetched[name] for name, store in LEAVES.items() if store == "ssh://mid-2"} == {"from relay"}


def test_with_reroute_and_no_relay_above_it_comes_from_here():
    ended, fetched = outcomes(["top", "mid-1"], reroute=True)
    assert {name for name, outcome in ended.items() if outcome != "done"} == {"top", "mid-1"}
    assert fetched["www-0"] == "from here"
    assert fetched["www-1"] == "from relay"
