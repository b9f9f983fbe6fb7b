"""What a deploy to 100,000 instances below three levels of relays costs, on hosts that are not there, in one process.

    .venv/bin/python -m benchmarks.tree [-n HOSTS] [-r ROUNDS] [--against TREE] [--write]

1, 10 and 100 relays, each an instance as well, and HOSTS (1000) behind each of the last. It surveys all, makes the
plan, carries it out with a journal, and reads back what came of it; all of it is the real code, and only hosts, stores
and Nix are simulated (`nixhive_nb/testing`), in a time that passes at once. A tenth as many are measured beside it:
what costs more than ten times as much is more than linear. Then all is done once more with a relay of the middle level
down, and it is seen that just what is below that is skipped. Times are of the processor, each try is a process of its
own, and figures are medians of rounds. `--write` puts the table into docs/performance.md.
"""

# ruff: noqa: PLC0415 - each process imports what it measures, and no more: memory is measured, too

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).resolve()
LEVELS = (1, 10, 100)
HOSTS = 1000
SYSTEMS = 4
PARALLEL = 1000
MEGA = 1e6
DOWN = "relay-2-3"
"""The relay that is down, in the middle."""
ROWS = {
    "survey": ("survey of all", "s"),
    "plan": ("plan of a deploy", "s"),
    "digest": ("digest of the plan", "s"),
    "begin": ("begin of the journal, with the plan", "s"),
    "run": ("run, noted in the journal", "s"),
    "report": ("report: an outcome for each", "s"),
    "frame": ("what a page shows while it runs", "s"),
    "shown": ("plan, picture and report as a cell has them", "s"),
    "read": ("the journal read back", "s"),
    "events": ("events of the run", ""),
    "rate": ("events a second of the run", ""),
    "page": ("that cell", "kB"),
    "journal": ("journal", "MB"),
    "memory": ("memory at the peak", "MB"),
}
_HEAD = """\
## A tree of relays

A deploy to all instances below three levels of relays, in one process, on hosts that are not there: hosts, stores and
Nix are simulated, in a time that passes at once. Survey, planner, engine, journal and report are the real ones. Each
instance had one outcome, each edge of the tree carried each system once, and with a relay of the middle level down just
what is below it was skipped. Times are of the processor.

"""


class Tree(NamedTuple):
    """A deployment below relays, by how many relays each level has, and how many hosts each of the last."""

    levels: tuple[int, ...] = LEVELS
    hosts: int = HOSTS

    @property
    def instances(self) -> int:
        """How many instances it has, relays included."""
        return sum(self.levels) + self.levels[-1] * self.hosts

    def above(self, level: int, number: int) -> str:
        """Return the relay that a relay reads from; empty for one at the top."""
        return f"relay-{level}-{number * self.levels[level - 1] // self.levels[level]}" if level else ""

    def below(self, relay: str) -> set[str]:
        """Return the instances that get what they run through a relay, however many others are between."""
        inventory = inventory_of(self)
        found = {relay}
        for level, count in enumerate(self.levels, start=1):
            found |= {f"relay-{level}-{n}" for n in range(count) if self.above(level - 1, n) in found}
        stores = {f"ssh://{name}" for name in found}
        return {one.name for one in inventory.instances.values() if one.store in stores}


def inventory_of(tree: Tree):  # noqa: ANN201 - a type of the tree that is measured
    """Return the inventory of a tree."""
    from nixhive_nb.deployment.inventory import Instance, Inventory, System

    systems = {
        f"system-{number}": System(name=f"system-{number}", platform="x86_64-linux") for number in range(SYSTEMS)
    }
    relays = [
        Instance(
            name=f"relay-{level}-{number}",
            system="system-0",
            store=f"ssh://{above}" if (above := tree.above(level - 1, number)) else "",
        )
        for level, count in enumerate(tree.levels, start=1)
        for number in range(count)
    ]
    hosts = [
        Instance(
            name=f"www-{number}",
            system=f"system-{number % SYSTEMS}",
            store=f"ssh://relay-{len(tree.levels)}-{number // tree.hosts}",
            tags=("web",),
            ssh=(("Hostname", (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",)), ("User", ("root",))),
        )
        for number in range(tree.levels[-1] * tree.hosts)
    ]
    named = {one.name: one for one in sorted([*relays, *hosts], key=lambda one: one.name)}
    return Inventory(source="hive.nix", systems=systems, instances=named, signing_key="/keys/secret")


class Deploy:
    """One deploy to all of a tree: each stage by itself, so that it can be timed."""

    def __init__(self, tree: Tree, folder: Path, *, down: str = "") -> None:
        """`down` is a relay that goes away when the plan is made; `folder` gets the journal."""
        from nixhive_nb.deployment.targets import select_instances
        from nixhive_nb.testing.backend import SimulatedFleet
        from nixhive_nb.testing.world import World

        self.inventory = inventory_of(tree)
        self.targets = select_instances(self.inventory)
        self.fleet = SimulatedFleet(World())
        self._down = down
        self._folder = folder
        self.events = 0

    def survey(self) -> None:
        """Ask all hosts, and evaluate all systems."""
        from nixhive_nb.plan.plan import Options
        from nixhive_nb.plan.survey import plan_survey
        from nixhive_nb.run.found import survey_of

        run = self._run_of(plan_survey(self.inventory, self.targets, Options()))
        run.start().wait()
        self.found = survey_of(run.report())

    def plan_all(self) -> None:
        """Make the plan."""
        from nixhive_nb.plan.plan import Options
        from nixhive_nb.plan.planner import plan_transfer

        self.plan = plan_transfer(self.inventory, self.targets, "deploy", Options(), survey=self.found)

    def begin(self) -> None:
        """Begin the journal."""
        from nixhive_nb.run.journal import Header, Journal

        header = Header(who="somebody@here", program="Python", source="hive.nix", deployment="/hive.nix")
        self.journal = Journal.begin(self._folder, header, self.plan)

    def run(self) -> None:
        """Carry it out."""
        if self._down:
            self._take_down()
        run = self._run_of(self.plan, str(self.journal.path))
        run.record(self._heard)
        run.start().wait()
        self.run_report = run.report()
        self.journal.end(self.run_report, interrupted=False)

    def report(self) -> dict[str, int]:
        """Work out how each instance ended, and count them."""
        return self.run_report.counts()

    def frame(self) -> None:
        """Work out what a page shows while it runs, once."""
        from nixhive_nb.view.progress import progress_of

        progress_of(self.run_report)

    def shown(self) -> int:
        """Make what a cell shows of the plan and of the report; return the size of it in bytes."""
        from nixhive_nb.view.listing_html import listing_html
        from nixhive_nb.view.plan import plan_listing, plan_text
        from nixhive_nb.view.plan_picture import mermaid, svg
        from nixhive_nb.view.record import record_html

        rows = 50
        views = (
            plan_text(self.plan, most=rows),
            listing_html(plan_listing(self.plan, most=rows)),
            svg(self.plan),
            mermaid(self.plan),
            record_html(self.run_report),
        )
        return sum(len(one.encode()) for one in views)

    def read(self) -> object:
        """Read the journal back, and return what it says."""
        from nixhive_nb.run.history import find, report_of

        return report_of(find(self._folder))

    def _heard(self, event: object) -> None:
        self.events += 1
        self.journal.heard(event)

    def _take_down(self) -> None:
        import msgspec

        host = self.fleet.host(self._down)
        host.model = msgspec.structs.replace(host.model, faults=("unreachable",))

    def _run_of(self, plan, journal: str = ""):  # noqa: ANN001, ANN202 - types of the tree that is measured
        from nixhive_nb.run.engine import Run
        from nixhive_nb.run.limits import Limits

        limits = Limits(parallel=PARALLEL)
        clock = self.fleet.clock
        backend = self.fleet.backend(plan)
        return Run(plan, backend, limits=limits, journal=journal, clock=clock.time, loop_factory=clock.loop)


def edges(report) -> Counter[tuple[str, str, str]]:  # noqa: ANN001 - a type of the tree that is measured
    """Return how often each system went over each edge of the tree: from a store, to a host, the system.

    What a relay runs itself comes to it once, whichever of its push and its fetch is first.
    """
    from nixhive_nb.deployment.stores import store_host

    found: Counter[tuple[str, str, str]] = Counter()
    for step in report.plan.steps:
        record = report.steps[step.id]
        if step.kind in ("push", "fetch") and record.outcome == "done":
            how = record.result.how
            source = step.store if how == "from relay" else how.removeprefix("from ").removeprefix("here")
            found[source, step.instance or store_host(step.store), step.system] += 1
    return found


def check_whole(deploy: Deploy, tree: Tree) -> None:
    """See that each instance is done, and that each edge of the tree carried each system once."""
    report, instances = deploy.run_report, deploy.inventory.instances
    assert report.counts() == {"done": tree.instances}, report.counts()
    found = edges(report)
    assert set(found.values()) == {1}
    wanted = {(one.store, one.name, one.system) for one in instances.values()}
    relays = [one for one in instances.values() if one.name.startswith("relay-")]
    wanted |= {(one.store, one.name, f"system-{number}") for one in relays for number in range(SYSTEMS)}
    assert found.keys() == wanted
    assert report.sent == SYSTEMS * deploy.fleet.world.size, "each system left this machine once"


def check_skipped(deploy: Deploy, tree: Tree) -> None:
    """See that with a relay down that one failed, what is below it was skipped for that, and all else is done."""
    below = tree.below(DOWN)
    for record in deploy.run_report.instances():
        if record.instance == DOWN:
            wanted = "failed"
        elif record.instance in below:
            wanted = "skipped"
            assert DOWN in record.reason, record.reason
        else:
            wanted = "done"
        assert record.outcome == wanted, record


def measured(tree: Tree) -> dict[str, float]:
    """Measure each stage once, and see that all went as it should."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="hive-tree-") as place:
        deploy = Deploy(tree, Path(place))
        stages: Mapping[str, Callable[[], object]] = {
            "survey": deploy.survey,
            "plan": deploy.plan_all,
            "digest": lambda: deploy.plan.digest,
            "begin": deploy.begin,
            "run": deploy.run,
            "report": deploy.report,
            "frame": deploy.frame,
            "shown": deploy.shown,
            "read": deploy.read,
        }
        came: dict[str, object] = {}
        for name, stage in stages.items():
            gc.collect()
            before = time.process_time()
            came[name] = stage()
            found[name] = time.process_time() - before
        found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGA
        found["events"] = deploy.events
        found["rate"] = deploy.events / found["run"]
        found["page"] = float(str(came["shown"])) / 1000
        found["journal"] = deploy.journal.path.stat().st_size / MEGA
        check_whole(deploy, tree)
        assert came["read"].counts() == deploy.run_report.counts()  # type: ignore[attr-defined]
    return found


def broken(tree: Tree) -> None:
    """Do it with a relay down, and see what becomes of the rest."""
    with tempfile.TemporaryDirectory(prefix="hive-tree-") as place:
        deploy = Deploy(tree, Path(place), down=DOWN)
        deploy.survey()
        deploy.plan_all()
        deploy.begin()
        deploy.run()
        check_skipped(deploy, tree)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=HOSTS, help=f"hosts behind each of the last relays ({HOSTS})")
    parser.add_argument("-r", type=int, default=3, help="rounds (3)")
    parser.add_argument("--against", type=Path, help="another tree of this repository, such as that of an older commit")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("--once", choices=("measured", "broken"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.once:
        print(json.dumps(globals()[words.once](Tree(hosts=words.n))))
        return
    if words.n < 10 * SYSTEMS:
        parser.error(f"-n {words.n}: a tenth of it has to be one host of each system, so it is {10 * SYSTEMS} at least")
    ways = {"few": (HERE.parents[1], words.n // 10), "many": (HERE.parents[1], words.n)}
    if words.against:
        ways["before"] = (words.against.resolve(), words.n)
    before = os.getloadavg()[0]
    tries: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(words.r):
        for name, (folder, hosts) in ways.items():
            tries[name].append(once(folder, "measured", hosts))
    once(HERE.parents[1], "broken", words.n)
    table = table_of(tries, words.n)
    print(table)
    if words.write:
        from benchmarks.written import measured_by, write

        write("tree", f"{_HEAD}{measured_by('tree', words.r, before)}\n\n{table}\n")


def once(folder: Path, what: str, hosts: int) -> dict[str, float]:
    """Do it once, in a process of its own that imports the package of a folder."""
    command = [sys.executable, str(HERE), "--once", what, "-n", str(hosts)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def table_of(tries: Mapping[str, Sequence[Mapping[str, float]]], hosts: int) -> str:
    """Return the medians as a table of Markdown."""
    from benchmarks.written import amount

    sizes = {"few": Tree(hosts=hosts // 10).instances, "many": Tree(hosts=hosts).instances}
    titles = ["what", *(f"{size:,} instances" for size in sizes.values()), "times as much"]
    is_against = "before" in tries
    lines = [f"| {' | '.join([*titles, *(['now / before'] if is_against else [])])} |"]
    lines.append(f"| {' | '.join(['---'] * (len(titles) + is_against))} |")
    for name, (what, unit) in ROWS.items():
        few, many = (statistics.median(one[name] for one in tries[way]) for way in ("few", "many"))
        cells = [what, *(f"{amount(value)} {unit}".rstrip() for value in (few, many)), f"{many / few:.1f}"]
        if is_against:
            pairs = zip(tries["many"], tries["before"], strict=True)
            cells.append(f"{statistics.median(now[name] / then[name] for now, then in pairs):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
