"""Where systems are built: which steps there are for it, and what each waits for."""

from __future__ import annotations

import msgspec
import pytest

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.options import How, options_of
from nixhive_nb.plan.plan import Options, Plan
from nixhive_nb.plan.planner import plan_transfer
from tests.plan.fleets import by_id, deploy, instance, inventory

EXAMPLE = inventory(
    instance("portico", "portico"),
    *[instance(f"www-{number}", "www", store="ssh://portico") for number in (1, 2)],
)


def with_build(where, system="www"):
    systems = {**EXAMPLE.systems, system: msgspec.structs.replace(EXAMPLE.systems[system], build=where)}
    return msgspec.structs.replace(EXAMPLE, systems=systems)


def kinds(plan, *wanted):
    return [step.id for step in plan.steps if step.kind in wanted]


def test_a_relay_builds_once_and_its_instances_fetch_from_it():
    plan = deploy(EXAMPLE, "www-*", build_on="relay")
    assert kinds(plan, "build") == ["build:www>ssh://portico"]
    steps = by_id(plan)
    assert "build:www>ssh://portico" in steps["push:www>ssh://portico"].needs
    assert "build:www>ssh://portico" in steps["fetch:www-2"].needs
    assert steps["build:www>ssh://portico"].needs == ("send:www>ssh://portico",)
    assert steps["send:www>ssh://portico"].needs == ("register:www",)
    assert "sign:www>ssh://portico" in steps["push:www>ssh://portico"].needs
    assert not plan.warnings
    unsigned = deploy(msgspec.structs.replace(EXAMPLE, signing_key=None), "www-*", build_on="relay")
    assert any("secret-key-files" in warning for warning in unsigned.warnings)


def test_instances_that_build_for_themselves_need_no_relay():
    plan = deploy(EXAMPLE, "www-*", build_on="instance")
    assert kinds(plan, "build", "push") == ["build:www>ssh://www-1", "build:www>ssh://www-2"]
    assert "build:www>ssh://www-1" in by_id(plan)["fetch:www-1"].needs
    assert "build:www>ssh://www-1" not in by_id(plan)["fetch:www-2"].needs
    assert not plan.warnings


def test_a_store_that_builds_feeds_the_relay():
    plan = deploy(EXAMPLE, "www-*", build_on="ssh-ng://builder")
    assert kinds(plan, "build", "push") == ["build:www>ssh-ng://builder", "push:www>ssh://portico"]
    assert "build:www>ssh-ng://builder" in by_id(plan)["push:www>ssh://portico"].needs


def test_a_system_says_for_itself_where_it_is_built_and_the_option_goes_before_it():
    plan = deploy(with_build("relay"), "*")
    assert kinds(plan, "build") == ["build", "build:www>ssh://portico"]
    assert by_id(plan)["build"].systems == ("portico",)
    assert kinds(deploy(with_build("relay"), "*", build_on="here"), "build") == ["build"]


def test_what_is_known_is_built_nowhere():
    targets = select_instances(EXAMPLE, ["www-1"])
    plan = plan_transfer(EXAMPLE, targets, "deploy", Options(build_on="relay"), {"www": "/nix/store/x"})
    assert kinds(plan, "build") == []


def test_an_instance_without_a_relay_is_named():
    with pytest.raises(OptionError, match="relay of portico, which has none"):
        deploy(EXAMPLE, "portico", build_on="relay")


def test_a_plan_says_where_systems_are_built_and_comes_back_from_json():
    plan = deploy(EXAMPLE, "www-*", build_on="relay")
    assert "to build there: www on ssh://portico" in str(plan)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


@pytest.mark.parametrize(
    "where", ["there", "ssh-ng://", "http://cache", "ssh://a?store=/b", "ssh://user:secret@host", "ssh://-oX"]
)
def test_what_is_no_place_is_refused(where):
    with pytest.raises(OptionError):
        options_of(How(build_on=where), "deploy")


@pytest.mark.parametrize("where", ["here", "instance", "relay", "ssh://host", "ssh-ng://user@host:22"])
def test_places_are_taken(where):
    assert options_of(How(build_on=where), "deploy").build_on == where
