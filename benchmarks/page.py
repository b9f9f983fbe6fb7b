"""The page of what was measured: docs/performance.md, composed of the files that rows have left."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import msgspec

from benchmarks.counts import Soaked
from benchmarks.harness import Measured, is_reached, nothing_failed, ratio
from benchmarks.setting import ROOT
from benchmarks.written import sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from benchmarks.harness import Line, Row, Tried

PAGE = ROOT / "docs" / "performance.md"
_WANTED = {"faster": "≥", "times": "≤", "least": "≤"}
_PACKAGES = ("paramiko", "fabric", "pandas", "ipython")
_MANY, _FINE = 100, 10
_COLUMNS = (
    "way",
    "hosts",
    "s, median (least to most)",
    "ms a host",
    "processor ms a host, here",
    "and of all",
    "value",
    "failed",
)
_HEAD = """\
# Performance

<!-- Written by `make bench`: see benchmarks/. -->

How fast we are, beside the other ways to do the same. What stands in a row was measured side by side, in turns, in one
run, on practice hosts that share this machine's processors with the client. So ratios mean something, and seconds
little: hosts with processors of their own take less. A ratio is the median of those of each round, of the time a host.

`sudo make bench` measures all rows and writes this page; `sudo make bench ROWS='redeploy status' HOSTS=32 ROUNDS=3`
measures some, with fewer hosts: the more there are, the better most ratios get, since what is done once is shared.
*Before* is what was measured on 2026-11-27 with as many hosts as a row has by default: 100, and 32 for the activation
and one of the first deploys.

The others: *reference* is the way of Nix-Hive, one `ssh` process a step, strictly one host after another; *xargs* is a
shell loop with so many `ssh` at once, which share a kept link to the jump host; *masters* are control masters of
OpenSSH, one for each host; *bare paramiko* keeps a connection to each host, and has 32 threads; *clush*, *ansible* and
*pyinfra* are those programs, at their fastest. No other way here tries a new system before it stays, or goes back by
itself.

"""


def write(rows: Iterable[Row], folder: Path, file: Path = PAGE) -> None:
    """Write the page of the files in a folder."""
    found = {row.name: read(folder / f"{row.name}.json") for row in rows}
    soaked = folder / "soak.json"
    last = msgspec.json.decode(soaked.read_bytes(), type=Soaked) if soaked.exists() else None
    measured = {name: one for name, one in found.items() if one is not None}
    others = sections(file.read_text(encoding="utf-8")) if file.exists() else ""
    file.write_text(text(list(rows), measured) + others + soak(last))


def read(file: Path) -> Measured | None:
    """Read a row that was measured; None where it was not."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Measured)
    except FileNotFoundError:
        return None


def text(rows: list[Row], found: dict[str, Measured]) -> str:
    """Return the page."""
    parts = [_HEAD, machine(), "\n\n## The table\n\n"]
    parts += ["| work | ours | against | hosts | before | now | wanted | reached |\n", "| --- " * 8 + "|\n"]
    parts += [line_of(row, line, found.get(row.name)) for row in rows for line in row.lines]
    parts += ["\n## Row by row\n"]
    parts += [part for row in rows for part in in_detail(row, found.get(row.name))]
    return "".join(parts)


def soak(last: Soaked | None) -> str:
    """Return what was open before, at the peak and after each stage of a soak."""
    parts = ["\n## Soak\n\n"]
    if last is None:
        return "".join([*parts, "None yet: `make soak`.\n"])
    where = f"{last.hosts} practice hosts in {last.groups} groups behind {last.relays} relays"
    parts.append(
        f"`make soak HOSTS={last.hosts}` on {last.date}, commit {last.commit}: {where}; load average {last.load:.1f}."
    )
    parts += [" Each cell is what the process had before, at the peak, and after.\n\n"]
    parts += ["| stage | s | came of it | threads | descriptors | sockets | programs | MB |\n", "| --- " * 8 + "|\n"]
    for stage in last.stages:
        moments = (stage.before, stage.peak, stage.after)
        each_kind = [
            [one.threads for one in moments],
            [one.descriptors for one in moments],
            [one.sockets for one in moments],
            [one.children for one in moments],
            [round(one.memory / 1e6) for one in moments],
        ]
        cells = [stage.name, f"{stage.seconds:.0f}", stage.said, *(" → ".join(map(str, kind)) for kind in each_kind)]
        parts.append(f"| {' | '.join(cells)} |\n")
    parts += ["\nNot as it should be:\n\n", *(f"- {line}\n" for line in last.broken)] if last.broken else []
    return "".join([*parts, *(() if last.broken else ["\nAll of it was as it should be.\n"])])


def machine() -> str:
    """Return what this machine is, in a sentence."""
    versions = [f"{name} {metadata.version(name)}" for name in _PACKAGES]
    programs = [_first(["nix", "--version"]), _first(["ssh", "-V"])]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    what = [f"{os.cpu_count()} processors", f"{memory:.0f} GiB", f"Linux {platform.release().partition('-')[0]}"]
    return f"The machine: {', '.join([*what, *programs, f'Python {sys.version.split()[0]}', *versions])}."


def _first(argv: list[str]) -> str:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = (ended.stdout or ended.stderr).strip().replace("nix (Nix)", "Nix")
    return re.sub(r"[ ,]+(Debian|OpenSSL).*", "", said).replace("_", " ")


def line_of(row: Row, line: Line, one: Measured | None) -> str:
    """Return a line of the table."""
    value = ratio(one, line) if one else None
    wanted = f"{_WANTED[line.sense]} {amount(line.bound)} {line.unit}"
    now, reached = ("not measured", "–") if value is None else (f"{amount(value)} {line.unit}", verdict(line, value))
    if one is not None and value is None:
        now = "failed"
    if one is not None and value is not None and not nothing_failed(one, line):
        reached = "hosts failed: see below"
    against = {"faster": f"{line.base}: times as fast", "times": f"{line.base}: times its time", "least": "–"}
    hosts = str(one.hosts or "–") if one else "–"
    cells = [row.work, line.ours, against[line.sense], hosts, line.before, now, wanted, reached]
    return f"| {' | '.join(cells)} |\n"


def verdict(line: Line, value: float) -> str:
    """Return whether a value is as good as is wanted."""
    return "yes" if is_reached(line, value) else "no"


def amount(value: float) -> str:
    """Return a number with as many digits as it is worth."""
    return f"{value:,.0f}" if value >= _MANY else f"{value:.1f}" if value >= _FINE else f"{value:.2f}"


def in_detail(row: Row, one: Measured | None) -> Iterator[str]:
    """Return the paragraph of a row: each way, with processor time beside wall time, and who failed."""
    yield f"\n### {row.name}: {row.work}\n\n"
    if one is None:
        yield f"Not measured yet: `make bench ROWS={row.name}`.\n"
        return
    load = " and ".join(f"{part:.1f}" for part in one.load)
    rounds = max((len(way.tries) for way in one.ways.values()), default=0)
    yield f"`{one.command}` on {one.date}, commit {one.commit}, {rounds} rounds; load average {load} before and after."
    yield f"\n\n| {' | '.join(_COLUMNS)} |\n"
    yield "| --- " * 8 + "|\n"
    for name, way in one.ways.items():
        yield f"| {' | '.join(of_way(name, way))} |\n"
    for program, why in one.missing.items():
        yield f"| {program} | – | – | – | – | – | – | left out: {why} |\n"
    yield f"\nWhat limits it: {row.limit}\n"


def of_way(name: str, way: Tried) -> list[str]:
    """Return the cells of one way."""
    if not way.tries:
        return [name, str(way.hosts), *["–"] * 5, f"could not be tried: {cell(way.error)}"]
    seconds = sorted(one.seconds for one in way.tries)
    middle = statistics.median(seconds)
    span = f"{middle:.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})"
    everywhere = [one.everywhere for one in way.tries if one.everywhere is not None]
    values = [one.value for one in way.tries if one.value is not None]
    return [
        name,
        str(way.hosts),
        span,
        each(middle, way),
        each(statistics.median(one.here for one in way.tries), way),
        each(statistics.median(everywhere), way) if everywhere else "–",
        amount(statistics.median(values)) if values else "",
        failures(way),
    ]


def each(seconds: float, way: Tried) -> str:
    """Return milliseconds a host."""
    return amount(1000 * seconds / way.hosts)


def failures(way: Tried) -> str:
    """Return in which tries hosts failed, and how many; and what broke a way for good."""
    failed = [f"{len(one.failed)} of {way.hosts}" for one in way.tries if one.failed]
    parts = [f"{', '.join(failed)} in {len(failed)} of {len(way.tries)} rounds"] if failed else []
    return "; ".join([*parts, *([f"then {cell(way.error)}"] if way.error else [])]) or "none"


def cell(said: str) -> str:
    """Return what a program said as a cell has it, without places of this machine."""
    return re.sub(r"/(tmp|root|work|home|var)/\S+", "…", said).replace("|", "\\|").replace("`", "'")
