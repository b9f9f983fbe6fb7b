"""Instances that are one host, as they say when they are asked (N5), and kernels that do not run a system (case 26)."""

from __future__ import annotations

import msgspec

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.facts import HostFacts, Seen
from nixhive_nb.plan.plan import Options, Survey
from nixhive_nb.plan.planner import Goal, plan_reboot, plan_rollback
from nixhive_nb.plan.twins import twins
from nixhive_nb.run.limits import Limits
from tests.plan.fleets import by_id, deploy, instance, inventory

TWO = inventory(instance("depot"), instance("twin", "two"), instance("www"))


def seen(name, boot="b", machine="m", runs=()):
    return Seen(instance=name, facts=HostFacts(boot_id=boot, machine_id=machine, runs=runs))


SURVEY = Survey(seen=(seen("depot"), seen("twin"), seen("www", boot="other")))


def test_one_boot_of_one_machine_is_one_host():
    """N5: containers share the boot id of their kernel, and not the id of their machine."""
    assert twins(SURVEY.seen) == [("depot", "twin")]
    assert twins([seen("a", machine="1"), seen("b", machine="2")]) == []
    assert twins([seen("a", boot=""), seen("b", boot="")]) == []
    assert twins([Seen(instance="a", error="x"), Seen(instance="b", error="x")]) == []


def test_what_changes_one_host_is_never_done_twice_at_once():
    """N5."""
    targets = select_instances(TWO, ())
    goals = {name: Goal("/nix/store/x", 1) for name in TWO.instances}
    plans = {
        "fetch activate reboot": deploy(TWO, survey=SURVEY, reboot="always"),
        "activate": plan_rollback(TWO, targets, Options(), goals, SURVEY),
        "reboot": plan_reboot(TWO, targets, Options(), SURVEY),
    }
    for kinds, plan in plans.items():
        assert any("depot and twin are one host" in text for text in plan.warnings)
        for kind in kinds.split():
            steps = by_id(plan)
            assert "host:depot" in steps[f"{kind}:depot"].locks
            assert "host:depot" in steps[f"{kind}:twin"].locks
            assert not any(lock.startswith("host:") for lock in steps[f"{kind}:www"].locks)
    assert Limits().of("host:depot") == 1


def test_a_plan_warns_of_a_platform_that_a_kernel_does_not_run():
    """Case 26."""
    answers = (seen("depot", boot="1", runs=("aarch64-linux",)), seen("twin", boot="2", runs=("x86_64-linux",)))
    warnings = deploy(TWO, survey=Survey(seen=(*answers, seen("www", boot="3")))).warnings
    (found,) = [text for text in warnings if "kernel" in text]
    assert found.startswith("depot: its kernel runs aarch64-linux, and system one is for x86_64-linux")
    assert "--force" in found


def test_jumps_that_were_found_are_those_that_count():
    """N6: what OpenSSH says of the way wins over the deployment's own words, and an instance is known by its name."""
    www = msgspec.structs.replace(TWO.instances["www"], jumps=("depot",))
    found = msgspec.structs.replace(TWO, instances={**TWO.instances, "www": www})
    plan = plan_reboot(found, select_instances(found, ("*",)), Options(), Survey())
    assert "reboot:depot" in by_id(plan)["reboot:www"].after
    assert "jump:depot" in by_id(plan)["reboot:www"].locks
    assert (
        "reboot:depot"
        not in by_id(plan_reboot(TWO, select_instances(TWO, ("*",)), Options(), Survey()))["reboot:www"].after
    )
