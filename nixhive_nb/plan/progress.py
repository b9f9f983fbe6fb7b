"""Where a run is, in the form that every face shows while it goes on: a head, and a row for what matters now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.plan.event import BAD, GOOD
from nixhive_nb.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixhive_nb.plan.report import Report, StepRecord

_TITLES = {
    "build": "Building",
    "push": "Pushing",
    "deploy": "Deploying",
    "rollback": "Rolling back",
    "reboot": "Rebooting",
    "survey": "Looking",
}
_ENDS = {
    "failed": "✕ {kind} failed",
    "rolled back": "↶ {kind} rolled back",
    "locked": "✕ {kind} locked out",
    "unknown": "? {kind} ended unknown",
}
_DOING = {
    "look": "asking",
    "instantiate": "evaluating",
    "measure": "comparing",
    "realise": "building",
    "build": "measuring",
    "sign": "signing",
    "push": "pushing",
    "fetch": "fetching",
    "activate": "activating",
    "reboot": "rebooting",
    "pause": "pausing",
    "check": "checking",
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A step that runs, or one that ended badly."""

    kind: str
    name: str
    """The instance, store or systems that the step is about."""
    state: str
    failed: bool
    moved: int
    expected: int
    seconds: float
    line: str
    """Its last line of output, or the reason why it failed."""

    @property
    def amount(self) -> str:
        """How far it is: `27.1 MB of 60.2 MB`, or for a build `3 of 12`; empty when that is not known."""
        if not self.moved and not self.expected:
            return ""
        words: Callable[[int], str] = str if self.kind == "realise" else size_text
        return f"{words(self.moved)} of {words(self.expected)}" if self.expected else words(self.moved)

    @property
    def style(self) -> str:
        """A colour name; the words of `state` say the same."""
        return "red" if self.failed else "blue"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is. Sizes are bytes, times are seconds."""

    title: str
    done: int
    """Steps that ended."""
    total: int
    moved: int
    seconds: float
    rows: tuple[Row, ...]
    """Failed steps first, then those that run."""
    counts: str


def progress_of(report: Report) -> Progress:
    """Give where a run is by what is known now."""
    steps = [record for record in report.steps.values() if record.kind != "wave"]
    failed = [record for record in steps if record.outcome in BAD]
    active = [record for record in steps if record.outcome is None and record.started is not None]
    ended = sum(1 for record in steps if record.outcome is not None)
    good = sum(1 for record in steps if record.outcome in GOOD)
    waiting = len(steps) - ended - len(active)
    return Progress(
        title=_TITLES[report.plan.verb],
        done=ended,
        total=len(steps),
        moved=sum(record.moved for record in steps if record.kind in ("push", "fetch")),
        seconds=time.time() - report.started,
        rows=tuple(_row(record) for record in failed + active),
        counts=f"{good} done · {len(failed)} failed · {len(active)} running · {waiting} waiting",
    )


def _row(record: StepRecord) -> Row:
    bad = record.outcome is not None
    until = record.ended or time.time()
    return Row(
        kind=record.kind,
        name=record.subject or record.step,
        state=_ENDS[record.outcome].format(kind=record.kind) if record.outcome else f"● {_DOING[record.kind]}",
        failed=bad,
        moved=record.moved,
        expected=record.expected,
        seconds=until - record.started if record.started else 0.0,
        line=record.reason if bad else (record.log[-1] if record.log else ""),
    )
