"""The report: what a run did, made from its events. Times are seconds since the epoch, sizes are bytes."""

from __future__ import annotations

import time
from collections import deque
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from nixhive_nb.errors import RunFailed
from nixhive_nb.plan.events import BAD, GOOD, Outcome, Result, StepEnded, StepLine, StepProgress, StepStarted, Stopping
from nixhive_nb.plan.facts import CheckResult, Wanted
from nixhive_nb.plan.plan import Plan, Target
from nixhive_nb.plan.step import CHANGING, Kind, stage, step_id
from nixhive_nb.run.logs import log_file
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from nixhive_nb.plan.events import Event
    from nixhive_nb.plan.step import Step
    from nixhive_nb.view.timeline import Timeline

LOG_LINES = 20
"""How many of the last lines of a step a report keeps."""
_ALL_WELL = frozenset(GOOD)
WORST_FIRST: tuple[Outcome, ...] = (*BAD, "skipped", "cancelled")
"""The outcomes that leave an instance otherwise than it is wanted."""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one step went. `outcome` is None while it runs; `started` is None for one that was never begun."""

    step: str
    kind: Kind
    subject: str
    instance: str = ""
    """The instance that it ran on, or for; empty for what was done once for several."""
    outcome: Outcome | None = None
    reason: str = ""
    cause: str = ""
    started: float | None = None
    ended: float | None = None
    moved: int = 0
    expected: int = 0
    result: Result | None = None
    log: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it ran; None when it was never begun or still runs."""
        return None if self.started is None or self.ended is None else max(0.0, self.ended - self.started)


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended for one instance."""

    instance: str
    system: str
    wave: int
    batch: int = 1
    outcome: Outcome | None
    """The worst of its own steps; None while they are under way."""
    failed_step: str = ""
    """The stage that is the cause: build, push, fetch, activate, gate …; empty where all is well."""
    reason: str = ""
    path: str = ""
    previous: str = ""
    """What it ran before."""
    how: str = ""
    """How it got the system: present, from relay, from its caches, from here; or, of one that was left alone, `as seen
    at 12:30:05 UTC`: when it said that it runs it."""
    sent: int = 0
    """Content that this machine sent to this very instance (what went to its relay is counted there)."""
    build: float | None = None
    transfer: float | None = None
    activate: float | None = None
    checks: tuple[CheckResult, ...] = ()
    """How its checks went when they were last tried."""
    reboot: bool | None = None
    """Whether it needs a reboot now; None where that is not known."""
    log: tuple[str, ...] = ()
    """The last lines of the step that is the cause."""
    log_file: str = ""
    """The file with all of them; empty for a run that is not noted."""


class SystemRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended for one system."""

    system: str
    outcome: Outcome | None
    reason: str = ""
    result: str = ""
    derivation: str = ""
    how: str = ""
    size: int = 0
    seconds: float | None = None
    log: tuple[str, ...] = ()
    log_file: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a run did: `deploy`, `push`, `build`, `rollback`, `reboot` and `apply` return one.

    It is a plain value: it pickles, and compares by its content. A cell shows its record, `print` all of it as text.
    What shows it is imported when it is asked for.
    """

    plan: Plan
    started: float
    ended: float
    steps: dict[str, StepRecord]
    journal: str = ""
    """The absolute path of its journal; empty for a run that is not noted."""

    def record_of(self, kind: Kind, *subject: str) -> StepRecord | None:
        """Return how the step went that does this to that; None where the plan has no such step."""
        return self.steps.get(step_id(kind, *subject))

    @property
    def ok(self) -> bool:
        """Whether every instance (of a build: every system) is as it is wanted, if with warnings."""
        return all(record.outcome in GOOD for record in self._subjects())

    @property
    def run(self) -> str:
        """The id of the run; empty for one that is not noted."""
        return Path(self.journal).stem

    @property
    def sent(self) -> int:
        """Content that left this machine, in bytes."""
        return sum(record.result.sent for record in self.steps.values() if record.result)

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return self.ended - self.started

    def counts(self) -> dict[str, int]:
        """Return the number of instances (of a build: systems) by outcome, those that occur alone."""
        found: dict[str, int] = {}
        for record in self._subjects():
            name = record.outcome or "running"
            found[name] = found.get(name, 0) + 1
        return found

    def systems(self) -> tuple[SystemRecord, ...]:
        """Return a record for each system of the plan, in its order."""
        return self._systems

    def instances(self) -> tuple[InstanceRecord, ...]:
        """Return a record for each targeted instance, in the order of the targets."""
        return self._instances

    # Each is worked out once: all that shows a report asks for them, several times.

    @cached_property
    def _systems(self) -> tuple[SystemRecord, ...]:
        found = ((name, self.record_of("register", name)) for name in self.plan.systems)
        settled = {one.system: one for one in self.plan.wanted if one.path and self.plan.verb == "deploy"}
        return tuple(
            self._system(name, record) if record is not None else _as_evaluated(settled[name])
            for name, record in found
            if record is not None or name in settled
        )

    @cached_property
    def _instances(self) -> tuple[InstanceRecord, ...]:
        own = self.plan.own_steps()
        builds = {system: self._build_seconds(system) for system in {target.system for target in self.plan.targets}}
        return tuple(
            self._instance(target, [self.steps[step] for step in own.get(target.instance, ())], builds[target.system])
            for target in self.plan.targets
        )

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of steps that succeeded all the same, each once."""
        found = (record.reason for record in self.steps.values() if record.outcome in GOOD and record.reason)
        return tuple(dict.fromkeys(found))

    @property
    def frame(self) -> pd.DataFrame:
        """How it ended; columns as in `frames.build_frame` for a build, else as in `frames.outcome_frame`."""
        from nixhive_nb.frames import build_frame, outcome_frame  # noqa: PLC0415 - see above

        return build_frame(self) if self.plan.verb == "build" else outcome_frame(self)

    def timings(self) -> pd.DataFrame:
        """Return when each step ran that was begun; columns as in `frames.timings_frame`."""
        from nixhive_nb.frames import timings_frame  # noqa: PLC0415 - see above

        return timings_frame(self)

    def timeline(self) -> Timeline:
        """Return a static picture of what ran when, for each system, store and instance."""
        from nixhive_nb.view.timeline import Timeline  # noqa: PLC0415 - see above

        return Timeline.of(self)

    def raise_if_failed(self) -> Self:
        """Return it when every instance (of a build: every system) is as it is wanted. Raises `RunFailed` else."""
        from nixhive_nb.view.report import failure_text  # noqa: PLC0415 - see above

        if not self.ok:
            raise RunFailed(failure_text(self), self)
        return self

    def __str__(self) -> str:
        from nixhive_nb.view.report import report_text  # noqa: PLC0415 - see above

        return strip_control(report_text(self))

    def __repr__(self) -> str:
        from nixhive_nb.view.report import headline  # noqa: PLC0415 - see above

        return f"Report({' '.join(filter(None, [self.plan.verb, self.run]))}: {strip_control(headline(self))})"

    def _repr_html_(self) -> str:
        from nixhive_nb.view.record import record_html  # noqa: PLC0415 - see above

        return record_html(self)

    def _repr_pretty_(self, printer: _Printer, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's protocol
        from nixhive_nb.view.record import ROWS  # noqa: PLC0415 - see above
        from nixhive_nb.view.report import report_text  # noqa: PLC0415 - see above

        # A notebook keeps this, whatever the size of the run.
        printer.text(strip_control(report_text(self, most=ROWS)))

    def _subjects(self) -> Iterable[InstanceRecord | SystemRecord]:
        return self.systems() if self.plan.verb == "build" else self.instances()

    def _system(self, name: str, record: StepRecord) -> SystemRecord:
        result = record.result or Result()
        there = dict.fromkeys(one.result.how for one in self._built_there(name) if one.result)
        return SystemRecord(
            system=name,
            outcome=record.outcome,
            reason=record.reason,
            result=result.path,
            derivation=result.derivation,
            how=", ".join(there) or result.how,
            size=result.size,
            seconds=self._build_seconds(name),
            log=record.log,
            log_file=self._log_file(record),
        )

    def _built_there(self, system: str) -> list[StepRecord]:
        """Return how the builds of a system on other machines went."""
        return self._builds_there.get(system, [])

    @cached_property
    def _builds_there(self) -> dict[str, list[StepRecord]]:
        found: dict[str, list[StepRecord]] = {}
        for step in self.plan.steps:
            if step.kind == "build" and step.store:
                found.setdefault(step.system, []).append(self.steps[step.id])
        return found

    def _build_seconds(self, system: str) -> float | None:
        """Return the seconds from the start of the build to the verdict on a system."""
        build, register = self.record_of("build"), self.record_of("register", system)
        if register is None or register.ended is None:
            return None
        start = build.started if build is not None and build.started is not None else register.started
        return None if start is None else max(0.0, register.ended - start)

    def _instance(self, target: Target, own: Sequence[StepRecord], build: float | None) -> InstanceRecord:
        last = _deciding(own)
        root = self.steps[last.cause] if last and last.cause else last
        outcome = _outcome(own)
        bad = outcome not in (*GOOD, None)
        by_kind = {record.kind: record for record in own}
        fetch, activate, seen = by_kind.get("fetch"), by_kind.get("activate"), by_kind.get("probe")
        moved = (fetch and fetch.result) or (seen and seen.result) or Result()
        results = [record.result for record in own if record.result]
        return InstanceRecord(
            instance=target.instance,
            system=target.system,
            wave=target.wave,
            batch=target.batch,
            outcome=outcome,
            failed_step=stage(root.kind) if root and bad else "",
            reason=_reason(last, root),
            path=moved.path or next((result.path for result in results if result.path), ""),
            previous=next((result.previous for result in results if result.previous), ""),
            how=moved.how,
            sent=moved.sent,
            build=build,
            transfer=fetch.seconds if fetch else None,
            activate=activate.seconds if activate else None,
            checks=next((result.checks for result in reversed(results) if result.checks), ()),
            reboot=next((result.reboot for result in reversed(results) if result.reboot is not None), None),
            log=root.log if root else (),
            log_file=self._log_file(root),
        )

    def _log_file(self, record: StepRecord | None) -> str:
        return str(log_file(Path(self.journal), record.instance)) if record and self.journal else ""


def _as_evaluated(wanted: Wanted) -> SystemRecord:
    """Return what is told of a system that nobody needed, since all of its instances run it: it was not built."""
    return SystemRecord(
        system=wanted.system, outcome="unchanged", result=wanted.path, derivation=wanted.derivation, how="in use"
    )


class _Printer(Protocol):
    def text(self, text: str) -> None: ...


def _outcome(own: Sequence[StepRecord]) -> Outcome | None:
    """Return how an instance ends: the worst that befell it. Where all is well, what changes it decides."""
    outcomes = {record.outcome for record in own}
    worst = None if outcomes <= _ALL_WELL else next((one for one in WORST_FIRST if one in outcomes), None)
    if worst or None in outcomes:
        return worst
    changing = [record.outcome for record in own if record.kind in CHANGING] or [record.outcome for record in own]
    return next((outcome for outcome in ("warned", "done") if outcome in changing), "unchanged")


def _deciding(own: Sequence[StepRecord]) -> StepRecord | None:
    """Get the step that tells most of how an instance ended: the first of the worst, else the last with a warning."""
    bad = [record for record in own if record.outcome in WORST_FIRST]
    if bad:
        return min(bad, key=lambda record: WORST_FIRST.index(record.outcome))
    said = [record for record in own if record.kind != "fetch" and record.reason]
    return said[-1] if said else (own[-1] if own else None)


def _reason(last: StepRecord | None, root: StepRecord | None) -> str:
    if last is None or root is None:
        return ""
    return last.reason if root is last else f"{root.step} {root.outcome}: {root.reason}"


def _settled(steps: dict[str, StepRecord]) -> dict[str, StepRecord]:
    """Return the steps without the warnings that a reboot has ended: it proved that the host runs the system."""
    rebooted = {one.instance for one in steps.values() if one.kind == "reboot" and one.outcome in ("done", "warned")}
    ended = {
        name: _without_warning(one, one.result)
        for name, one in steps.items()
        if one.kind == "activate" and one.result and one.result.until_reboot and one.instance in rebooted
    }
    return steps | ended


def _without_warning(record: StepRecord, result: Result) -> StepRecord:
    rest = "; ".join(part for part in result.warning.split("; ") if part != result.until_reboot)
    plain = msgspec.structs.replace(result, outcome="done", warning=rest, until_reboot="")
    return msgspec.structs.replace(record, outcome="done", reason=rest, result=plain)


class _Open:
    """What is known by now of one step."""

    __slots__ = ("end", "expected", "log", "moved", "started", "step")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.started: float | None = None
        self.moved = self.expected = 0
        self.end: StepEnded | None = None
        self.log: deque[str] | None = None
        """None while it has said nothing, as most do: an empty one takes 760 bytes."""

    def said(self, text: str) -> None:
        if self.log is None:
            self.log = deque(maxlen=LOG_LINES)
        self.log.append(text)

    def record(self) -> StepRecord:
        step, end = self.step, self.end
        log = tuple(self.log) if self.log else ()
        if end is None:
            return StepRecord(
                step=step.id,
                kind=step.kind,
                subject=step.subject,
                instance=step.instance,
                started=self.started,
                moved=self.moved,
                expected=self.expected,
                log=log,
            )
        return StepRecord(
            step=step.id,
            kind=step.kind,
            subject=step.subject,
            instance=step.instance,
            outcome=end.outcome,
            reason=end.reason,
            cause=end.cause,
            started=self.started,
            ended=end.time,
            moved=self.moved,
            expected=self.expected,
            result=end.result,
            log=log,
        )


class Tally:
    """Adds up the events of a run. One thread adds; any thread may ask for the report."""

    def __init__(
        self, plan: Plan, started: float | None = None, *, clock: Callable[[], float] | None = None, journal: str = ""
    ) -> None:
        """Begin with nothing done, now or when the run started; `journal` is the path of its journal, if any.

        `clock` is that of a run in progress: it tells how late it is by now.
        """
        self._plan = plan
        self._journal = journal
        self._steps = {step.id: _Open(step) for step in plan.steps}
        self._clock = clock
        self._started = started if started is not None else (clock or time.time)()
        self._last = self._started

    def add(self, event: Event) -> None:
        """Take one event in."""
        self._last = max(self._last, event.time)
        if isinstance(event, Stopping):
            return
        step = self._steps[event.step]
        match event:
            case StepStarted():
                step.started = event.time
            case StepProgress():
                step.moved, step.expected = event.done, event.expected
            case StepLine():
                step.said(event.text)
            case StepEnded():
                step.end = event

    def report(self) -> Report:
        """Return what is known by now."""
        steps = _settled({name: step.record() for name, step in self._steps.items()})
        goes_on = any(step.outcome is None for step in steps.values())
        ended = max(self._last, self._clock()) if self._clock and goes_on else self._last
        return Report(plan=self._plan, started=self._started, ended=ended, steps=steps, journal=self._journal)
