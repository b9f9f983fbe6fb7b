"""How an instance stands to what is wanted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from nixhive_nb.plan.facts import HostFacts, Seen, Wanted
    from nixhive_nb.plan.plan import Survey

Standing = Literal[
    "in sync", "reboot needed", "boots it next", "mixture", "outdated", "never deployed", "unreachable", "unknown"
]
"""How an instance stands, from good to bad.

in sync         it runs and boots what is wanted, or runs a specialisation of it
reboot needed   the same, but with a kernel, initrd, modules or kernel parameters that were not booted
boots it next   it boots what is wanted, and runs something else
mixture         an activation did not end well there: it runs parts of two systems
outdated        it boots something else
never deployed  it has no NixOS system yet
unreachable     it did not answer, or its login runs something else than it is asked
unknown         it answered, but its system cannot be evaluated
"""
STANDINGS: tuple[Standing, ...] = get_args(Standing)
TO_DEPLOY: tuple[Standing, ...] = ("boots it next", "mixture", "outdated", "never deployed")
"""What `@outdated` means: a deploy would change them."""


def standing(wanted: Wanted | None, seen: Seen | None) -> Standing:
    """Return how an instance stands; `wanted` is what its system evaluates to, `seen` the instance as it was found."""
    facts = seen.facts if seen else None
    if facts is None:
        return "unreachable"
    if not facts.current and not facts.profile:
        return "never deployed"
    if wanted is None or not wanted.path:
        return "unknown"
    return _standing(wanted.path, facts)


def _standing(path: str, facts: HostFacts) -> Standing:
    """Return how a host stands to a system."""
    if facts.unclean:
        return "mixture"
    if not facts.does_boot(path):
        return "outdated"
    if not facts.does_run(path):
        return "boots it next"
    return "reboot needed" if facts.reboot_needed else "in sync"


def standings(survey: Survey) -> dict[str, Standing]:
    """Return how each instance of a survey stands, in the order of its targets."""
    wanted = {one.system: one for one in survey.wanted}
    seen = {one.instance: one for one in survey.seen}
    return {
        target.instance: standing(wanted.get(target.system), seen.get(target.instance)) for target in survey.targets
    }
