"""What of a plan is done near which place."""

from __future__ import annotations

from nixhive_nb.plan.step import Step
from nixhive_nb.plan.subtrees import Subtree, subtrees

PLACES = {"relay": "relay", "leaf": "relay", "other": "west"}
BUILD = Step(id="build", kind="build", systems=("s",))
PUSH = Step(id="push:s>ssh://relay", kind="push", systems=("s",), store="ssh://relay")
CACHE = Step(id="push:s>s3://cache", kind="push", systems=("s",), store="s3://cache")
FETCH, ACTIVATE, FAR, HERE = (
    Step(id=f"{kind}:{name}", kind=kind, instance=name)
    for kind, name in (("fetch", "leaf"), ("activate", "leaf"), ("fetch", "other"), ("fetch", "alone"))
)
GATE = Step(id="gate:1", kind="gate")


def found(*steps):
    return subtrees(steps, lambda name: PLACES.get(name, ""))


def test_the_push_to_a_relay_and_the_steps_of_its_hosts_belong_together_in_their_order():
    assert found(BUILD, HERE, FAR, PUSH, FETCH, ACTIVATE, GATE) == (
        Subtree(place="relay", hosts=("relay", "leaf"), steps=(PUSH, FETCH, ACTIVATE)),
        Subtree(place="west", hosts=("other",), steps=(FAR,)),
        Subtree(place="", hosts=("alone",), steps=(HERE,)),
    )


def test_what_goes_to_no_host_is_in_none():
    assert found(BUILD, CACHE, GATE) == ()
