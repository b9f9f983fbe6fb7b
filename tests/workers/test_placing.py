"""Which worker is near an instance."""

from __future__ import annotations

from nixhive_nb.deployment.inventory import Check, Instance, Inventory
from nixhive_nb.plan.step import Step
from nixhive_nb.plan.subtrees import Subtree
from nixhive_nb.workers.placing import NearestPlaces, Placed, chosen, part_of, placed

INVENTORY = Inventory(
    source="hive.nix",
    instances={
        "leaf": Instance(
            name="leaf", system="s", store="ssh://user@mid", tags=("west",), jumps=("gate",), elevate=("sudo",),
            checks=(Check(name="c", kind="http", url="http://u:secret@h/"),),
        ),
        "mid": Instance(name="mid", system="s", store="ssh://top"),
        "top": Instance(name="top", system="s"),
        "gate": Instance(name="gate", system="s"),
        "far": Instance(name="far", system="s", store="https://u:secret@cache"),
    },
)  # fmt: skip


def test_the_nearest_is_the_instance_itself_then_its_relays_up_the_tree_then_its_tags():
    assert NearestPlaces(INVENTORY).of("leaf") == ("leaf", "mid", "top", "west")
    assert NearestPlaces(INVENTORY).of("far") == ("far",)
    assert NearestPlaces(INVENTORY).of("elsewhere") == ()


def test_a_worker_is_told_of_its_hosts_and_those_on_the_way_and_of_no_secret():
    part = part_of(INVENTORY, ["leaf", "far"])
    assert set(part.instances) == {"leaf", "gate", "far"}
    assert part.instances["leaf"] == Instance(name="leaf", system="s", jumps=("gate",))
    assert not part.instances["far"].store


def test_it_is_told_who_carries_how_much_of_a_plan_and_to_which_hosts():
    step = Step(id="fetch:a", kind="fetch", instance="a")

    def told(place, hosts, steps, worker=""):
        return Placed(Subtree(place=place, hosts=tuple(hosts), steps=(step,) * steps), worker).text

    assert told("east", "abcd", 9, "east") == "worker east: 9 steps on a, b, c and 1 more"
    assert told("", "a", 1) == "this machine: 1 step on a"
    assert "\x1b" not in told("east", "a", 1, "east\x1b[2J")
    assert told("west", "ab", 2) == "no worker that is near west is there now: 2 steps on a, b"


def test_a_subtree_is_placed_whole_and_a_host_with_all_of_its_steps_on_one_worker():
    hosts = tuple(f"h{number}" for number in range(20))
    steps = tuple(
        Step(id=f"{kind}:{host}", kind=kind, instance=host) for kind in ("fetch", "activate") for host in hosts
    )
    subtree = Subtree(place="east", hosts=hosts, steps=steps)
    assert placed(subtree, ["a"]) == (Placed(subtree, "a"),)
    assert placed(subtree, []) == (Placed(subtree, ""),)
    both = placed(subtree, ["a", "b"])
    assert [one.worker for one in both] == ["a", "b"]
    for one in both:
        assert {chosen(host, ["a", "b"]) for host in one.subtree.hosts} == {one.worker}
        assert one.subtree.steps == tuple(step for step in steps if step.instance in one.subtree.hosts)
    assert sorted(step.id for one in both for step in one.subtree.steps) == sorted(step.id for step in steps)


def test_an_instance_keeps_its_worker_while_that_is_there():
    workers = ["a", "b", "c"]
    names = [f"host-{number}" for number in range(300)]
    before = {name: chosen(name, workers) for name in names}
    assert set(before.values()) == set(workers)
    assert all(chosen(name, ["a", "c"]) == worker for name, worker in before.items() if worker != "b")
