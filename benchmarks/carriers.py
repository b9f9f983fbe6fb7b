"""The two carriers of commands beside each other and beside a bare `ssh -S`: `python benchmarks/carriers.py`, as root.

Warm: one command after another on one host. Cold: logins on 32 hosts, each with a command. Ways take turns; what is
printed are medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.setting import fleet_of, quietly  # noqa: E402 - this file is run by its path
from nixhive_nb import Hive, Limits  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Fleet


def _taken(work: Callable[[], object], times: int) -> float:
    """Return the seconds of one of so many times."""
    begun = time.monotonic()
    for _ in range(times):
        work()
    return (time.monotonic() - begun) / times


def _hive(fleet: Fleet, carrier: str, hosts: int) -> Hive:
    limits = Limits(carrier=carrier, parallel=hosts)  # type: ignore[arg-type] # one of the two
    return Hive.load(fleet.example, state=fleet.folder / ".hive.state", limits=limits)


def warm(fleet: Fleet, rounds: int, times: int) -> dict[str, float]:
    """Return the milliseconds of `true` on a host that is logged in to, by each way."""
    host = fleet.web[0]
    hives = {carrier: _hive(fleet, carrier, 1) for carrier in ("fabric", "openssh")}
    bare = ["ssh", "-F", str(fleet.master_config), host, "true"]
    quietly(bare, fleet.folder)  # the master stays
    ways: dict[str, Callable[[], object]] = {
        carrier: lambda connections=hive._work.connections: connections.run(host, "true")  # type: ignore[misc] # noqa: SLF001 - a command alone, without tables
        for carrier, hive in hives.items()
    }
    ways["ssh -S"] = lambda: subprocess.run(bare, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(_taken(way, times))
    for hive in hives.values():
        hive.close()
    return {name: 1000 * statistics.median(one) for name, one in found.items()}


def cold(fleet: Fleet, rounds: int) -> dict[str, float]:
    """Return the seconds in which all web servers are logged in to and have run `true`, by each carrier."""
    found: dict[str, list[float]] = {"fabric": [], "openssh": []}
    for _ in range(rounds):
        for carrier, seconds in found.items():
            hive = _hive(fleet, carrier, len(fleet.web))
            seconds.append(_taken(lambda hive=hive: hive.run("web", "true"), 1))  # type: ignore[misc] # it is called at once
            hive.close()
    return {carrier: statistics.median(seconds) for carrier, seconds in found.items()}


def main() -> None:
    """Measure, and print the rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=100)
    asked = parser.parse_args()
    with fleet_of(asked.hosts) as fleet:
        for name, took in warm(fleet, asked.rounds, asked.times).items():
            print(f"| a warm command, {name} | {took:.1f} ms |")
        for name, took in cold(fleet, asked.rounds).items():
            print(f"| logins on {asked.hosts} hosts, {name} | {took:.2f} s |")


if __name__ == "__main__":
    main()
