"""What the timeline of a run holds: a lane for each system, store and instance, with what was done there from when on.

A run of any size becomes a picture of a few screens: of many lanes, those that tell most are shown.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

import msgspec

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.plan.events import BAD, GOOD, Outcome
from nixhive_nb.plan.relays import reads_from
from nixhive_nb.plan.step import stage
from nixhive_nb.run.timings import Timing, timings_of
from nixhive_nb.util.text import count_text, seconds_text, size_text
from nixhive_nb.view.report import details, headline, outcome_text
from nixhive_nb.view.words import OUTCOMES, STEPS, Shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from nixhive_nb.plan.step import Step
    from nixhive_nb.run.report import InstanceRecord, Report

INSTANCES = 30
"""How many instances have a lane, of all waves together."""
OTHERS = 8
"""How many systems, and how many stores."""
WAVES = 20
"""Not more than `INSTANCES`: each has a lane."""
_SYSTEM = ("instantiate", "register", "sign")
_PLACE = ("send", "build", "sign")
_SHORT, _LEAST = 0.01, 0.1
"""Which part of the whole time a wait must have been to be shown, and how many seconds."""
_REASON = 120


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went on from `start` to `end`, in seconds from the start of the run."""

    kind: Shown
    start: float
    end: float
    outcome: Outcome | None = "done"
    """None for what has no end."""
    about: str = ""
    """In words: what, when, how much, and why it failed."""

    @property
    def is_bad(self) -> bool:
        """Whether it failed."""
        return self.outcome in BAD


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for one system, store or instance."""

    name: str
    outcome: Outcome | None
    ended: str
    """How that ended, with its symbol."""
    spans: tuple[Span, ...]

    @property
    def words(self) -> str:
        """What was done and how long it took: `fetch 3.0 s, activate 2.2 s`."""
        return ", ".join(
            f"{STEPS[span.kind].name} {seconds_text(span.end - span.start)}"
            + ("" if span.outcome in GOOD else f" {OUTCOMES[span.outcome].symbol}")
            for span in self.spans
        )

    @property
    def busy(self) -> float:
        """For how many seconds something was done."""
        return sum(span.end - span.start for span in self.spans if span.kind != "wait")

    @property
    def ends(self) -> tuple[float, float] | None:
        """From when to when something went on; None where nothing did."""
        spans = self.spans
        return (min(span.start for span in spans), max(span.end for span in spans)) if spans else None


class LaneGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The lanes of a wave, of all systems, or of all stores."""

    title: str
    note: str
    """How many lanes there are, and how many of them are shown."""
    span: tuple[float, float] | None
    """From when to when something went on in any of them."""
    lanes: tuple[Lane, ...]


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    """All that a timeline shows."""

    title: str
    facts: str
    is_ok: bool
    seconds: float
    groups: tuple[LaneGroup, ...]
    rest: str = ""
    """What is not shown."""


_Shown = TypeVar("_Shown", "Lane", "_Entry")


def lanes_of(report: Report) -> Lanes:
    """Return what ran when. `seconds` is at least 0.1."""
    timings = timings_of(report)
    seconds = max(report.seconds, 0.1, *(timing.end or 0.0 for timing in timings))
    systems = _group("systems", _system_lanes(report, timings, seconds), OTHERS)
    builds = _group("remote builds", _place_lanes(report, timings, seconds), OTHERS)
    stores = _group("stores", _store_lanes(report, timings, seconds), OTHERS)
    waves, rest = _waves(report, timings, seconds)
    return Lanes(
        title=headline(report),
        facts=details(report),
        is_ok=report.ok,
        seconds=seconds,
        groups=tuple(group for group in (systems, builds, stores, *waves) if group.lanes or group.note),
        rest=rest,
    )


def _system_lanes(report: Report, timings: Sequence[Timing], seconds: float) -> list[Lane]:
    own: dict[str, list[Timing]] = defaultdict(list)
    elsewhere = _at_places(report)
    built = {system for system, _ in elsewhere.values()}
    for timing in timings:
        if timing.kind in _SYSTEM and timing.step not in elsewhere and not _is_no_build(timing, built):
            for system in timing.systems:
                own[system].append(timing)
    here = {step.id for step in report.plan.steps if step.kind == "build" and not step.store}
    build = next((timing for timing in timings if timing.step in here), None)
    verdicts = {step.system: step for step in report.plan.steps if step.kind == "register"}
    if build is not None:
        own |= {name: _with_build(own[name], verdicts.get(name), build) for name in build.systems}
    names = [name for name in dict.fromkeys([*report.plan.systems, *own]) if own.get(name)]
    outcomes = {record.system: record for record in report.systems()}
    found = []
    for name in names:
        record = outcomes.get(name)
        last = own[name][-1]
        found.append(
            Lane(
                name=name,
                outcome=record.outcome if record else last.outcome,
                ended=outcome_text(record) if record else _outcome_text(last.outcome),
                spans=_spans(own[name], seconds),
            )
        )
    return found


def _is_no_build(timing: Timing, elsewhere: AbstractSet[str]) -> bool:
    """Return whether a verdict says that all is ready to be built elsewhere: nothing was built here."""
    return timing.kind == "register" and timing.outcome in GOOD and not elsewhere.isdisjoint(timing.systems)


def _with_build(own: Sequence[Timing], register: Step | None, build: Timing) -> list[Timing]:
    """Return the steps of a system with the one process that builds all systems as the first part of its verdict."""
    verdict = next((timing for timing in own if timing.kind == "register"), None)
    if register is None or build.step not in (*register.needs, *register.after):
        return [*own]
    whole = verdict or build
    end = None if whole.end is None else max(build.start, whole.end)
    joined = msgspec.structs.replace(
        whole,
        kind="build",
        start=build.start,
        end=end,
        seconds=None if end is None else end - build.start,
        queued=build.queued,
    )
    return sorted([joined, *(one for one in own if one is not verdict)], key=lambda timing: timing.start)


def _at_places(report: Report) -> dict[str, tuple[str, str]]:
    """Return the system and the store of each step by which a place builds for others, by id."""
    return {step.id: (step.system, step.store) for step in report.plan.steps if step.kind in _PLACE and step.store}


def _place_lanes(report: Report, timings: Iterable[Timing], seconds: float) -> list[Lane]:
    """Return a lane for each system at each place that builds it: it was sent there, built and signed."""
    elsewhere = _at_places(report)
    own: dict[tuple[str, str], list[Timing]] = defaultdict(list)
    for timing in timings:
        if timing.step in elsewhere:
            own[elsewhere[timing.step]].append(timing)
    found = []
    for (system, store), steps in own.items():
        told = next((timing for timing in steps if timing.outcome in BAD), steps[-1])
        found.append(
            Lane(
                name=f"{system} on {store_host(store) or store}",
                outcome=told.outcome,
                ended=_outcome_text(told.outcome),
                spans=_spans(steps, seconds),
            )
        )
    return found


def _store_lanes(report: Report, timings: Iterable[Timing], seconds: float) -> list[Lane]:
    """Return a lane for each push, since several go to one store side by side."""
    above = reads_from(report.plan.steps)
    return [
        Lane(
            name=f"{', '.join(timing.systems)} → {_way(timing.subject, above)}",
            outcome=timing.outcome,
            ended=_outcome_text(timing.outcome),
            spans=_spans([timing], seconds),
        )
        for timing in timings
        if timing.kind == "push"
    ]


def _way(store: str, above: Mapping[str, str]) -> str:
    """Return the relays on the way to a store, and the store: `portico → www-1`."""
    way = [store]
    while source := above.get(way[0], ""):
        way.insert(0, source)
    return " → ".join(store_host(one) or one for one in way)


def _waves(report: Report, timings: Iterable[Timing], seconds: float) -> tuple[list[LaneGroup], str]:
    """Return the waves that tell most, and in words the others: those in which something failed, then the first."""
    own: dict[str, list[Timing]] = defaultdict(list)
    pauses: dict[int, list[Timing]] = defaultdict(list)
    for timing in timings:
        if timing.instance:
            own[timing.instance].append(timing)
        elif timing.kind == "pause" and timing.wave is not None:
            pauses[timing.wave].append(timing)
    lanes: dict[int, list[_Entry]] = defaultdict(list)
    for record in report.instances():
        lanes[record.wave].append(_Entry(record, own.get(record.instance, ()), seconds))
    ranked = sorted(lanes, key=lambda wave: (not _failed(lanes[wave]), wave))
    chosen = {wave: lanes[wave] for wave in sorted(ranked[:WAVES])}
    shares = _shares(chosen)
    shown = [_wave(wave, found, shares[wave], pauses[wave], seconds) for wave, found in chosen.items()]
    return shown, _rest_text([lanes[wave] for wave in ranked[WAVES:]])


class _Entry:
    """What may become a lane: of ten thousand instances, thirty do."""

    def __init__(self, record: InstanceRecord, timings: Sequence[Timing], seconds: float) -> None:
        self._record = record
        self._timings = timings
        self._seconds = seconds
        self.outcome = record.outcome
        spans = [span for timing in timings for span in _ends(timing, seconds)]
        self.busy = sum(end - start for kind, start, end in spans if kind != "wait")
        self.ends = (min(start for _, start, _ in spans), max(end for _, _, end in spans)) if spans else None

    def lane(self) -> Lane:
        """Return the lane itself, in words."""
        return Lane(
            name=self._record.instance,
            outcome=self.outcome,
            ended=outcome_text(self._record),
            spans=_spans(self._timings, self._seconds),
        )


def _shares(waves: Mapping[int, Sequence[_Entry]]) -> dict[int, int]:
    """Return how many lanes each wave shows: at least one, then what failed, then the others."""
    first = _fair({wave: max(1, _failed(lanes)) for wave, lanes in waves.items()}, INSTANCES)
    others = {wave: len(lanes) - first[wave] for wave, lanes in waves.items()}
    more = _fair(others, INSTANCES - sum(first.values()))
    return {wave: first[wave] + more[wave] for wave in waves}


def _fair(sizes: Mapping[int, int], places: int) -> dict[int, int]:
    """Get how many of so many places each wave gets: all it wants if that is little, and of the rest each as many."""
    shares: dict[int, int] = {}
    for wave in sorted(sizes, key=lambda wave: (sizes[wave], wave)):
        left = places - sum(shares.values())
        shares[wave] = min(sizes[wave], left // (len(sizes) - len(shares)))
    return shares


def _rest_text(waves: Sequence[Sequence[_Entry]]) -> str:
    if not waves:
        return ""
    bad = sum(1 for lanes in waves if _failed(lanes))
    return f"… and {count_text(len(waves), 'more wave')}" + (f", {bad} of them with failures" if bad else "")


def _wave(wave: int, lanes: Sequence[_Entry], most: int, pauses: Sequence[Timing], seconds: float) -> LaneGroup:
    """Return the group of a wave, with its pauses in a lane of their own."""
    chosen = [entry.lane() for entry in _telling(lanes, most)]
    rests = [Lane(name="pause", outcome="done", ended="", spans=_spans(pauses, seconds))] if pauses else []
    return LaneGroup(
        title=f"wave {wave}", note=_note(lanes, chosen, "instance"), span=_whole(lanes), lanes=(*chosen, *rests)
    )


def _group(title: str, lanes: Sequence[Lane], most: int) -> LaneGroup:
    chosen = _telling(lanes, most)
    note = _note(lanes, chosen, title.removesuffix("s")) if len(chosen) < len(lanes) else ""
    return LaneGroup(title=title, note=note, span=_whole(lanes), lanes=tuple(chosen))


def _telling(lanes: Sequence[_Shown], most: int) -> list[_Shown]:
    """Return the lanes that tell most, in their order: what failed, then what took longest."""
    ranked = sorted(range(len(lanes)), key=lambda at: (lanes[at].outcome not in BAD, -lanes[at].busy, at))
    return [lanes[at] for at in sorted(ranked[:most])]


def _note(lanes: Sequence[Lane] | Sequence[_Entry], chosen: Sequence[Lane], what: str) -> str:
    count = count_text(len(lanes), what)
    if len(chosen) == len(lanes):
        return count
    bad = _failed(lanes)
    if bad > len(chosen):
        return f"{count}, {len(chosen)} shown of {bad} that failed"
    return f"{count}, {len(chosen)} shown: what failed and what took longest"


def _failed(lanes: Iterable[Lane] | Iterable[_Entry]) -> int:
    return sum(1 for lane in lanes if lane.outcome in BAD)


def _whole(lanes: Iterable[Lane] | Iterable[_Entry]) -> tuple[float, float] | None:
    known = [lane.ends for lane in lanes if lane.ends]
    return (min(start for start, _ in known), max(end for _, end in known)) if known else None


def _ends(timing: Timing, seconds: float) -> Iterator[tuple[Shown, float, float]]:
    """Yield from when to when a step waited and ran, as far as that is shown."""
    if timing.queued is not None and timing.queued > max(seconds * _SHORT, _LEAST):
        yield "wait", timing.start - timing.queued, timing.start
    kind = stage(timing.kind)
    if STEPS[kind].letter:
        yield kind, timing.start, seconds if timing.end is None else timing.end


def _spans(timings: Iterable[Timing], seconds: float) -> tuple[Span, ...]:
    return tuple(
        Span(kind=kind, start=start, end=end, about=_when(kind, start, end))
        if kind == "wait"
        else _span(timing, kind, end)
        for timing in timings
        for kind, start, end in _ends(timing, seconds)
    )


def _span(timing: Timing, kind: Shown, end: float) -> Span:
    words = [_when(kind, timing.start, end, timing.outcome)]
    if timing.moved:
        words.append(size_text(timing.moved))
    if timing.reason:
        words.append(timing.reason[:_REASON])
    return Span(kind=kind, start=timing.start, end=end, outcome=timing.outcome, about=", ".join(words))


def _when(kind: Shown, start: float, end: float, outcome: Outcome | None = "done") -> str:
    how = "" if outcome == "done" else f" ({outcome or 'running'})"
    return f"{STEPS[kind].name}{how}: {start:.1f} s to {end:.1f} s"


def _outcome_text(outcome: Outcome | None) -> str:
    return f"{OUTCOMES[outcome].symbol} {outcome or 'running'}"
