"""What a run tells in progress. Times are seconds since the epoch, sizes are bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from nixhive_nb.plan.facts import CheckResult, HostFacts, Wanted
from nixhive_nb.plan.places import BuildPlace
from nixhive_nb.util.said import Moment, Whole

Outcome = Literal[
    "done", "warned", "unchanged", "rolled back", "failed", "refused", "locked", "unknown", "skipped", "cancelled"
]
"""How a step, or an instance, ends.

done         what was wanted is so now
warned       it is so now, or will be at the next reboot (100), and there is something to be told: failed units (4)
unchanged    it was so already, and nothing was changed
rolled back  it was tried, and the host went back to what it ran before
failed       it was tried, and did not come to be
refused      the host refused to switch, by a check before that: nothing was changed
locked       not tried, since somebody else is activating there
unknown      the link was lost, and the host could not be asked again
skipped      not tried, since something that it needs failed, or too much has failed
cancelled    not tried or ended early, since the user stopped the run
"""
GOOD = ("done", "warned", "unchanged")
"""The outcomes that leave an instance as it is wanted."""
BAD: tuple[Outcome, ...] = ("rolled back", "failed", "refused", "locked", "unknown")
"""The outcomes of what was begun and did not do what was wanted."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a step gives when it succeeds."""

    outcome: Outcome = "done"
    path: str = ""
    """The store path that the step made, moved or activated."""
    derivation: str = ""
    how: str = ""
    """In a word or two: built, present, from relay, from here …"""
    sent: Whole = 0
    """Content that left this machine for the step, in bytes."""
    size: Whole = 0
    """Size of the closure concerned, in bytes."""
    warning: str = ""
    until_reboot: str = ""
    """That of it which is over when the host was rebooted into the system."""
    previous: str = ""
    """What the instance ran before the step."""
    facts: HostFacts | None = None
    """For `probe`."""
    powerless: str = ""
    """For `probe`: why its login does not become root, and what to do; empty where it does, or that was not asked."""
    place: BuildPlace | None = None
    """For `probe` with a store."""
    refusal: str = ""
    """For `missing` with a store: why it does not take what builds the system, and what to do."""
    wanted: tuple[Wanted, ...] = ()
    """For `instantiate`."""
    checks: tuple[CheckResult, ...] = ()
    inhibited: tuple[str, ...] = ()
    """For `missing`: what keeps the host from switching to it without a reboot."""
    reboot: bool | None = None
    """Whether the instance needs a reboot now; for `missing`, would need one. None where that is not known."""


class StepStarted(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """A step begins."""

    time: Moment
    step: str


class StepProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """A step moved on: `done` of `expected` bytes (or, for a build, derivations)."""

    time: Moment
    step: str
    done: Whole
    expected: Whole


class StepLine(msgspec.Struct, frozen=True, kw_only=True, tag="line"):
    """A line of output that belongs to a step. Terminal control is already stripped."""

    time: Moment
    step: str
    text: str


class StepEnded(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """A step came to its end. `reason` is one line for all outcomes but done and unchanged."""

    time: Moment
    step: str
    outcome: Outcome
    reason: str = ""
    cause: str = ""
    """For skipped: the step that failed."""
    result: Result | None = None


class Stopping(msgspec.Struct, frozen=True, kw_only=True, tag="stopping"):
    """The user stopped the run: nothing more is started, and what runs comes to its end."""

    time: Moment


Event = Stopping | StepStarted | StepProgress | StepLine | StepEnded


def because_of(step: str) -> str:
    """Return the reason of a step that is skipped since another one failed."""
    return f"because of {step}"
