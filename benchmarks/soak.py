"""Work on hundreds of practice hosts for long, and see that nothing grows and that all is given back.

    sudo make soak                      200 hosts in 20 groups behind 5 relays
    sudo make soak HOSTS=1000

It deploys to all, deploys again, deploys a new system while a tenth of the hosts is down and a twentieth slow
(`tc tbf`), and resumes when they are back. Then it runs many commands on some of them, and as many cells of `%hive run`
in a kernel of Jupyter's. Before, at the peak and after
each it counts threads, descriptors, sockets, programs and memory of this process. At the end it says what was not as it
should be, and fails. The page of performance has the last soak.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks import groups, page
from benchmarks.__main__ import FOLDER, ROWS, commit, end_when_told, keep_state_in, say
from benchmarks.counts import Counts, Peak, Soaked, Stage, settled
from benchmarks.kernel import Kernel
from nixhive_nb import Hive
from nixhive_nb.errors import RunFailed

if TYPE_CHECKING:
    from collections.abc import Callable

BESIDE = 32
"""Threads beside those of kept connections, which there may be at the peak: as many as there are steps at once."""
MARGIN = 20_000_000
"""Bytes by which memory may differ after work that was done before already: what allocators keep."""


class Soak:
    """One soak, as far as it is."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.broken: list[str] = []

    def stage(self, name: str, work: Callable[[], str], *, wanted: Counts | None = None, process: int = 0) -> Stage:
        """Do a piece of work and count: afterwards when what it needed is gone, or there is no more than is wanted.

        What is counted is this process, or another one that does the work.
        """
        before, began = settled(process=process), time.perf_counter()
        with Peak(process) as peak:
            said = work()
        took = time.perf_counter() - began
        one = Stage(name, took, before, peak.counts, settled(wanted, process), said)
        self.stages.append(one)
        say(f"{name}: {took:.1f} s, {said}")
        if peak.names:
            say(f"  threads at the peak: {', '.join(f'{number} {name}' for name, number in peak.names.items())}")
        for label, counts in (("before", one.before), ("peak", one.peak), ("after", one.after)):
            say(f"  {label:<7}{counts}")
        return one

    def expect(self, what: str, *, holds: bool) -> None:
        """Take down what does not hold."""
        say(f"  {'ok' if holds else 'NOT SO'}: {what}")
        if not holds:
            self.broken.append(what)


def main() -> None:
    """Soak, and say what was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=200, help="hosts behind relays (200)")
    parser.add_argument("--groups", type=int, default=20, help="groups of them (20)")
    parser.add_argument("--relays", type=int, default=5, help="relays (5)")
    parser.add_argument("--commands", type=int, default=500, help="commands (500)")
    parser.add_argument("--on", type=int, default=50, help="hosts that commands run on (50)")
    words = parser.parse_args()
    end_when_told()
    soak = Soak()
    with tempfile.TemporaryDirectory(prefix="hive-soak-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "state").mkdir()
        keep_state_in(folder / "state")
        began = time.perf_counter()
        with groups.up(folder / "fleet", hosts=words.hosts, groups=words.groups, relays=words.relays) as fleet:
            say(f"{words.hosts} hosts are up after {time.perf_counter() - began:.1f} s")
            soaked(soak, fleet, words.commands, words.on)
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = Soaked(
        date=dt.datetime.now(dt.UTC).isoformat(timespec="minutes"),
        commit=commit(),
        hosts=words.hosts,
        groups=words.groups,
        relays=words.relays,
        load=os.getloadavg()[0],
        stages=tuple(soak.stages),
        broken=tuple(soak.broken),
    )
    (FOLDER / "soak.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    page.write(ROWS.values(), FOLDER)
    if soak.broken:
        sys.exit("Not so:\n" + "\n".join(f"  {line}" for line in soak.broken))


def soaked(soak: Soak, fleet: groups.Groups, commands: int, on: int) -> None:
    """Do all stages on a fleet that is up."""
    down, slow = fleet.hosts[::10], fleet.hosts[5::20]
    relays = len(fleet.relays)
    idle = ready(fleet)
    hive = Hive.load(fleet.deployment, state=fleet.folder / ".hive.state")
    soak.stage("first deploy", lambda: deployed(hive, "relays", "workers"))
    one = soak.stage("redeploy", lambda: deployed(hive, "workers"))
    soak.expect("a redeploy changes nothing", holds="unchanged" in one.said and "done" not in one.said)
    two = soak.stage("redeploy again", lambda: deployed(hive, "workers"), wanted=one.after)
    bounded(soak, two, len(fleet.hosts) + relays)
    same(soak, one.after, two.after, "after a second redeploy")
    for host in down:
        fleet.stop(host)
    for host in slow:
        fleet.slow(host)
    fleet.write("second")
    three = soak.stage(f"new system, {len(down)} down, {len(slow)} slow", lambda: deployed(hive, "relays", "workers"))
    # Where a host does not answer a thread waits for it, beside that of the connection that is tried.
    bounded(soak, three, len(fleet.hosts) + relays + len(down))
    soak.expect("those that are up have it", holds=counted(three.said, "done") == len(fleet.hosts) - len(down))
    for host in slow:
        fleet.quick(host)
    for host in down:
        fleet.start(host)
    four = soak.stage("resume", lambda: resumed(hive))
    soak.expect("the others have it now", holds=counted(four.said, "done") == len(down))
    five = soak.stage("redeploy at last", lambda: deployed(hive, "workers"), wanted=two.after)
    same(soak, two.after, five.after, "after hosts were down and back")
    some = list(fleet.hosts[:on])
    repeated(hive, some, max(1, commands // 10))
    six = soak.stage(f"{commands} commands on {len(some)} hosts", lambda: repeated(hive, some, commands))
    same(soak, six.before, six.after, f"after {commands} commands")
    hive.close()
    same(soak, idle, settled(idle), "when all is closed", memory=False)
    in_a_kernel(soak, fleet, commands, on)


def in_a_kernel(soak: Soak, fleet: groups.Groups, cells: int, on: int) -> None:
    """Run many cells of `%hive run` in a kernel of Jupyter's, and expect it to have no more of anything afterwards."""
    pattern = f"@({' or '.join(fleet.hosts[:on])})"
    cell = f"%hive run '{pattern}' true"
    with Kernel(fleet.folder, fleet.deployment.name) as kernel:
        for _ in range(max(1, cells // 10)):
            kernel.run(cell)

        def all_of_them() -> str:
            for _ in range(cells):
                kernel.run(cell)
            return f"{cells} cells, none failed"

        name = f"{cells} cells of %hive run on {min(on, len(fleet.hosts))} hosts, in a kernel"
        one = soak.stage(name, all_of_them, process=kernel.process)
    same(soak, one.before, one.after, f"after {cells} cells in a kernel")


def ready(fleet: groups.Groups) -> Counts:
    """Do a bit of everything, so that all is imported, and count when it is closed."""
    with Hive.load(fleet.deployment, state=fleet.folder / ".hive.state") as hive:
        hive.status(list(fleet.hosts[:2]))
        hive.deploy(["relay-1"])
    return settled()


def deployed(hive: Hive, *patterns: str) -> str:
    """Deploy, and say how many came out how."""
    try:
        report = hive.deploy(*patterns)
    except RunFailed as failed:
        report = failed.report
    return outcomes(report.frame)


def resumed(hive: Hive) -> str:
    """Do what is left of the last run, and say how many came out how."""
    return outcomes(hive.apply(hive.resume()).frame)


def outcomes(frame: object) -> str:
    """Return how many instances came out how."""
    return ", ".join(f"{number} {name}" for name, number in frame["outcome"].value_counts().items() if number)


def counted(said: str, outcome: str) -> int:
    """Return how many workers came out so; relays have their system already."""
    return next((int(part.split()[0]) for part in said.split(", ") if part.split()[1] == outcome), 0)


def repeated(hive: Hive, hosts: list[str], times: int) -> str:
    """Run a command that often, and say on how many it failed."""
    failed = sum(int((hive.run(hosts, "true")["exit_code"] != 0).sum()) for _ in range(times))
    return f"{times} commands, {failed} failed"


def bounded(soak: Soak, stage: Stage, connections: int) -> None:
    """Expect threads to be no more than connections and steps at once."""
    most = connections + BESIDE
    soak.expect(
        f"{stage.name}: {stage.peak.threads} threads at the peak, no more than {most}", holds=stage.peak.threads <= most
    )


def same(soak: Soak, before: Counts, after: Counts, when: str, *, memory: bool = True) -> None:
    """Expect no more of anything than before."""
    more = before.grown(after)
    soak.expect(f"{when} there is no more of anything: {more or 'so it is'}", holds=not more)
    if memory:
        grown = after.memory - before.memory
        soak.expect(f"{when} memory is as it was: {grown / 1e6:+.1f} MB", holds=grown <= MARGIN)


if __name__ == "__main__":
    main()
