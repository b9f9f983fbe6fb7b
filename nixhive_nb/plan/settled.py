"""Which instances have nothing left to do, as they say themselves: that makes steps of a deploy, or leaves them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.plan.plan import Options, Survey, SwitchType, Verb

SETS_PROFILE = ("switch", "boot")
CHANGES_RUNNING = ("switch", "test")
FRESH_SECONDS = 60
"""How long what a host said of itself counts by default: after that it is asked again before it is left alone."""


def is_unchanged(facts: HostFacts, path: str, action: SwitchType) -> bool:
    """Return whether a host is already what an activation of `path` would make of it."""
    runs = facts.runs_well(path) or action not in CHANGES_RUNNING
    boots = facts.does_boot(path) or action not in SETS_PROFILE
    return action != "dry-activate" and runs and boots


def settled(survey: Survey | None, options: Options) -> dict[str, str]:
    """Return the instances with nothing to do in a deploy with these options, and the path that each runs or boots.

    Where somebody is at work there, only the host can tell, when it is our turn.
    """
    if survey is None or options.force:
        return {}
    wanted = {one.system: one.path for one in survey.wanted}
    facts = {one.instance: one.facts for one in survey.seen}
    return {
        target.instance: path
        for target in survey.targets
        if (path := wanted.get(target.system, "")) and is_settled(facts.get(target.instance), path, options)
    }


def is_settled(facts: HostFacts | None, path: str, options: Options) -> bool:
    """Return whether a deploy of a path would find nothing to do on a host."""
    if facts is None or facts.holder or not is_unchanged(facts, path, options.type):
        return False
    return options.reboot == "never" or (options.reboot == "if needed" and not facts.reboot_needed)


def confirmed(survey: Survey, verb: Verb, options: Options) -> frozenset[str]:
    """Return the instances that a resumed run leaves out: what it was to do there is done, and if by `--force`."""
    if verb == "push":
        return frozenset(one.instance for one in survey.seen if one.moves == 0)
    if verb != "deploy":
        return frozenset()
    wanted = {one.system: one.path for one in survey.wanted}
    facts = {one.instance: one.facts for one in survey.seen}
    return frozenset(
        target.instance
        for target in survey.targets
        if is_confirmed(facts.get(target.instance), wanted.get(target.system, ""), options)
    )


def is_confirmed(facts: HostFacts | None, path: str, options: Options) -> bool:
    """Return whether a deploy of a path that was begun has nothing left to do on a host, and if by `--force`."""
    if facts is None or not path:
        return False
    if options.reboot != "always":
        return is_settled(facts, path, msgspec.structs.replace(options, force=False))
    # A reboot was the last thing to do: what was booted tells whether it was done.
    is_booted = facts.booted == facts.current
    return is_booted and is_settled(facts, path, msgspec.structs.replace(options, force=False, reboot="never"))
