"""A survey asks and evaluates, changes nothing, and its report becomes what plans are made from."""

from __future__ import annotations

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.errors import StepFailed
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.facts import Wanted
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.survey import plan_survey
from nixhive_nb.run.found import survey_of
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import HostModel, World
from nixhive_nb.view.report import headline
from tests.plan.fleets import by_id, instance, inventory, ran

INV = inventory(instance("a", "one"), instance("b", "two", jump="a"), instance("c", "two", store="ssh://a"))
WORLD = World(
    hosts={"a": HostModel(runs="/nix/store/old"), "c": HostModel(faults=("unreachable",))}, unevaluable=("two",)
)


def survey_plan(known=None, **asked):
    return plan_survey(INV, select_instances(INV, ["*"]), Options(), known, **asked)


def test_it_asks_each_instance_through_its_jump_hosts_and_evaluates_each_group():
    plan = survey_plan()
    assert {step.kind for step in plan.steps} == {"probe", "instantiate"}
    assert by_id(plan)["probe:b"].locks == ("all", "jump:a")
    assert by_id(plan)["instantiate:one+two"].systems == ("one", "two")


def test_the_evaluation_can_be_left_out():
    assert {step.kind for step in survey_plan(evaluate=False).steps} == {"probe"}


def test_an_instance_is_measured_when_it_answered_and_its_system_is_evaluated():
    steps = by_id(survey_plan({"one": "/nix/store/kept"}, measure=True))
    assert steps["missing:b"].needs == ("probe:b",)
    assert steps["missing:b"].after == ("instantiate:two",)
    assert (steps["missing:a"].path, steps["missing:a"].systems) == ("/nix/store/kept", ("one",))
    assert steps["missing:a"].after == ()


def test_what_is_found_is_told_and_what_is_not_with_the_reason():
    report, _ = ran(survey_plan(measure=True), SimulatedFleet(WORLD))
    survey = survey_of(report)
    assert survey.targets == report.plan.targets
    assert [(one.system, one.path, one.error) for one in survey.wanted] == [
        ("one", WORLD.path("one"), ""),
        ("two", "", "it cannot be evaluated"),
    ]
    a, b, c = survey.seen
    assert (a.facts.current, b.facts.current) == ("/nix/store/old", "")
    assert (c.facts, c.error) == (None, "c does not answer.")
    assert headline(report).startswith("2 of 3 looked at, 1 failed")


def test_known_results_are_wanted_without_a_derivation():
    report, _ = ran(survey_plan({"two": "/nix/store/kept"}), SimulatedFleet(WORLD))
    assert survey_of(report).wanted[1] == Wanted(system="two", path="/nix/store/kept")


def test_what_is_not_built_yet_is_not_measured_and_what_is_is():
    fleet = SimulatedFleet(World(hosts={"a": HostModel(runs="/nix/store/old")}))
    assert [one.moves for one in survey_of(ran(survey_plan(measure=True), fleet)[0]).seen] == [None, None, None]
    fleet.built.add(fleet.world.path("one"))
    a = survey_of(ran(survey_plan(measure=True), fleet)[0]).seen[0]
    assert (a.moves, a.reboot) == (fleet.world.size, True)


class Broken:
    """A backend whose evaluation fails as a whole."""

    async def perform(self, step, tell):
        if step.kind == "instantiate":
            raise StepFailed("nix-instantiate: out of memory", log=["one", "two"])
        return Result()


def test_a_group_that_failed_as_a_whole_has_its_reason_for_each_system():
    report, _ = ran(survey_plan(), SimulatedFleet(WORLD), backend=Broken())
    for one in survey_of(report).wanted:
        assert (one.error, one.log) == ("nix-instantiate: out of memory", ("one", "two"))
