"""The harness of all benchmarks: ways to do one work, in turns, in one run; seconds, processor time, medians, ratios.

A `Row` is one work. It makes ways to do it, ours and those of others, on a fleet that is up. Each round does each of
them once, beginning with another one each time, so that what else the machine does falls on all alike. Processor time
is told beside the time on the wall: *here* is that of this process and the programs it waited for, *all* that of
everything in this namespace, the practice hosts too.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Setting

Sense = Literal["faster", "times", "least"]
"""Whether a ratio is how many times as fast ours is, or how many times its time; or it is a value, wanted small."""
_TICKS = os.sysconf("SC_CLK_TCK")
_OWN_TIMES = slice(11, 15)
"""Of the words after the name in /proc/PID/stat: user, system, and both of children that were waited for."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one try: the hosts that failed, and the value, where it is not the time that counts."""

    failed: tuple[str, ...] = ()
    value: float | None = None


class Way(NamedTuple):
    """One way to do the work. `hosts` is on how many it does it: ratios are of the time a host.

    `before` is done before each try and is not measured.
    """

    name: str
    work: Callable[[], Outcome | None]
    hosts: int
    before: Callable[[], object] = lambda: None


class Line(NamedTuple):
    """A line of the table: one way against another. `before` is what was measured before issue 14."""

    ours: str
    base: str
    sense: Sense
    bound: float
    before: str
    unit: str = "×"


class Row(NamedTuple):
    """One work: what makes its ways, and the lines of the table that are read off them. `limit` is what limits ours."""

    name: str
    work: str
    lines: tuple[Line, ...]
    limit: str
    ways: Callable[[Setting], list[Way]]
    hosts: int = 0
    rounds: int = 3


class Try(msgspec.Struct, frozen=True):
    """One try as it was measured: seconds on the wall and of processors, and what came of it."""

    seconds: float
    here: float
    everywhere: float | None
    failed: tuple[str, ...] = ()
    value: float | None = None


class Tried(msgspec.Struct, frozen=True):
    """All tries of one way, a round each. `error` says why there are none."""

    hosts: int
    tries: tuple[Try, ...]
    error: str = ""


class Measured(msgspec.Struct, frozen=True):
    """A row as it was measured: what `build/benchmarks/ROW.json` holds."""

    row: str
    hosts: int
    date: str
    load: tuple[float, float]
    command: str
    commit: str
    ways: dict[str, Tried]
    missing: dict[str, str] = {}


def measured(ways: list[Way], rounds: int, say: Callable[[str], None]) -> dict[str, Tried]:
    """Try each way once a round, in turns. One that breaks is tried no more, and its error is kept."""
    found: dict[str, list[Try]] = {way.name: [] for way in ways}
    broken: dict[str, str] = {}
    for number in range(rounds):
        at = number % len(ways)
        for way in (*ways[at:], *ways[:at]):
            if way.name in broken:
                continue
            try:
                found[way.name].append(one := tried(way))
            except Exception as error:  # noqa: BLE001 - a row never fails silently: it is told in the table
                broken[way.name] = words_of(error)
                say(f"  {way.name}: {broken[way.name]}")
            else:
                failed = f", failed on {len(one.failed)}: {' '.join(one.failed[:5])}" if one.failed else ""
                value = f", {one.value:.4g}" if one.value is not None else ""
                say(f"  {way.name}: {one.seconds:.2f} s{value}{failed}")
    return {way.name: Tried(way.hosts, tuple(found[way.name]), broken.get(way.name, "")) for way in ways}


def tried(way: Way) -> Try:
    """Try a way once."""
    way.before()
    here, everywhere, began = processor_seconds(), world_seconds(), time.perf_counter()
    came = way.work() or Outcome()
    took = time.perf_counter() - began
    now = world_seconds()
    all_of_it = None if now is None or everywhere is None else now - everywhere
    return Try(took, processor_seconds() - here, all_of_it, came.failed, came.value)


def words_of(error: Exception) -> str:
    """Return what an error says, in a line; of a program the last that it said."""
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr or ""
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
        return f"{Path(error.cmd[0]).name} ended with {error.returncode}: {last.strip()[:200]}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def processor_seconds() -> float:
    """Return what processors have spent on this process so far, and on programs that it has waited for."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def world_seconds() -> float | None:
    """Return what processors have spent on all that is in this namespace; None where it is not one of our own.

    What has ended is counted by whoever waited for it.
    """
    if not os.environ.get("NIXHIVE_APART"):
        return None
    ticks = 0
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = process.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        ticks += sum(int(word) for word in words[_OWN_TIMES])
    return ticks / _TICKS


def ratio(row: Measured, line: Line) -> float | None:
    """Return the median of a line's ratios, of each round and a host; or of its values. None where there is none."""
    ours = row.ways.get(line.ours)
    if ours is None or not ours.tries:
        return None
    if line.sense == "least":
        values = [one.value for one in ours.tries if one.value is not None]
        return statistics.median(values) if values else None
    base = row.ways.get(line.base)
    if base is None or not base.tries:
        return None
    pairs = zip(ours.tries, base.tries, strict=False)
    found = [(one.seconds / ours.hosts) / (other.seconds / base.hosts) for one, other in pairs]
    return statistics.median(1 / one for one in found) if line.sense == "faster" else statistics.median(found)


def is_reached(line: Line, value: float) -> bool:
    """Whether a value is as good as is wanted."""
    return value >= line.bound if line.sense == "faster" else value <= line.bound


def nothing_failed(row: Measured, line: Line) -> bool:
    """Whether neither side of a line failed on any host: only then are their times those of the same work."""
    sides = [row.ways[name] for name in (line.ours, line.base) if name in row.ways]
    return not any(one.failed for side in sides for one in side.tries)
