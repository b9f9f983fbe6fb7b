"""When each step of a run ran. Times are seconds from the start of the run, sizes are bytes.

Where the clock was put back, nothing began before the run, and nothing took less than no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.plan.events import Outcome
from nixhive_nb.plan.step import MOVING, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixhive_nb.plan.step import Step
    from nixhive_nb.run.report import Report, StepRecord


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """When one step ran."""

    step: str
    kind: Kind
    instance: str
    """Empty for what was done once for several."""
    subject: str
    """The instance, the store or the systems that it was about."""
    systems: tuple[str, ...]
    wave: int | None
    """Of its instance; None for what belongs to no wave."""
    outcome: Outcome | None
    """None while it runs."""
    start: float
    end: float | None
    seconds: float | None
    queued: float | None
    """How long it waited for a limit when all that must come before it had ended; None where that is not known."""
    moved: int | None
    """What a `push` or `fetch` moved; None for other steps, and where it is not known."""
    reason: str


def timings_of(report: Report) -> tuple[Timing, ...]:
    """Return when each step that was begun ran, in the order in which they began."""
    waves = {target.instance: target.wave for target in report.plan.targets}
    found = [
        _timing(report, step, record, record.started, waves)
        for step in report.plan.steps
        if (record := report.steps[step.id]).started is not None
    ]
    return tuple(sorted(found, key=lambda timing: timing.start))


def _timing(report: Report, step: Step, record: StepRecord, started: float, waves: Mapping[str, int]) -> Timing:
    start = max(0.0, started - report.started)
    return Timing(
        step=step.id,
        kind=step.kind,
        instance=step.instance,
        subject=step.subject,
        systems=step.systems,
        wave=waves.get(step.instance) or step.wave or None,
        outcome=record.outcome,
        start=start,
        end=None if record.ended is None else max(start, record.ended - report.started),
        seconds=record.seconds,
        queued=_queued(report, step, started),
        moved=_moved(record),
        reason=record.reason,
    )


def _queued(report: Report, step: Step, started: float) -> float | None:
    ends = [report.steps[name].ended for name in (*step.needs, *step.after)]
    known = [end for end in ends if end is not None]
    return max(0.0, started - max([report.started, *known])) if len(known) == len(ends) else None


def _moved(record: StepRecord) -> int | None:
    if record.kind not in MOVING:
        return None
    present = record.result is not None and record.result.how == "present"
    # Progress is not noted in the journal: of a run that was read from there, what left this machine is known alone.
    known = record.moved or (record.result.sent if record.result else 0)
    return known if known or present else None
