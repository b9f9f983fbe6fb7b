"""What a plan says of each instance."""

from __future__ import annotations

import msgspec
import pytest

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.facts import Seen
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import Goal, plan_reboot, plan_rollback
from nixhive_nb.plan.status import standing, standings
from nixhive_nb.view.plan_rows import instance_rows, system_rows
from tests.notebook.values import build_plan, deploy_plan, inventory
from tests.plan.looked import facts, looked, path, survey

NOTHING = "nothing: it runs and boots this system, as specialisation calm"


def actions(plan):
    return {row.instance: row.action for row in instance_rows(plan)}


def test_each_instance_has_what_it_runs_and_what_it_will_run():
    row = instance_rows(looked())[0]
    assert (row.current, row.wanted) == (path("a", "portico"), path("b", "portico"))
    assert (row.moves, row.reboot, row.generation, row.fate) == (61_400_000, True, 41, "act")


def test_fates_are_told_apart():
    plan = looked(fresh=("www-1",), away=("www-2",), broken=("portico",))
    assert actions(plan) == {
        "portico": "cannot be evaluated: syntax error",
        "www-1": "nothing: it runs and boots this system",
        "www-2": "unreachable: no route to host",
        "www-3": "activate",
    }
    assert [row.fate for row in instance_rows(plan)] == ["broken", "nothing", "unreachable", "act"]


def test_without_a_look_nothing_is_said_of_the_hosts():
    rows = instance_rows(deploy_plan())
    assert {row.fate for row in rows} == {"act"}
    assert {(row.current, row.moves, row.reboot, row.generation) for row in rows} == {("", None, None, None)}


@pytest.mark.parametrize(
    ("options", "action"),
    [
        (Options(force=True), "activate"),
        (Options(type="boot"), "nothing: it boots this system"),
        (Options(type="test"), "nothing: it runs this system"),
        (Options(type="dry-activate"), "show what activation would do"),
        (Options(reboot="always"), "reboot"),
        (Options(reboot="if needed"), "nothing: it runs and boots this system"),
    ],
)
def test_the_options_say_what_happens_to_one_that_is_as_wanted(options, action):
    assert actions(looked(options=options, fresh=("www-1",)))["www-1"] == action


def test_a_reboot_if_needed_is_named_where_it_is_needed():
    found = actions(looked(options=Options(reboot="if needed")))
    assert found["portico"] == "activate, reboot"
    assert found["www-1"] == "activate"
    assert set(actions(deploy_plan_with("if needed")).values()) == {"activate, reboot if needed"}


def deploy_plan_with(reboot):
    plan = deploy_plan()
    return msgspec.structs.replace(plan, options=Options(reboot=reboot))


def test_a_plan_says_that_what_is_booted_next_needs_a_reboot():
    """A8: one kernel, and another system."""
    plan = looked(options=Options(type="boot", reboot="if needed"), fresh=("www-2",))
    assert actions(plan)["www-1"] == "activate at the next boot, reboot"
    assert actions(plan)["www-2"] == "nothing: it boots this system"
    one = inventory()
    found = survey(one)
    waits = msgspec.structs.replace(found.seen[1], facts=facts(path("a", "www"), profile=path("b", "www")))
    found = msgspec.structs.replace(found, seen=(found.seen[0], waits, *found.seen[2:]))
    plan = plan_reboot(one, select_instances(one, ["www-1", "www-2"]), Options(reboot="if needed"), found)
    assert actions(plan) == {"www-1": "reboot", "www-2": "nothing: it needs no reboot"}


def test_a_plan_says_that_a_specialisation_will_be_left():
    """Case 24."""
    for letter, action in (("a", "activate, leave specialisation calm"), ("b", NOTHING)):
        plan = looked()
        runs = facts(path("s", "calm"), profile=path(letter, "www"), specialisation="calm", base=path(letter, "www"))
        seen = [Seen(instance=one.instance, facts=runs) if one.instance == "www-1" else one for one in plan.seen]
        assert actions(msgspec.structs.replace(plan, seen=tuple(seen)))["www-1"] == action


def test_a_push_does_nothing_where_nothing_lacks():
    found = actions(looked(verb="push", fresh=("www-1",)))
    assert found["www-1"] == "nothing: it has this system"
    assert found["www-2"] == "fetch"


def test_a_rollback_names_the_generation_and_its_path():
    goals = {"www-1": Goal(path("c", "www"), 40)}
    one = inventory()
    row = instance_rows(plan_rollback(one, select_instances(one, ["www-1"]), Options(), goals, survey()))[0]
    assert row.action == "roll back to generation 40"
    assert row.wanted == path("c", "www")


def test_a_reboot_if_needed_leaves_alone_what_needs_none():
    one = inventory()
    targets = select_instances(one, ["www-1"])
    assert actions(plan_reboot(one, targets, Options(reboot="if needed"), survey())) == {
        "www-1": "nothing: it needs no reboot"
    }
    assert actions(plan_reboot(one, targets, Options(reboot="always"), survey())) == {"www-1": "reboot"}


def test_a_build_has_a_row_for_each_system():
    assert [(row.system, row.action) for row in system_rows(build_plan())] == [("portico", "build"), ("www", "build")]


class TestStanding:
    def test_it_is_judged_by_what_runs_and_what_boots(self):
        wanted = survey().wanted[0]
        ok = path("b", wanted.system)
        cases = {
            "in sync": facts(ok),
            "reboot needed": facts(ok, booted_kernel=("/nix/store/older",)),
            "boots it next": facts(path("a", wanted.system), profile=ok),
            "outdated": facts(ok, profile=path("a", wanted.system)),
            "mixture": facts(ok, unclean=path("a", wanted.system)),
            "never deployed": facts("", profile=""),
            "unreachable": None,
        }
        found = {name: standing(wanted, Seen(instance="x", facts=one, error="why")) for name, one in cases.items()}
        assert found == {name: name for name in cases}
        assert standing(None, Seen(instance="x", facts=facts(ok))) == "unknown"

    def test_a_specialisation_of_what_is_wanted_is_in_sync(self):
        """Case 24."""
        wanted = survey().wanted[0]
        ok = path("b", wanted.system)
        runs = facts(path("s", "calm"), profile=ok, specialisation="calm", base=ok)
        assert standing(wanted, Seen(instance="x", facts=runs)) == "in sync"

    def test_a_survey_gives_it_for_all(self):
        found = standings(survey(fresh=("www-1",), away=("www-2",)))
        assert found == {"portico": "outdated", "www-1": "in sync", "www-2": "unreachable", "www-3": "outdated"}


@pytest.mark.parametrize(
    ("options", "action"),
    [
        (Options(), "nothing: it will refuse (dbus: dbus → broker: that needs a reboot)"),
        (Options(type="test"), "nothing: it will refuse (dbus: dbus → broker: that needs a reboot)"),
        (Options(reboot="if needed"), "activate at the next boot (dbus: dbus → broker), reboot"),
        (Options(type="boot"), "activate at the next boot"),
        (Options(force=True), "activate"),
    ],
)
def test_a_host_that_will_not_switch_without_a_reboot_is_told_before(options, action):
    """A6."""
    plan = looked(options=options)
    seen = tuple(msgspec.structs.replace(one, inhibited=("dbus: dbus → broker",)) for one in plan.seen)
    plan = msgspec.structs.replace(plan, seen=seen)
    row = instance_rows(plan)[0]
    assert (row.action, row.reboot) == (action, True)


def test_a_host_whose_boot_loader_starts_another_system_is_not_as_wanted():
    """A4."""
    wanted = survey().wanted[0]
    ok = path("b", wanted.system)
    other = facts(ok, loader=path("a", wanted.system))
    assert standing(wanted, Seen(instance="x", facts=other)) == "outdated"
    assert other.reboot_needed
    assert standing(wanted, Seen(instance="x", facts=facts(ok, loader=ok))) == "in sync"
