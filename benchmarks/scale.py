"""What 10,000 instances cost without a host: load, patterns, plan, engine, results, and `%load_ext`.

    .venv/bin/python benchmarks/scale.py [-r ROUNDS] [-n INSTANCES] [--against TREE] [ROW …]

A deployment of 8 systems and 20 relays, with all other instances behind these. Each figure is the median of rounds, and
each round is a process of its own that does the work once, as a program does. Times are of the processor, which a
machine that does other things changes little; where Nix is waited for, its own are in them. With `--against` another
tree of this repository does the same in turns, and the ratio of both is the median of the ratios of each round.
"""

# ruff: noqa: PLC0415 - each process imports what it measures, and no more: memory is measured, too

from __future__ import annotations

import argparse
import base64
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve()
SYSTEMS, RELAYS, PATTERNS = 8, 20, 1000
MEGA, MILLI = 1e6, 1e3


class Row(NamedTuple):
    """A row of the table: what is measured, in which unit, and what is aimed at."""

    what: str
    unit: str
    goal: str
    measure: Callable[[int, Path], float]


def plan(count: int, _folder: Path) -> float:
    """Return the seconds for the plan of a deploy to all instances, whose targets are known."""
    from nixhive_nb.deployment.targets import select_instances
    from nixhive_nb.plan.plan import Options
    from nixhive_nb.plan.planner import plan_transfer

    inventory = fleet(count)
    targets = select_instances(inventory)
    return timed(lambda: plan_transfer(inventory, targets, "deploy", Options()))


def patterns(count: int, _folder: Path) -> float:
    """Return the seconds to find the instances of 1,000 names."""
    from nixhive_nb.deployment.targets import select_instances

    inventory = fleet(count)
    names = list(inventory.instances)[:: max(1, count // PATTERNS)][:PATTERNS]
    return timed(lambda: select_instances(inventory, names))


def load(count: int, folder: Path) -> float:
    """Return how many times as long loading a deployment takes as Nix needs to evaluate and print it."""
    from nixhive_nb.deployment.load import load as loaded

    hive = written(count, folder)
    ours = timed(lambda: loaded(hive))
    return ours / timed(lambda: evaluated(hive))


def load_own(count: int, folder: Path) -> float:
    """Return the same against Nix with the expression of ours alone, which looks at types as well."""
    from nixhive_nb.deployment.load import load as loaded
    from nixhive_nb.deployment.sources.hive import HiveSource
    from nixhive_nb.deployment.sources.source import Evaluation

    hive = written(count, folder)
    ours = timed(lambda: loaded(hive))
    words = HiveSource(hive, Evaluation())._command(places=False)  # noqa: SLF001
    return ours / timed(lambda: subprocess.run(words, capture_output=True, check=True))


def load_seconds(count: int, folder: Path) -> float:
    """Return the seconds to load a deployment, those of Nix as well."""
    from nixhive_nb.deployment.load import load as loaded

    hive = written(count, folder)
    return timed(lambda: loaded(hive))


def step(count: int, _folder: Path) -> float:
    """Return the seconds for a step of a deploy to simulated instances, 32 at once."""
    took, steps, _ = simulated(count, 32)
    return took / steps


def step_crowded(count: int, _folder: Path) -> float:
    """Return the seconds for a step of a deploy to simulated instances, 1,000 at once."""
    took, steps, _ = simulated(count, 1000)
    return took / steps


def step_alone(count: int, _folder: Path) -> float:
    """Return the seconds for a step where hosts answer at once, and what is left is the engine."""
    from nixhive_nb.plan.events import Result
    from nixhive_nb.run.engine import Run

    class AtOnce:
        async def perform(self, _step: object, _tell: object) -> Result:
            return Result()

    wanted = planned(count)
    run = Run(wanted, AtOnce())
    return timed(lambda: run.start().wait()) / len(wanted.steps)


def memory(count: int, _folder: Path) -> float:
    """Return the bytes that a deploy to simulated instances needs at most, 32 at once, with all that is imported."""
    return simulated(count, 32)[2]


def memory_crowded(count: int, _folder: Path) -> float:
    """Return the same for 1,000 at once."""
    return simulated(count, 1000)[2]


def linear(count: int, _folder: Path) -> float:
    """Return how many times as long a step takes with ten times the instances."""
    few, steps, _ = simulated(count, 32)
    many, more, _ = simulated(10 * count, 32)
    return (many / more) / (few / steps)


def table(count: int, _folder: Path) -> float:
    """Return the seconds for the table of how a deploy ended."""
    report = reported(count)
    return timed(lambda: report.frame)


def timings(count: int, _folder: Path) -> float:
    """Return the seconds for the table of its steps."""
    report = reported(count)
    return timed(report.timings)


def timeline_text(count: int, _folder: Path) -> float:
    """Return the seconds for its timeline as text."""
    report = reported(count)
    return timed(lambda: str(report.timeline()))


def timeline_html(count: int, _folder: Path) -> float:
    """Return the seconds for its timeline as HTML."""
    report = reported(count)
    return timed(lambda: report.timeline()._repr_html_())


def plan_text(count: int, _folder: Path) -> float:
    """Return the seconds for a plan as text."""
    found = planned(count)
    return timed(lambda: str(found))


def digest(count: int, _folder: Path) -> float:
    """Return the seconds for the digest of a plan."""
    found = planned(count)
    return timed(lambda: found.digest)


def ssh_config(count: int, folder: Path) -> float:
    """Return the seconds for what OpenSSH gets to read."""
    from nixhive_nb.ssh.config import write_ssh_files

    inventory = fleet(count)
    return timed(lambda: write_ssh_files(inventory, folder / "ssh"))


def extension(_count: int, _folder: Path) -> float:
    """Return the seconds for `%load_ext nixhive_nb` where IPython and pandas are imported."""
    import IPython
    import pandas as pd

    shell = IPython.core.interactiveshell.InteractiveShell.instance()
    assert pd.__version__
    return timed(lambda: shell.run_line_magic("load_ext", "nixhive_nb"))


ROWS = {
    "plan": Row("plan of a deploy", "s", "< 0.15", plan),
    "patterns": Row("1,000 names as patterns", "s", "< 0.1", patterns),
    "load": Row("load, against `nix-instantiate` of the same", "x", "≤ 1.2", load),
    "load_own": Row("load, against Nix with the expression of ours", "x", "≤ 1.2", load_own),
    "load_seconds": Row("load, in seconds", "s", "", load_seconds),
    "step": Row("engine: a step, 32 at once", "ms", "< 0.05", step),
    "step_crowded": Row("engine: a step, 1,000 at once", "ms", "< 0.05", step_crowded),
    "step_alone": Row("engine: a step, hosts that answer at once", "ms", "", step_alone),
    "memory": Row("engine: memory, 32 at once", "MB", "< 100", memory),
    "memory_crowded": Row("engine: memory, 1,000 at once", "MB", "< 100", memory_crowded),
    "linear": Row("engine: a step of ten times the instances, against one of these", "x", "≈ 1", linear),
    "table": Row("table of a deploy", "s", "", table),
    "timings": Row("table of its steps", "s", "", timings),
    "timeline_text": Row("timeline as text", "s", "< 1", timeline_text),
    "timeline_html": Row("timeline as HTML", "s", "< 1", timeline_html),
    "plan_text": Row("plan as text", "s", "", plan_text),
    "digest": Row("digest of a plan", "s", "", digest),
    "ssh_config": Row("configuration for OpenSSH", "s", "", ssh_config),
    "extension": Row("`%load_ext` after IPython and pandas", "s", "< 0.05", extension),
}
FACTORS = {"s": 1.0, "x": 1.0, "ms": MILLI, "MB": 1 / MEGA}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-r", type=int, default=5, help="rounds (5)")
    parser.add_argument("-n", type=int, default=10_000, help="instances (10000)")
    parser.add_argument("--against", type=Path, help="another tree of this repository, such as that of an older commit")
    parser.add_argument("--once", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all of them by default")
    words = parser.parse_args()
    if words.once:
        with tempfile.TemporaryDirectory(prefix="hive-bench-") as folder:
            print(json.dumps(ROWS[words.once].measure(words.n, Path(folder))))
        return
    trees = [HERE.parents[1], *([words.against.resolve()] if words.against else [])]
    print(f"{words.n} instances, {words.r} rounds, Python {sys.version.split()[0]}; median, in time of the processor\n")
    print(f"| what | now |{' before | now / before |' if words.against else ''} goal |")
    print(f"| --- | --- |{' --- | --- |' if words.against else ''} --- |")
    for name in words.rows or ROWS:
        row = ROWS[name]
        found = [[once(tree, name, words.n) for tree in trees] for _ in range(words.r)]
        middle = [
            f"{statistics.median(values) * FACTORS[row.unit]:.3g} {row.unit}" for values in zip(*found, strict=True)
        ]
        ratio = [f"{statistics.median(now / before for now, before in found):.2f}"] if words.against else []
        print(f"| {' | '.join([row.what, *middle, *ratio, row.goal])} |", flush=True)


def once(tree: Path, row: str, count: int) -> float:
    """Measure a row once, in a process of its own that imports the package of a tree."""
    command = [sys.executable, str(HERE), "--once", row, "-n", str(count)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(ended.stdout.splitlines()[-1]))


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that processors spend on a piece of work, programs that it waits for included."""
    gc.collect()
    before = processor_seconds()
    work()
    return processor_seconds() - before


def processor_seconds() -> float:
    """Return what processors have spent on this process so far, and on programs that it has waited for."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def fleet(count: int):  # noqa: ANN201 - a type of the tree that is measured
    """Return the inventory: systems, relays, and instances behind relays."""
    from nixhive_nb.deployment.inventory import Instance, Inventory, System

    systems = {
        f"system-{number}": System(name=f"system-{number}", platform="x86_64-linux") for number in range(SYSTEMS)
    }
    instances = [
        Instance(
            name=f"relay-{number}",
            system="system-0",
            ssh=(("Hostname", (f"192.0.2.{number}",)),),
            host_keys=(public_key(number),),
        )
        for number in range(RELAYS)
    ]
    instances += [
        Instance(
            name=f"www-{number}",
            system=f"system-{number % SYSTEMS}",
            store=f"ssh://relay-{number % RELAYS}",
            tags=("web", f"rack-{number % 40}"),
            ssh=(
                ("Hostname", (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",)),
                ("Port", ("22",)),
                ("ProxyJump", (f"relay-{number % RELAYS}",)),
                ("User", ("root",)),
            ),
            host_keys=(public_key(RELAYS + number),),
        )
        for number in range(count - RELAYS)
    ]
    named = {one.name: one for one in sorted(instances, key=lambda one: one.name)}
    return Inventory(source="hive.nix", systems=systems, instances=named, signing_key="/keys/secret")


def public_key(number: int) -> str:
    """Return the key of a host that is not there."""
    kind = b"ssh-ed25519"
    parts = [len(kind).to_bytes(4, "big"), kind, (32).to_bytes(4, "big"), number.to_bytes(32, "big")]
    return f"ssh-ed25519 {base64.b64encode(b''.join(parts)).decode()}"


def written(count: int, folder: Path) -> Path:
    """Write the same as a deployment, with a block for each instance as people write them."""
    lines = ["{", *(f"  systems.system-{number}.configuration = {{ ... }}: {{ }};" for number in range(SYSTEMS))]
    lines += [
        f'  instances.relay-{number} = {{ system = "system-0"; ssh.Hostname = "192.0.2.{number}"; '
        f'hostKeys = [ "{public_key(number)}" ]; }};'
        for number in range(RELAYS)
    ]
    for number in range(count - RELAYS):
        relay = f"relay-{number % RELAYS}"
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        lines += [
            f"  instances.www-{number} = {{",
            f'    system = "system-{number % SYSTEMS}";',
            f'    store = "ssh://{relay}";',
            f'    tags = [ "web" "rack-{number % 40}" ];',
            f'    ssh = {{ Hostname = "{address}"; Port = 22; ProxyJump = "{relay}"; User = "root"; }};',
            f'    hostKeys = [ "{public_key(RELAYS + number)}" ];',
            "  };",
        ]
    (folder / "hive.nix").write_text("\n".join([*lines, '  signing.keyFile = "/keys/secret";', "}", ""]))
    return folder / "hive.nix"


def evaluated(hive: Path) -> None:
    """Have Nix evaluate and print what a deployment says of its instances, with nothing of ours."""
    words = ["--eval", "--strict", "--json", "--expr", f"(import {hive}).instances"]
    subprocess.run(["nix-instantiate", *words], capture_output=True, check=True)


def planned(count: int):  # noqa: ANN201 - as above
    """Return the plan of a deploy to all."""
    from nixhive_nb.deployment.targets import select_instances
    from nixhive_nb.plan.plan import Options
    from nixhive_nb.plan.planner import plan_transfer

    inventory = fleet(count)
    return plan_transfer(inventory, select_instances(inventory), "deploy", Options())


def carried_out(count: int, parallel: int):  # noqa: ANN201 - as above
    """Carry a deploy to all out on hosts that are not there; return its run."""
    from nixhive_nb.run.engine import Run
    from nixhive_nb.run.limits import Limits
    from nixhive_nb.testing.backend import SimulatedFleet
    from nixhive_nb.testing.world import World

    hosts = SimulatedFleet(World())
    limits = Limits(parallel=parallel, per_jump=parallel, per_store=parallel)
    wanted = planned(count)
    run = Run(wanted, hosts.backend(wanted), limits=limits, clock=hosts.clock.time, loop_factory=hosts.clock.loop)
    return run, wanted


def simulated(count: int, parallel: int) -> tuple[float, int, float]:
    """Return the seconds that such a deploy takes, its steps, and the bytes that this process had at most."""
    run, wanted = carried_out(count, parallel)
    took = timed(lambda: run.start().wait())
    assert run.report().ok
    return took, len(wanted.steps), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reported(count: int):  # noqa: ANN201 - as above
    """Return the report of such a deploy."""
    import pandas as pd

    run, _ = carried_out(count, 32)
    run.start().wait()
    assert pd.__version__
    return run.report()


if __name__ == "__main__":
    main()
