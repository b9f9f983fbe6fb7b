"""A plan holds each step once, and only the edges that are truly needed."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.plan import Options, Plan
from nixhive_nb.plan.planner import jump_hosts, plan_build, plan_transfer, store_host


def instance(name, system, *, store="", jump=None, tags=()):
    ssh = (("ProxyJump", (jump,)),) if jump else ()
    return Instance(name=name, system=system, store=store, ssh=ssh, tags=tags)


def inventory(*instances, key="/keys/secret", paths=None):
    names = dict.fromkeys(one.system for one in instances)
    systems = {
        name: System(name=name, platform="x86_64-linux", paths=(paths or {}).get(name, ())) for name in sorted(names)
    }
    return Inventory(
        source="hive.nix",
        systems=systems,
        instances={one.name: one for one in sorted(instances, key=lambda one: one.name)},
        signing_key=key,
    )


EXAMPLE = inventory(
    instance("portico", "portico"),
    *[instance(f"www-{number}", "www", store="ssh://portico", jump="portico") for number in (1, 2, 3)],
)


def deploy(inv, *patterns, **options):
    return plan_transfer(inv, select_instances(inv, patterns), "deploy", Options(**options))


def by_id(plan):
    return {step.id: step for step in plan.steps}


def waits_for(plan, name):
    """All that a step waits for, directly or not."""
    steps, found, todo = by_id(plan), set(), [name]
    while todo:
        step = steps[todo.pop()]
        for other in (*step.needs, *step.after):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def test_a_system_is_built_signed_and_pushed_once_however_many_run_it():
    names = [step.id for step in deploy(EXAMPLE, "portico", "*").steps]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith(("build:", "sign:", "push:"))] == [
        "build:portico",
        "build:www",
        "sign:portico",
        "sign:www",
        "push:www>ssh://portico",
    ]


def test_an_instance_fetches_when_its_own_relay_has_its_system_and_waits_for_no_wave():
    plan = deploy(EXAMPLE, "portico", "*")
    assert by_id(plan)["fetch:www-1"].needs == ("sign:www", "push:www>ssh://portico")
    assert "activate:portico" not in waits_for(plan, "fetch:www-1")


def test_a_wave_is_activated_after_the_one_ahead_has_ended():
    plan = deploy(EXAMPLE, "portico", "*")
    assert "activate:portico" in waits_for(plan, "activate:www-2")
    assert "activate:www-1" not in waits_for(plan, "activate:www-2")


def test_within_a_wave_the_host_that_others_jump_through_comes_first():
    plan = deploy(EXAMPLE, "*")
    assert "activate:portico" in waits_for(plan, "activate:www-1")


def test_hosts_that_rely_on_each_other_do_not_make_a_circle():
    inv = inventory(instance("a", "s", jump="b"), instance("b", "s", store="ssh://a"))
    plan = deploy(inv, "*")
    order = [step.id for step in plan.steps]
    for step in plan.steps:
        assert all(order.index(other) < order.index(step.id) for other in (*step.needs, *step.after))


def test_every_step_stands_after_what_it_waits_for():
    inv = inventory(
        instance("z", "one"),
        instance("m", "two", store="ssh://z", jump="z"),
        instance("a", "two", store="ssh-ng://root@m:2222", jump="z,root@m:22"),
    )
    order = [step.id for step in deploy(inv, "a", "*").steps]
    for step in deploy(inv, "a", "*").steps:
        assert all(order.index(other) < order.index(step.id) for other in (*step.needs, *step.after))


def test_systems_with_the_same_include_paths_share_one_evaluation():
    instances = [instance(name, name) for name in ("a", "b", "c")]
    plan = plan_build(inventory(*instances, paths={"b": ("nixpkgs=/other",)}), ["a", "b", "c"], Options())
    assert [step.systems for step in plan.steps if step.kind == "instantiate"] == [("a", "c"), ("b",)]
    assert [step.systems for step in plan.steps if step.kind == "realise"] == [("a", "b", "c")]


def test_a_known_result_is_neither_evaluated_nor_built():
    plan = plan_build(EXAMPLE, ["portico", "www"], Options(), {"www": "/nix/store/x-www"})
    steps = by_id(plan)
    assert steps["build:www"].path == "/nix/store/x-www"
    assert steps["realise"].systems == ("portico",)
    assert steps["build:www"].after == ()


def test_instantiating_alone_realises_nothing():
    assert "realise" not in by_id(plan_build(EXAMPLE, ["www"], Options(realise=False)))


def test_without_a_key_nothing_is_signed_and_the_cost_is_told_once():
    inv = msgspec.structs.replace(EXAMPLE, signing_key=None)
    plan = deploy(inv, "*")
    assert not [step for step in plan.steps if step.kind == "sign"]
    assert len(plan.warnings) == 1
    assert "3 instances" in plan.warnings[0]


def test_without_relays_a_missing_key_is_no_matter():
    assert deploy(inventory(instance("a", "s"), key=None), "*").warnings == ()


def test_a_push_activates_nothing():
    plan = plan_transfer(EXAMPLE, select_instances(EXAMPLE, ["*"]), "push", Options())
    assert {step.kind for step in plan.steps} == {"instantiate", "realise", "build", "sign", "push", "fetch"}


def test_a_plan_survives_pickle_and_json_and_keeps_its_digest():
    plan = deploy(EXAMPLE, "portico", "*")
    assert pickle.loads(pickle.dumps(plan)) == plan
    again = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert again == plan
    assert again.digest == plan.digest
    assert deploy(EXAMPLE, "*").digest != plan.digest


def test_a_plan_shows_itself_in_a_line():
    plan = deploy(EXAMPLE, "portico", "*")
    assert repr(plan) == f"Plan({plan.digest}: deploy of hive.nix, 4 instances, {len(plan.steps)} steps)"


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("portico", ("portico",)),
        ("root@portico:2222", ("portico",)),
        ("ssh://root@portico:2222", ("portico",)),
        ("a,b", ("a", "b")),
        ("me@[fe80::1]:22", ("fe80::1",)),
        ("none", ()),
    ],
)
def test_jump_hosts(value, hosts):
    assert jump_hosts(instance("x", "s", jump=value)) == hosts


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ssh://portico", "portico"),
        ("ssh-ng://root@portico:22?compress=true", "portico"),
        ("ssh://[fe80::1]:22", "fe80::1"),
        ("file:///var/cache", ""),
        ("https://cache.example", ""),
        ("", ""),
    ],
)
def test_store_host(url, host):
    assert store_host(url) == host
