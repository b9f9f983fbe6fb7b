"""What a deploy to 10,000 instances by way of Dask's workers costs: four of them, two, and one process without Dask.

    .venv/bin/python -m benchmarks.afar [-n INSTANCES] [-r ROUNDS] [--parallel N] [--write] [WAY …]

A scheduler, its workers and the operator are processes of their own on this machine, and speak over loopback. Real are
the deployment and its evaluation, the survey, the planner, the engine, the words to hosts and the reading of answers,
Dask and all that goes over it, the journal; the systems are built, signed and copied into a store a worker by Nix.
Not there are the hosts: a worker answers for them (`benchmarks/answering.py`), after a time that passes, in place of
ssh. In one process the operator's own process answers, in the same way and the same time. So what is told is what it
costs to carry commands to workers, and nothing of what a worker saves: logins, and the ciphers of ssh.

Ways take turns, and figures are medians of rounds.
"""

# ruff: noqa: PLC0415 - each process imports what it measures, and no more: memory is measured, too

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from benchmarks.answering import AnsweringHosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nixhive_nb import Hive
    from nixhive_nb.run.engine import Run

ROOT = Path(__file__).resolve().parent.parent
ZONES = 4
SYSTEMS = 2
WAYS = {"four": 4, "two": 2, "one process": 0}
"""How many workers each way has."""
LATENCY, SWITCH = 0.02, 0.5
"""Seconds that a host takes for a command, and for a switch."""
MEGA = 1e6
ROWS = {
    "survey": ("survey and plan", "s"),
    "deploy": ("run", "s"),
    "events": ("events of the run", ""),
    "rate": ("events a second of the run", ""),
    "commands": ("commands to hosts, in all", ""),
    "operator": ("processor of the operator's process", "s"),
    "others": ("of the scheduler and all workers", "s"),
    "memory": ("memory of the operator's process at the peak", "MB"),
    "scheduler": ("of the scheduler", "MB"),
    "worker": ("of the largest worker", "MB"),
}


# The deployment


def written(folder: Path, count: int, name: str = "hive.nix") -> Path:
    """Write a deployment: a store for each zone, and instances that read from it and have its tag."""
    import nixhive_nb.lab

    nixpkgs = Path(nixhive_nb.lab.__file__).parent / "nixpkgs"
    key = folder / "signing.secret"
    if not key.exists():
        words = ["nix-store", "--generate-binary-cache-key", "afar-1", str(key), f"{key}.public"]
        subprocess.run(words, check=True, capture_output=True)
    (folder / name).write_text(f"""
let
  each = count: make: builtins.listToAttrs (builtins.genList make count);
  zone = number: toString (number - number / {ZONES} * {ZONES});
in
{{
  paths.nixpkgs = {nixpkgs};
  signing.keyFile = "{key}";
  systems = each {SYSTEMS} (number: {{
    name = "system-${{toString number}}";
    value.configuration = {{ ... }}: {{ environment.etc.own.text = toString number; }};
  }});
  instances = each {count} (number: {{
    name = "www-${{toString number}}";
    value = {{
      system = "system-${{toString (number - number / {SYSTEMS} * {SYSTEMS})}}";
      store = "file://{folder}/zone-${{zone number}}?compression=none";
      tags = [ "zone-${{zone number}}" ];
      ssh = {{ Hostname = "10.${{toString (number / 65536)}}.${{toString (number / 256)}}.1"; User = "root"; }};
    }};
  }});
}}
""")
    return folder / name


# The processes


def operate(deployment: Path, count: int, address: str, parallel: int, *, outcome: str = "done") -> dict[str, float]:
    """Deploy to all, by the workers of a scheduler or without, and see how each ends; return what it took."""
    from nixhive_nb import Hive, Limits
    from nixhive_nb.view.report import failure_text

    limits = Limits(parallel=parallel, per_jump=parallel, per_store=parallel)
    state = {"state": deployment.parent / "state", "state_dir": deployment.parent / "state-dir"}
    hive = Hive.load(deployment, limits=limits, on=address or None, **state)
    hosts = None if address else answering(hive)
    began = time.perf_counter()
    plan = hive.plan("deploy", "*")
    planned = time.perf_counter()
    events = 0

    def count_event(_: object) -> None:
        nonlocal events
        events += 1

    @contextlib.contextmanager
    def follow(run: Run) -> Iterator[None]:
        run.record(count_event)
        yield

    report = hive.execute(plan, follow=follow)
    ended = time.perf_counter()
    assert report.counts() == {outcome: count}, failure_text(report)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "survey": planned - began,
        "deploy": ended - planned,
        "events": events,
        "rate": events / (ended - planned),
        "commands": hosts.commands if hosts else 0,
        "operator": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss * 1024 / MEGA,
    }


def answering(hive: Hive) -> AnsweringHosts:
    """Have hosts answer in this process, where a worker would be asked."""
    import dataclasses

    from nixhive_nb.workspace import Workspace

    hosts = AnsweringHosts(latency=LATENCY, activation=SWITCH)
    Workspace._far = lambda _: hosts  # type: ignore[assignment, method-assign, return-value]  # noqa: SLF001
    hive._work = dataclasses.replace(hive._work, cluster=object())  # type: ignore[arg-type]  # noqa: SLF001
    return hosts


def serve(address: str, name: str, places: Sequence[str]) -> None:
    """Be a worker that answers for its hosts, until it is ended."""
    from nixhive_nb.workers import serving
    from nixhive_nb.workers.worker import work

    hosts = AnsweringHosts(latency=LATENCY, activation=SWITCH)

    def hosts_of(operator: str, _: object) -> SimpleNamespace:
        # They outlive the connections to them.
        return SimpleNamespace(operator=operator, links=hosts, close=lambda: None)

    serving._OperatorsHosts = hosts_of  # type: ignore[assignment, misc]  # noqa: SLF001 - in place of ssh
    work(address, name=name, places=places, tls=None, tell=lambda line: print(line, flush=True))


def schedule() -> None:
    """Be a scheduler, until it is ended."""
    from distributed import Scheduler

    async def run() -> None:
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            print(scheduler.address, flush=True)
            await scheduler.finished()

    asyncio.run(run())


class Processes:
    """A scheduler and its workers, by name."""

    def __init__(self, workers: int) -> None:
        """Start them, and wait until they are ready."""
        self.started: dict[str, subprocess.Popen[str]] = {}
        self.address = ""
        try:
            if workers:
                self._start(workers)
        except BaseException:
            self.close()
            raise

    def _start(self, workers: int) -> None:
        self.address = self._begun("scheduler", "--schedule")
        for number in range(workers):
            places = [f"zone-{zone}" for zone in range(ZONES) if zone % workers == number]
            self._begun(f"worker-{number}", "--serve", self.address, f"worker-{number}", *places, until=" is ready")

    def _begun(self, name: str, *words: str, until: str = "") -> str:
        one = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.afar", *words],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        self.started[name] = one
        assert one.stdout is not None
        line = next((line for line in one.stdout if until in line), None)
        assert line is not None, f"{name} has ended"
        # What it says later fills no pipe.
        threading.Thread(target=lambda: [None for _ in one.stdout or ()], daemon=True).start()
        return line.strip()

    def figures(self) -> dict[str, float]:
        """Return the memory that they had at most, and what processors spent on them."""
        memory = {name: _peak(one.pid) for name, one in self.started.items()}
        workers = [value for name, value in memory.items() if name != "scheduler"]
        return {
            "others": sum(_processor(one.pid) for one in self.started.values()),
            "scheduler": memory.get("scheduler", 0.0),
            "worker": max(workers, default=0.0),
        }

    def close(self) -> None:
        """End them."""
        for one in reversed(self.started.values()):
            one.terminate()
        for one in self.started.values():
            one.wait()


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / MEGA


def _processor(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# What is told


def once(way: str, count: int, parallel: int, deployment: Path) -> dict[str, float]:
    """Do it once, in processes of its own."""
    with contextlib.closing(Processes(WAYS[way])) as processes:
        command = [sys.executable, "-m", "benchmarks.afar", "--operate", str(deployment), processes.address]
        command += ["-n", str(count), "--parallel", str(parallel)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
        return {**found, **processes.figures()}


def table_of(tries: Mapping[str, Sequence[Mapping[str, float]]], count: int) -> str:
    """Return the medians as a table of Markdown, with ratios to one process, or else to the last way."""
    from benchmarks.written import amount

    base = "one process" if "one process" in tries else list(tries)[-1]
    others = [way for way in tries if way != base]
    titles = [f"{count:,} instances", *tries, *(f"{way} / {base}" for way in others)]
    lines = [f"| {' | '.join(titles)} |", f"| {' | '.join(['---'] * len(titles))} |"]
    for name, (what, unit) in ROWS.items():
        middles = {way: statistics.median(one[name] for one in found) for way, found in tries.items()}
        cells = [f"{amount(value)} {unit}".rstrip() if value else "–" for value in middles.values()]
        for way in others:
            pairs = [(one[name], other[name]) for one, other in zip(tries[way], tries[base], strict=True)]
            cells.append(f"{statistics.median(a / b for a, b in pairs):.2f}" if all(a and b for a, b in pairs) else "–")
        lines.append(f"| {' | '.join([what, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=10_000, help="instances (10000)")
    parser.add_argument("-r", type=int, default=3, help="rounds (3)")
    parser.add_argument("--parallel", type=int, default=1000, help="hosts at once (1000)")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("--operate", nargs=2, metavar=("DEPLOYMENT", "ADDRESS"), help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--schedule", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}; all of them by default")
    words = parser.parse_args()
    if words.operate:
        print(json.dumps(operate(Path(words.operate[0]), words.n, words.operate[1], words.parallel)))
    elif words.serve:
        serve(*words.serve[:2], words.serve[2:])
    elif words.schedule:
        schedule()
    else:
        compare(words)


def compare(words: argparse.Namespace) -> None:
    """Measure the ways in turns."""
    from benchmarks.written import measured_by, write

    # Whoever ends us ends the workers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    before = os.getloadavg()[0]
    ways = words.ways or [*WAYS]
    tries: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="hive-afar-") as place:
        # What each way finds: systems that are built, and that the stores have.
        once("one process", ZONES * SYSTEMS, words.parallel, written(Path(place), ZONES * SYSTEMS, "few.nix"))
        deployment = written(Path(place), words.n)
        for _ in range(words.r):
            for way in ways:
                tries[way].append(once(way, words.n, words.parallel, deployment))
    table = table_of(tries, words.n)
    print(table)
    if words.write:
        write("afar", f"{_HEAD}{measured_by('afar', words.r, before)}\n\n{table}\n")


_HEAD = f"""\
## By workers of Dask

A deploy to all instances by way of workers on this machine, and the same in one process without Dask. The hosts are not
there: a worker answers for them, {LATENCY:g} s after each command and {SWITCH:g} s after a switch, in place of ssh; in
one process that answers itself. All else is real: the evaluation, the survey, planner, engine, the words to hosts, Dask
over loopback, the journal. So it tells what it costs to carry commands to workers, and nothing of what workers take off
the operator: logins and ciphers, some 30 ms of a processor for a host's first deploy (see `first-100`).

"""


if __name__ == "__main__":
    main()
