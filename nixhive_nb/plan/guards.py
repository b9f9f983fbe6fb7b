"""What a deployment has refused before a deploy begins: all instances at once, what is not committed, what is older.

A deployment names them (`refuse = [ "all" "dirty" "older" ];`), and a command goes before it (`--refuse`). They are
there for a person who is in a hurry: nobody who may deploy is kept from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.deployment.refused import NOTHING
from nixhive_nb.deployment.revision import DIRTY, short_revision
from nixhive_nb.errors import PlanRefused
from nixhive_nb.util.order import natural
from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from nixhive_nb.deployment.revision import Revision
    from nixhive_nb.plan.plan import Plan

_ALL_THE_SAME = "To do it all the same: --refuse nothing."
_NAMED = 5


def guards(said: Collection[str], deployment: Collection[str]) -> frozenset[str]:
    """Return what is refused: what the command said, else what the deployment says."""
    return frozenset(said or deployment) - {NOTHING}


def check_named(refused: Collection[str], patterns: Collection[object]) -> None:
    """Raise `PlanRefused` for a deploy without a pattern, where all at once is refused."""
    if "all" in refused and not patterns:
        raise PlanRefused("A deploy to all instances at once is refused: name them. '*' is all of them.")


def refusals(
    plan: Plan, refused: Collection[str], revision: Revision | None, in_history: Callable[[str, str], bool | None]
) -> tuple[str, ...]:
    """Return why a deploy is refused, a line each; none where it is not.

    `revision` is that of the deployment now, and `in_history(commit, of)` tells whether a commit came before another
    one, or None where it is not known. A dry activation is never refused.
    """
    if plan.verb != "deploy" or plan.options.type == "dry-activate":
        return ()
    lines = _dirty(revision) if "dirty" in refused else ()
    return (*lines, *(_older(plan, revision, in_history) if "older" in refused else ()))


def check_allowed(lines: Collection[str]) -> None:
    """Raise `PlanRefused` where there is a reason."""
    if lines:
        raise PlanRefused("\n".join(["The deploy is refused:", *(f"  {one}" for one in lines), _ALL_THE_SAME]))


def _dirty(revision: Revision | None) -> Iterator[str]:
    if revision is None:
        yield "it is in no repository that git or jj can read, so its revision is not known (refuse: dirty)"
    elif revision.dirty or not revision.commit:
        yield "something in its folder is not committed: commit it first, see `git status` (refuse: dirty)"


def _older(plan: Plan, revision: Revision | None, in_history: Callable[[str, str], bool | None]) -> Iterator[str]:
    here = revision.commit if revision else ""
    running: dict[str, list[str]] = {}
    for seen in plan.seen:
        said = seen.revision
        if said:
            running.setdefault(said, []).append(seen.instance)
    for said, instances in running.items():
        commit = said.removesuffix(DIRTY)
        known = in_history(commit, here) if here else None
        if known:
            continue
        what = "its history does not have" if known is False else "its repository does not know"
        yield f"{_names(instances)}: what runs there is of {short_revision(said)}, which {what} (refuse: older)"


def _names(instances: Collection[str]) -> str:
    named = sorted(instances, key=natural)
    more = f" and {count_text(len(named) - _NAMED, 'more instance')}" if named[_NAMED:] else ""
    return f"{', '.join(named[:_NAMED])}{more}"
