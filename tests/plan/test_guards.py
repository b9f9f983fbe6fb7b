"""What a deploy is refused for before it begins."""

from __future__ import annotations

import msgspec
import pytest

from nixhive_nb.deployment.revision import Revision
from nixhive_nb.errors import PlanRefused
from nixhive_nb.plan.guards import check_allowed, check_named, guards, refusals
from nixhive_nb.plan.options import options_of
from tests.plan.looked import looked

HERE, OLD, OTHER = "a" * 40, "b" * 40, "c" * 40
CLEAN = Revision(commit=HERE)


def in_history(commit, of):
    """The one before is known, another one is not in the history, and of all else nothing is known."""
    assert of == HERE
    return {HERE: True, OLD: True, OTHER: False}.get(commit)


def running(said, plan=None):
    """A plan for hosts that run what was made from these revisions, in their order."""
    plan = plan or looked()
    seen = tuple(
        msgspec.structs.replace(one, facts=one.facts and msgspec.structs.replace(one.facts, revision=revision))
        for one, revision in zip(plan.seen, said, strict=False)
    )
    return msgspec.structs.replace(plan, seen=seen)


def test_a_command_goes_before_the_deployment():
    assert guards((), ("dirty", "all")) == {"dirty", "all"}
    assert guards(("older",), ("dirty", "all")) == {"older"}
    assert guards(("nothing",), ("dirty", "all")) == set()
    assert guards((), ()) == set()


def test_all_at_once_is_refused_where_nobody_is_named():
    with pytest.raises(PlanRefused, match=r"name them\. '\*' is all of them"):
        check_named({"all"}, ())
    check_named({"all"}, ("*",))
    check_named({"dirty"}, ())


@pytest.mark.parametrize("revision", [Revision(commit=HERE, dirty=True), Revision(dirty=True), Revision(), None])
def test_what_is_not_committed_is_refused(revision):
    (line,) = refusals(looked(), {"dirty"}, revision, in_history)
    assert "refuse: dirty" in line
    assert not refusals(looked(), {"older", "all"}, revision, in_history)


def test_what_is_committed_is_not_refused():
    assert refusals(looked(), {"dirty", "older", "all"}, CLEAN, in_history) == ()


@pytest.mark.parametrize(("said", "why"), [(OTHER, "its history does not have"), ("e" * 40, "does not know")])
def test_a_host_that_runs_what_is_not_in_the_history_is_refused(said, why):
    (line,) = refusals(running([OLD, said, f"{said}-dirty"]), {"older"}, CLEAN, in_history)[:1]
    assert why in line
    assert said[:12] in line


def test_hosts_with_one_revision_are_told_in_one_line():
    plan = running([OTHER, OTHER, OLD, HERE])
    (line,) = refusals(plan, {"older"}, CLEAN, in_history)
    names = sorted(one.instance for one in plan.seen[:2])
    assert line.startswith(f"{', '.join(names)}: ")


def test_a_host_that_does_not_tell_its_revision_is_not_compared():
    assert refusals(running(["", ""]), {"older"}, CLEAN, in_history) == ()


def test_without_a_commit_of_our_own_nothing_is_known_to_be_older():
    (line,) = refusals(running([OLD]), {"older"}, None, in_history)
    assert "does not know" in line


@pytest.mark.parametrize("plan", [looked(verb="push"), looked(options=options_of({"type": "dry-activate"}, "deploy"))])
def test_what_activates_nothing_is_not_refused(plan):
    assert refusals(running([OTHER], plan), {"dirty", "older"}, None, in_history) == ()


def test_a_refusal_says_why_and_what_to_say_to_do_it_all_the_same():
    check_allowed(())
    with pytest.raises(PlanRefused, match=r"one\n  two\n.*--refuse nothing"):
        check_allowed(("one", "two"))


def test_a_revision_does_not_change_the_digest_and_what_is_refused_does():
    plan = looked()
    assert msgspec.structs.replace(plan, revision=CLEAN).digest == plan.digest
    refused = msgspec.structs.replace(plan, options=options_of({"refuse": ["all"]}, "deploy"))
    assert refused.digest != plan.digest
