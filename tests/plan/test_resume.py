"""Where a rollback goes, and what a resumed run leaves out."""

from __future__ import annotations

import pytest

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.facts import Generation, HostFacts, Seen, Wanted
from nixhive_nb.plan.plan import Options, Survey, Target
from nixhive_nb.plan.planner import Goal
from nixhive_nb.plan.resume import goals_of
from nixhive_nb.plan.settled import confirmed

NEW, OLD = "/nix/store/new", "/nix/store/old"


def generation(number, *, current=False):
    return Generation(number=number, path=f"/nix/store/{number}", created=0.0, current=current)


FOUND = (generation(9), generation(7, current=True), generation(4), generation(2))


def test_without_a_number_it_is_the_one_before_the_current_one_not_the_newest():
    assert goals_of({"a": FOUND}, 0) == {"a": Goal("/nix/store/4", 4)}


def test_a_number_may_be_newer_too():
    assert goals_of({"a": FOUND}, 9) == {"a": Goal("/nix/store/9", 9)}


def test_each_instance_that_has_no_such_generation_is_named_with_those_that_it_has():
    with pytest.raises(OptionError) as error:
        goals_of({"a": FOUND, "b": (generation(1, current=True),), "c": ()}, 4)
    assert "b: it has 1 (current)" in str(error.value)
    assert "c: it has none" in str(error.value)
    assert "a:" not in str(error.value)


def survey(**facts):
    """Each instance by name: (runs, boots next, was booted)."""
    return Survey(
        targets=tuple(Target(instance=name, system="s", store="", wave=1) for name in facts),
        wanted=(Wanted(system="s", path=NEW, derivation="d"),),
        seen=tuple(
            Seen(
                instance=name,
                facts=HostFacts(current=runs, profile=boots, booted=booted),
                moves=0 if runs == NEW else 5,
            )
            for name, (runs, boots, booted) in facts.items()
        ),
    )


SEEN = survey(done=(NEW, NEW, NEW), switched=(NEW, NEW, OLD), tried=(NEW, OLD, OLD), old=(OLD, OLD, OLD))


@pytest.mark.parametrize(
    ("verb", "options", "names"),
    [
        ("deploy", Options(), {"done", "switched"}),
        ("deploy", Options(reboot="always"), {"done"}),
        # No kernel is known to differ, so the step would find nothing to do.
        ("deploy", Options(reboot="if needed"), {"done", "switched"}),
        ("deploy", Options(type="test"), {"done", "switched", "tried"}),
        ("deploy", Options(type="dry-activate"), set()),
        ("deploy", Options(force=True), {"done", "switched"}),
        ("push", Options(), {"done", "switched", "tried"}),
    ],
)
def test_a_resumed_run_leaves_out_what_the_hosts_confirm(verb, options, names):
    assert confirmed(SEEN, verb, options) == names
