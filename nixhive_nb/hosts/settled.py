"""Leaving a host as it is: what it said decides while that is fresh, and else it is asked again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from nixhive_nb.errors import Locked, StepFailed
from nixhive_nb.hosts import activation
from nixhive_nb.hosts.activation import HostOutcome, RunsAndBoots
from nixhive_nb.hosts.facts import NAMELESS
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.settled import is_settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nixhive_nb.plan.facts import HostFacts, Seen
    from nixhive_nb.plan.plan import Options
    from nixhive_nb.plan.protocol import Tell

_PAUSE = 1.0
"""Seconds between two questions to a host where somebody is at work."""


async def see_settled(
    instance: str,
    path: str,
    seen: Seen | None,
    options: Options,
    *,
    ask: Callable[[str], Awaitable[HostFacts]],
    fresh: float,
    tell: Tell,
) -> Result:
    """Return that a host is as the plan leaves it, by what it said when that is no older than `fresh` seconds.

    Else it is asked again. Raises `StepFailed` for one that was changed since, and `Locked` where somebody is at work.
    """
    asked = time.time()
    facts = seen.facts if seen is not None and 0 <= asked - seen.asked <= fresh else None
    if facts is not None and seen is not None:
        asked = seen.asked
    else:
        facts = await _asked(instance, options, ask, tell)
    if not is_settled(facts, path, options):
        raise StepFailed(_changed(instance, path, seen, facts))
    return unchanged(facts, path, how=seen_text(asked))


def unchanged(facts: HostFacts, path: str, *, how: str = "") -> Result:
    """Return what is told of a host that is as it is wanted already."""
    return Result(
        outcome="unchanged",
        path=path,
        previous=facts.current,
        how=how,
        warning=activation.failed_text(facts.failed_units or (), ()),
        reboot=facts.reboot_needed,
        facts=facts,
    )


def seen_text(asked: float) -> str:
    """Return the words for when a host was asked, in seconds since the epoch."""
    return time.strftime("as seen at %H:%M:%S UTC", time.gmtime(asked))


async def _asked(instance: str, options: Options, ask: Callable[[str], Awaitable[HostFacts]], tell: Tell) -> HostFacts:
    """Ask a host, again while somebody is at work there, as long as the options allow. Raises `Locked`."""
    until, told = time.monotonic() + options.wait, False
    while (facts := await ask(instance)).holder:
        if time.monotonic() >= until:
            refusal = HostOutcome(name="locked", status=0, why=facts.holder)
            raise Locked(activation.refused_by(refusal, options.wait))
        if not told:
            tell.line(f"waiting for {facts.holder or NAMELESS}, at most {options.wait:g} s")
        told = True
        await asyncio.sleep(_PAUSE)
    return facts


def _changed(instance: str, path: str, seen: Seen | None, now: HostFacts) -> str:
    """Return the message for a host that is not any more as it was when the plan was made."""
    then = seen.facts if seen is not None else None
    before = RunsAndBoots(then.current, then.profile) if then is not None else RunsAndBoots(path, path)
    found = RunsAndBoots(now.current, now.profile)
    if before != found:
        return activation.stale(instance, before, found)
    if now.unclean:
        what = f"an activation of {now.unclean} did not end well there: what it runs is a mixture"
    elif not now.does_boot(path):
        what = f"its boot loader starts {now.loader} now, and not {path}"
    else:
        what = "it needs a reboot now"
    return f"{instance} has changed since the plan was made: {what}. Nothing was changed. Make a new plan."
