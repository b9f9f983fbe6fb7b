"""Whether a plan that was read from a file is one that could have been made: somebody may have written it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.options import options_of, words_of
from nixhive_nb.util.said import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.step import Step

_MOST_WORDS = 100
_LONGEST_PAUSE = 1e9


def flaw_of(plan: Plan) -> str:
    """Return what no plan of ours would hold, in a few words; empty where there is nothing of the kind."""
    return next(_flaws(plan), "")


def _flaws(plan: Plan) -> Iterator[str]:
    known: set[str] = set()
    for step in plan.steps:
        if step.id in known:
            yield f"it has two steps {_named(step)}"
        # Each comes after what it needs: so there is no circle.
        if not known.issuperset((*step.needs, *step.after)):
            yield f"step {_named(step)} comes before what it needs"
        if step.path and not _is_path(step.path):
            yield f"the path of step {_named(step)} is none: {one_line(step.path, _MOST_WORDS)!r}"
        if not 0 <= step.seconds <= _LONGEST_PAUSE:
            yield f"step {_named(step)} takes {step.seconds:g} s"
        known.add(step.id)
    for one in plan.wanted:
        bad = next((path for path in (one.path, one.derivation) if path and not _is_path(path)), "")
        if bad:
            yield f"system {one_line(one.system, _MOST_WORDS)} evaluates to {one_line(bad, _MOST_WORDS)!r}"
    names = [target.instance for target in plan.targets]
    if len(set(names)) < len(names):
        yield "it has an instance twice"


def unusual_options(plan: Plan) -> str:
    """Return why the options of a plan are none that a command could have; empty where they are."""
    if plan.verb == "survey":
        return "a survey is no plan to carry out"
    try:
        options_of(words_of(plan.options, plan.no), plan.verb, as_words=True)
    except OptionError as error:
        return str(error)
    return ""


def _named(step: Step) -> str:
    return one_line(step.id, _MOST_WORDS)


def _is_path(text: str) -> bool:
    """Return whether a text can be a store path; above all it is never an option."""
    return text.startswith("/") and one_line(text) == text and " " not in text
