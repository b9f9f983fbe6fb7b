"""Commands that change hosts need a person, or a word given beforehand."""

from __future__ import annotations

import click
import pytest

from nixhive_nb.commands.plan_file import write_plan
from nixhive_nb.errors import PlanStale
from tests.commands.plans import a_plan

CHANGING = (["deploy", "*"], ["push", "*"], ["rollback", "*"], ["reboot", "*"])


@pytest.mark.parametrize("words", CHANGING, ids=lambda words: words[0])
def test_without_a_person_nothing_is_done_and_the_way_is_told(invoke, words):
    told = f"This session is not interactive.* --yes, or --plan DIGEST .*nix-hive plan {words[0]}"
    with pytest.raises(Exception, match=told):
        invoke(*words)


@pytest.mark.parametrize("words", CHANGING, ids=lambda words: words[0])
def test_a_person_or_yes_or_a_digest_is_leave(invoke, words):
    for leave, attended in (((), True), (("--yes",), False), (("--plan", "7f3a91c0d2e4"), False)):
        with pytest.raises(invoke.Reached, match=words[0]):
            invoke(*words, *leave, attended=attended)


def test_the_policy_may_ask_always_or_never(invoke):
    with pytest.raises(Exception, match="The policy requires a confirmation"):
        invoke("deploy", "*", attended=True, policy="always")
    with pytest.raises(invoke.Reached):
        invoke("deploy", "*", policy="free")


@pytest.mark.parametrize("digest", ["abc", "plan-a", "7F3A91C0D2E4", "7f3a 91c0d2e4", "7f3a91c0d2e", "0" * 65])
def test_a_digest_that_is_none_is_named(invoke, digest):
    with pytest.raises(Exception, match=f"'{digest}' is not the digest of a plan"):
        invoke("deploy", "*", "--plan", digest)


@pytest.mark.parametrize("words", [["plan", "*"], ["build"]])
def test_what_changes_no_host_needs_no_leave(invoke, words):
    with pytest.raises(invoke.Reached):
        invoke(*words)


@pytest.mark.parametrize("words", CHANGING, ids=lambda words: words[0])
def test_an_empty_digest_is_no_leave_and_not_left_out(invoke, words):
    for attended in (False, True):
        with pytest.raises(click.BadParameter, match="it is empty") as caught:
            invoke(*words, "--plan", "", attended=attended)
        assert "'--plan'" in caught.value.format_message()


def test_apply_names_the_plan_that_it_would_carry_out(invoke, in_notebook, folder):
    plan = a_plan(folder)
    write_plan(plan, folder / "plan.json")
    with pytest.raises(click.UsageError, match=f"say --yes, or --plan {plan.digest}\\.$"):
        invoke("apply", "plan.json")
    in_notebook.session.plan = plan
    with pytest.raises(click.UsageError, match=f"say --yes, or --plan {plan.digest}\\.$"):
        in_notebook("apply")


def test_a_resumed_run_cannot_be_looked_at_before(invoke):
    with pytest.raises(click.UsageError, match=r"say --yes\.$"):
        invoke("deploy", "--resume")


def test_a_digest_that_is_too_short_is_told_so(invoke):
    """E1: 28 bits are a name, and no consent."""
    with pytest.raises(click.UsageError, match=r"it has 7 digits, .* Give 12 or more, as `nix-hive plan` prints them"):
        invoke("deploy", "*", "--plan", "7f3a91c")


@pytest.mark.parametrize("length", [12, 13, 64])
def test_as_many_digits_as_are_given_must_fit(invoke, in_notebook, folder, length):
    """E1: a plan is agreed to by 12 digits or all of them; each that is given is compared."""
    plan = a_plan(folder)
    write_plan(plan, folder / "plan.json")
    good = plan.whole_digest[:length]
    bad = good[:-1] + ("0" if good[-1] != "0" else "1")
    with pytest.raises(PlanStale, match=rf"and not {bad}\b"):
        invoke("apply", "plan.json", "--plan", bad)
    with pytest.raises(PlanStale, match=r"does not fit any more|and not for"):  # leave is given, and it is looked at
        invoke("apply", "plan.json", "--plan", good)
