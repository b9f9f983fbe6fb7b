"""A plan holds each step once, and only the edges that are truly needed."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from nixhive_nb.deployment import inventory as inventories
from nixhive_nb.deployment import ways
from nixhive_nb.deployment.stores import store_host
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.errors import OptionError
from nixhive_nb.plan import plan as plans
from nixhive_nb.plan.facts import HostFacts, Seen, Wanted
from nixhive_nb.plan.plan import Options, Plan, Survey
from nixhive_nb.plan.planner import Goal, plan_build, plan_reboot, plan_rollback, plan_transfer
from tests.counting import counted
from tests.plan.fleets import CHECK, by_id, deploy, instance, inventory, waits_for

EXAMPLE = inventory(
    instance("portico", "portico"),
    *[instance(f"www-{number}", "www", store="ssh://portico", jump="portico") for number in (1, 2, 3)],
)


def test_a_system_is_built_signed_and_pushed_once_however_many_run_it():
    names = [step.id for step in deploy(EXAMPLE, "portico", "*").steps]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith(("register:", "sign:", "push:"))] == [
        "register:portico",
        "register:www",
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
    assert [step.systems for step in plan.steps if step.kind == "build"] == [("a", "b", "c")]


def test_a_known_result_is_neither_evaluated_nor_built():
    plan = plan_build(EXAMPLE, ["portico", "www"], Options(), {"www": "/nix/store/x-www"})
    steps = by_id(plan)
    assert steps["register:www"].path == "/nix/store/x-www"
    assert steps["build"].systems == ("portico",)
    assert steps["register:www"].after == ()


def test_instantiating_alone_realises_nothing():
    assert "build" not in by_id(plan_build(EXAMPLE, ["www"], Options(realise=False)))


def test_without_a_key_nothing_is_signed_and_the_cost_is_told_once():
    inv = msgspec.structs.replace(EXAMPLE, signing_key=None)
    plan = deploy(inv, "*")
    assert not [step for step in plan.steps if step.kind == "sign"]
    assert len(plan.warnings) == 1
    assert "(3 of them)" in plan.warnings[0]


def test_without_relays_a_missing_key_is_no_matter():
    assert deploy(inventory(instance("a", "s"), key=None), "*").warnings == ()


def test_a_push_activates_nothing():
    plan = plan_transfer(EXAMPLE, select_instances(EXAMPLE, ["*"]), "push", Options())
    assert {step.kind for step in plan.steps} == {"instantiate", "build", "register", "sign", "push", "fetch"}


def test_copies_count_against_their_relay_and_every_login_against_the_jump_hosts():
    steps = by_id(deploy(EXAMPLE, "*"))
    assert set(steps["fetch:www-1"].locks) == {"all", "jump:portico", "store:ssh://www-1", "relay:ssh://portico"}
    assert set(steps["activate:www-1"].locks) == {"all", "jump:portico"}
    assert set(steps["push:www>ssh://portico"].locks) == {"all", "store:ssh://portico"}
    assert set(steps["fetch:portico"].locks) == {"all", "store:ssh://portico"}


FACTS = HostFacts(current="/nix/store/old", profile="/nix/store/old")
SURVEY = Survey(
    wanted=(
        Wanted(system="portico", path="/nix/store/p", derivation="/nix/store/p.drv"),
        Wanted(system="www", error="undefined variable"),
    ),
    seen=(Seen(instance="portico", facts=FACTS), Seen(instance="www-1", error="no route")),
)


class TestWithASurvey:
    def test_nothing_is_evaluated_again_and_what_cannot_be_is_not_realised(self):
        plan = deploy(EXAMPLE, "*", survey=SURVEY)
        steps = by_id(plan)
        assert not [step for step in plan.steps if step.kind == "instantiate"]
        assert steps["build"].systems == ("portico",)
        assert steps["register:www"].after == ()
        assert (plan.wanted, plan.seen) == (SURVEY.wanted, SURVEY.seen)

    def test_where_nothing_can_be_built_nothing_is_realised(self):
        assert "build" not in by_id(deploy(EXAMPLE, "www", survey=SURVEY))

    def test_a_host_that_did_not_answer_keeps_its_steps(self):
        assert {"fetch:www-1", "activate:www-1"} <= set(by_id(deploy(EXAMPLE, "*", survey=SURVEY)))

    def test_what_a_survey_has_beside_the_targets_is_not_in_the_plan(self):
        plan = deploy(EXAMPLE, "portico", survey=SURVEY)
        assert [one.system for one in plan.wanted] == ["portico"]
        assert [one.instance for one in plan.seen] == ["portico"]

    def test_a_system_that_it_lacks_is_evaluated(self):
        half = msgspec.structs.replace(SURVEY, wanted=SURVEY.wanted[:1])
        assert "instantiate:www" in by_id(deploy(EXAMPLE, "*", survey=half))

    def test_a_build_takes_it_too(self):
        plan = plan_build(EXAMPLE, ["portico"], Options(), survey=SURVEY)
        assert [step.id for step in plan.steps] == ["build", "register:portico"]


def test_what_is_left_out_has_no_steps_and_its_relay_gets_nothing():
    plan = deploy(EXAMPLE, "portico", "*", leave_out=("www-1", "www-2", "www-3"))
    assert [target.instance for target in plan.targets] == ["portico"]
    assert {step.id for step in plan.steps if step.kind in ("push", "fetch", "activate")} == {
        "fetch:portico",
        "activate:portico",
    }
    one = deploy(EXAMPLE, "portico", "*", leave_out=("portico", "www-1"))
    assert [(target.instance, target.wave) for target in one.targets] == [("www-2", 2), ("www-3", 2)]
    assert "push:www>ssh://portico" in by_id(one)


class TestReboots:
    def test_a_host_is_rebooted_after_its_activation_and_after_all_copies_that_need_it(self):
        steps = by_id(deploy(EXAMPLE, "*", reboot="if needed"))
        assert steps["reboot:portico"].needs == ("activate:portico",)
        fetches = {"fetch:www-1", "fetch:www-2", "fetch:www-3"}
        assert set(steps["reboot:portico"].after) == {*fetches, "push:www>ssh://portico"}
        assert steps["activate:www-1"].after == ("reboot:portico",)

    @pytest.mark.parametrize("kind", ["test", "dry-activate"])
    def test_what_does_not_last_is_not_rebooted_into(self, kind):
        with pytest.raises(OptionError, match="--reboot goes with switch and boot"):
            deploy(EXAMPLE, "*", reboot="always", type=kind)

    def test_alone_only_those_that_are_jumped_through_go_first(self):
        inv = inventory(
            instance("cache", "s"), instance("door", "s"), instance("a", "s", store="ssh://cache", jump="door")
        )
        plan = plan_reboot(inv, select_instances(inv, ["*"]), Options(pause=5), Survey())
        steps = by_id(plan)
        assert steps["reboot:a"].after == ("reboot:door",)
        assert "reboot:cache" not in waits_for(plan, "reboot:a")
        assert {step.kind for step in plan.steps} == {"reboot", "gate"}
        assert (plan.verb, plan.systems) == ("reboot", ())


GOALS = {name: Goal(f"/nix/store/{name}-old", 7) for name in ("portico", "www-1", "www-2")}


class TestRollback:
    def test_each_instance_goes_to_its_goal_in_waves(self):
        targets = select_instances(EXAMPLE, ["portico", "*"])
        plan = plan_rollback(EXAMPLE, targets, Options(batch="1"), GOALS, SURVEY)
        steps = by_id(plan)
        assert (steps["activate:www-1"].path, steps["activate:www-1"].generation) == ("/nix/store/www-1-old", 7)
        assert {step.kind for step in plan.steps} == {"activate", "gate"}
        assert "activate:portico" in waits_for(plan, "activate:www-1")
        assert "activate:www-1" in waits_for(plan, "activate:www-2")

    def test_one_without_a_goal_is_left_out_and_named(self):
        targets = select_instances(EXAMPLE, ["*"])
        plan = plan_rollback(EXAMPLE, targets, Options(), {"portico": Goal("/nix/store/x", 3)}, SURVEY)
        assert [target.instance for target in plan.targets] == ["portico"]
        assert "www-1 is left out: no route" in plan.warnings
        assert "www-2 is left out: no generation to go back to is known" in plan.warnings

    def test_checks_and_reboots_are_as_in_a_deploy(self):
        inv = inventory(instance("a", "s", checks=(CHECK,)), instance("b", "s"))
        goals = {name: Goal("/nix/store/x", 1) for name in "ab"}
        plan = plan_rollback(inv, select_instances(inv, ["a", "b"]), Options(reboot="always"), goals, Survey())
        steps = by_id(plan)
        assert steps["check:a"].needs == ("reboot:a",)
        assert steps["reboot:a"].path == "/nix/store/x"


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
    assert instance("x", "s", jump=value).hops == hosts


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


def test_the_way_to_an_instance_is_looked_up_once_and_one_that_many_share_is_read_once(monkeypatch):
    options = counted(monkeypatch, inventories, "own_jumps")
    read = counted(monkeypatch, ways, "read_hops")
    ways._hosts_of.cache_clear()
    relays = [instance(f"relay-{number}", jump="edge") for number in range(3)]
    hosts = [
        instance(f"www-{number}", store=f"ssh://relay-{number % 3}", jump=f"relay-{number % 3}") for number in range(50)
    ]
    store_host.cache_clear()
    fleet = inventory(*relays, *hosts)
    for reboot in ("never", "always"):
        assert len(deploy(fleet, "*", reboot=reboot, batch="10", canary=1).targets) == 53
    assert len(options) == 53
    assert sorted(read) == [("edge",), ("relay-0",), ("relay-1",), ("relay-2",)]
    assert store_host.cache_info().misses == 4  # three relays, and no store at all


def test_instances_behind_the_same_hosts_share_what_is_said_of_them():
    first, second = (step for step in deploy(EXAMPLE, "www-1", "www-2").steps if step.kind == "activate")
    assert first.locks is second.locks
    terms = deploy(EXAMPLE, "*").terms.hosts
    assert terms["www-1"]["store"] is terms["www-2"]["store"]


def test_a_plan_is_hashed_once_and_what_was_seen_of_a_host_is_looked_up(monkeypatch):
    seen = tuple(Seen(instance=name, error=error) for name, error in (("www-1", "a"), ("www-2", "b"), ("www-1", "c")))
    plan = deploy(EXAMPLE, "*", survey=Survey(seen=seen))
    hashed = counted(monkeypatch, plans, "digest_of")
    text = str(plan)
    assert plan.digest in text
    assert plan.digest in repr(plan)
    assert len(hashed) == 1
    assert [plan.seen_of(name) for name in ("www-1", "www-2", "portico")] == [*seen[:2], None]
    assert plan._seen_by_name is plan._seen_by_name
    assert plan == pickle.loads(pickle.dumps(plan))
