"""Where a run is, in the form that every face shows while it runs: a head, and a row for what matters now."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, get_args

import msgspec

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.plan.events import BAD
from nixhive_nb.plan.relays import reads_from
from nixhive_nb.plan.step import CHANGING, MOVING, Kind, stage
from nixhive_nb.run.report import WORST_FIRST
from nixhive_nb.util.text import seconds_text, size_text
from nixhive_nb.view.words import OUTCOMES, STEPS, VERBS, Counted, Tone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.plan.step import Step
    from nixhive_nb.run.report import Report, StepRecord

_MINUTE = 60
_Move = tuple[int | None, bool]
"""Bytes (None when not known), and whether that is exact: otherwise it is no more than that."""
_ALWAYS = ("done", "failed", "running", "waiting")
"""Fates that are counted also where there are none."""


class ProgressRow(msgspec.Struct, frozen=True, kw_only=True):
    """A step that runs, or one that ended badly."""

    id: str
    """It stays while one step of an instance follows another."""
    step: str
    kind: Kind
    name: str
    """The instance, store or systems that the step is about."""
    state: str
    failed: bool
    moved: int
    expected: int
    """0 where that is not known."""
    at_most: bool = False
    """Whether `expected` is the size of a whole closure, of which some may be there already."""
    seconds: float
    line: str
    """Its last line of output, or the reason why it failed."""

    @property
    def amount(self) -> str:
        """How far it is: `27.1 of 60.2 MB`, or for a build `3 of 12`; empty when that is not known."""
        if not self.moved and not self.expected:
            return ""
        if self.kind in ("build", "instantiate"):
            return f"{self.moved} of {self.expected}"
        return amount_text(self.moved, self.expected or None, at_most=self.at_most)

    @property
    def fraction(self) -> float | None:
        """How far it is, from 0 to 1; None when that is not known, and of what failed."""
        return None if self.failed or not self.expected else min(1.0, self.moved / self.expected)

    @property
    def tone(self) -> Tone:
        """Its colour; the words of `state` say the same."""
        return "bad" if self.failed else "run"


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """How the instances of a wave, or of a batch of one, are. What was skipped counts as failed."""

    label: str
    done: int
    failed: int
    total: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is. Sizes are bytes, times are seconds."""

    title: str
    done: int
    """Steps that ended."""
    total: int
    moved: int
    to_move: int | None
    """All that moves, with what has moved already; None as long as that is not known of every step."""
    at_most: bool
    """Whether `to_move` is only known not to be more: sizes of whole closures, of which much may be there already."""
    seconds: float
    fraction: float
    """Steps that ended, and parts of those that tell how far they are, of all: from 0 to 1."""
    waves: tuple[Wave, ...]
    rows: tuple[ProgressRow, ...]
    """Failed steps first, then those that run."""
    counts: str

    def facts(self, rate: float | None = None) -> str:
        """Return the counts, time and bytes in a line. `rate` is in bytes a second, None when it is not known."""
        return " · ".join(filter(None, [f"{self.done} of {self.total} steps", self._clock(), self._moved(rate)]))

    def _moved(self, rate: float | None) -> str:
        if not self.moved and not self.to_move:
            return ""
        words = amount_text(self.moved, self.to_move, at_most=self.at_most)
        speed = f"{size_text(round(rate))}/s" if rate else ""
        return " · ".join(filter(None, [words if self.to_move else f"{words} moved", f"{speed}{self._eta(rate)}"]))

    def _eta(self, rate: float | None) -> str:
        left = (self.to_move or 0) - self.moved
        if not rate or left <= 0:
            return ""
        return f", {'at most' if self.at_most else 'about'} {_span_text(left / rate)} to move"

    def _clock(self) -> str:
        minutes, seconds = divmod(int(max(0.0, self.seconds)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


class Meter:
    """Tells how fast something grows, by how much it grew in the last seconds."""

    def __init__(self, window: float = 5.0) -> None:
        """`window` is the seconds that count."""
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()

    def rate(self, value: int, now: float) -> float | None:
        """Take a value, and give the growth a second; None as long as nothing is known, or nothing grows."""
        self._samples.append((now, value))
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._window:
            self._samples.popleft()
        since, first = self._samples[0]
        return (value - first) / (now - since) if now - since >= 1 and value > first else None


def amount_text(moved: int, expected: int | None, *, at_most: bool = False) -> str:
    """Return `27.1 of 60.2 MB`, with both units where they differ; `of at most` where `expected` is a bound."""
    if expected is None:
        return size_text(moved)
    of = size_text(expected)
    number, _, unit = size_text(moved).partition(" ")
    same = unit == of.partition(" ")[2] or not moved
    return f"{number if same else f'{number} {unit}'} of {'at most ' if at_most else ''}{of}"


def _span_text(seconds: float) -> str:
    """Return a time to come, not finer than it can be known."""
    whole = max(1, round(seconds))
    minutes = round(whole / _MINUTE)
    if whole < _MINUTE:
        return f"{whole} s"
    return f"{minutes} min" if minutes < _MINUTE else seconds_text(_MINUTE * minutes)


def progress_of(report: Report) -> Progress:
    """Return where a run is by what is known now."""
    now = report.ended
    steps = [record for record in report.steps.values() if record.kind != "gate"]
    own = report.plan.own_steps()
    fates = {name: _fate([report.steps[step] for step in ids]) for name, ids in own.items()}
    moves = _moves(report)
    sizes = [size for size, _ in moves.values()]
    return Progress(
        title=VERBS[report.plan.verb].title,
        done=sum(1 for record in steps if record.outcome is not None),
        total=len(steps),
        moved=sum(record.moved for record in steps if record.kind in MOVING),
        to_move=None if None in sizes else sum(size or 0 for size in sizes),
        at_most=not all(exact for _, exact in moves.values()),
        seconds=now - report.started,
        fraction=sum(map(_part, steps)) / max(1, len(steps)),
        waves=_waves(report, fates),
        rows=_rows(report, steps, moves, now),
        counts=_counts(report, steps, fates),
    )


def _rows(
    report: Report, steps: Sequence[StepRecord], moves: Mapping[str, _Move], now: float
) -> tuple[ProgressRow, ...]:
    """Return failed steps, then those that run. An instance has one row, unless several of its steps failed."""
    rows = {} if report.plan.verb == "survey" else {step.id: step.instance for step in report.plan.steps}
    names = {step: f"instance:{instance}" for step, instance in rows.items() if instance}
    chosen: dict[str, StepRecord] = {}
    for record in steps:
        if record.outcome in BAD:
            name = names.get(record.step, record.step)
            chosen[record.step if name in chosen else name] = record
    for record in steps:
        if record.outcome is None and record.started is not None:
            chosen.setdefault(names.get(record.step, record.step), record)
    silent = {
        step.id: f"{seconds_text(step.seconds)} before the next begins"
        for step in report.plan.steps
        if step.kind == "pause"
    }
    above = reads_from(report.plan.steps)
    silent |= {
        step.id: f"from {store_host(above[step.store]) or above[step.store]}"
        for step in report.plan.steps
        if step.kind == "push" and above[step.store]
    }
    return tuple(
        _row(name, record, moves.get(record.step), now, silent.get(record.step, "")) for name, record in chosen.items()
    )


def _row(name: str, record: StepRecord, move: _Move | None, now: float, silent: str) -> ProgressRow:
    """Return the row of a step. `silent` is its line as long as it says nothing."""
    bad = record.outcome is not None
    until = record.ended or now
    told = record.started is not None and record.expected > 0
    expected, exact = move if move is not None and told else (record.expected, True)
    last = record.log[-1] if record.log else silent
    return ProgressRow(
        id=name,
        step=record.step,
        kind=record.kind,
        name=record.subject or record.step,
        state=_state(record),
        failed=bad,
        moved=record.moved,
        expected=0 if bad else expected or 0,
        at_most=not exact,
        seconds=max(0.0, until - record.started) if record.started else 0.0,
        line=record.reason if bad else last,
    )


def _state(record: StepRecord) -> str:
    """Return what a step does, or how it ended badly, with its symbol."""
    words = OUTCOMES[record.outcome]
    deed = f"{stage(record.kind)} {words.ended}" if record.outcome else STEPS[record.kind].doing
    return f"{words.symbol} {deed}"


def _part(record: StepRecord) -> float:
    """Return how much of a step is done, from 0 to 1."""
    if record.outcome is not None:
        return 1.0
    return min(1.0, record.moved / record.expected) if record.expected else 0.0


def _fate(own: Sequence[StepRecord]) -> Counted:
    """Return as what an instance is counted."""
    outcomes = {record.outcome for record in own}
    worst = next((outcome for outcome in WORST_FIRST if outcome in outcomes), None)
    if worst is not None:
        return OUTCOMES[worst].counted
    if None in outcomes:
        return "running" if any(record.outcome is None and record.started is not None for record in own) else "waiting"
    changing = [record.outcome for record in own if record.kind in CHANGING] or list(outcomes)
    return "unchanged" if all(outcome == "unchanged" for outcome in changing) else "done"


def _counts(report: Report, steps: Sequence[StepRecord], fates: Mapping[str, Counted]) -> str:
    """Count the targets of a plan; where it has none, or is a survey, its steps."""
    is_counted = bool(report.plan.targets) and report.plan.verb != "survey"
    targets = [fates[target.instance] for target in report.plan.targets if target.instance in fates]
    counted = targets if is_counted else [_fate([record]) for record in steps]
    found = Counter(counted)
    words = [f"{found[fate]} {fate}" for fate in get_args(Counted) if found[fate] or fate in _ALWAYS]
    counts = f"{'instances' if is_counted else 'steps'}: {' · '.join(words)}"
    return " · ".join(filter(None, [_evaluated(report, steps), counts]))


def _evaluated(report: Report, steps: Sequence[StepRecord]) -> str:
    """Count the systems that are evaluated by now, of all that are to be; nothing of a single one."""
    systems = {step.id: len(step.systems) for step in report.plan.steps if step.kind == "instantiate"}
    own = [record for record in steps if record.kind == "instantiate"]
    done = sum(record.moved if record.outcome is None else systems[record.step] for record in own)
    total = sum(systems.values())
    return f"{done} of {total} evaluated" if total > 1 else ""


def _waves(report: Report, fates: Mapping[str, Counted]) -> tuple[Wave, ...]:
    batched = {target.wave for target in report.plan.targets if target.batch > 1}
    found: dict[str, Counter[str]] = {}
    for target in report.plan.targets:
        label = f"wave {target.wave}" + (f", batch {target.batch}" if target.wave in batched else "")
        found.setdefault(label, Counter())[fates.get(target.instance, "waiting")] += 1
    return tuple(
        Wave(
            label=label,
            done=fate["done"] + fate["unchanged"],
            failed=fate["failed"] + fate["skipped"],
            total=fate.total(),
        )
        for label, fate in found.items()
    )


def _moves(report: Report) -> dict[str, _Move]:
    """Return what each step that moves content moves all in all."""
    measured = {one.instance: one.moves for one in report.plan.seen if one.moves is not None}
    sent = {(one.system, one.store): one.lacks for one in report.plan.sendings}
    return {
        step.id: _move(
            report, step, sent.get((step.system, step.store)) if step.kind == "send" else measured.get(step.instance)
        )
        for step in report.plan.steps
        if step.kind in MOVING
    }


def _move(report: Report, step: Step, measured: int | None) -> _Move:
    record = report.steps[step.id]
    if record.outcome is not None:
        return record.moved, True
    if measured is not None:
        return max(measured, record.moved), True
    if step.kind == "send":
        return record.expected or None, bool(record.expected)
    # The verdict on a system tells how large its closure is. A step that tells no less than that knows no better.
    built = report.record_of("register", step.system)
    closure = built.result.size if built is not None and built.result is not None else 0
    if record.expected and record.expected != closure:
        return record.expected, True
    return closure or None, False
