"""A deploy that changes nothing, and a command on each host: ours against one ssh process a step, one after the other.

    sudo .venv/bin/python benchmarks/deploy.py [-n WEB-SERVERS] [-r ROUNDS]

It brings up a practice fleet, deploys the example, and then does the same work in both ways, in turns, in one run. The
other way is that of Nix-Hive: for each host `ssh HOST nix-store --realise PATH`, then `ssh HOST PATH/bin/switch-to-
configuration switch`, with evaluation and build by the same Nix commands as ours. Each figure is the median of the
rounds, in seconds; the ratio is theirs to ours.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb import Hive
from nixhive_nb.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
PROGRAM = [sys.executable, "-m", "nixhive_nb", "-c", "example"]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=10, help="web servers (10)")
    parser.add_argument("-r", type=int, default=5, help="rounds (5)")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/tmp") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "example", folder / "example", ignore=shutil.ignore_patterns("lab.nix"))
        with Lab.up(folder / "lab", web=wanted.n, deployment=folder / "example"):
            measure(folder, wanted.r)


def measure(folder: Path, rounds: int) -> None:
    """Do each piece of work in all ways, in turns."""
    quietly([*PROGRAM, "deploy", "--yes", "portico", "*"], folder)
    hive = Hive.load(folder / "example", state=folder / ".hive.state")
    (folder / "ssh_config").write_text(hive.ssh_config())
    frame = hive.deploy("portico", "*").frame
    results = dict(zip(frame.index, frame["path"], strict=True))
    print(f"{len(results)} hosts, {rounds} rounds; median seconds")

    def ssh(host: str, *words: str) -> None:
        quietly(["ssh", "-F", "ssh_config", host, *words], folder)

    def theirs_deploy() -> None:
        quietly([*PROGRAM, "build"], folder)
        for host, path in results.items():
            ssh(host, "nix-store", "--realise", path)
        for host, path in results.items():
            ssh(host, f"{path}/bin/switch-to-configuration", "switch")

    def theirs_run() -> None:
        for host in results:
            ssh(host, "true")

    row = "{:<34}{:>10}{:>12}{:>8}".format
    print(row("", "theirs", "ours", "ratio"))
    for label, theirs, ours in [
        (
            "deploy, nothing to change (program)",
            theirs_deploy,
            lambda: quietly([*PROGRAM, "deploy", "--yes", "*"], folder),
        ),
        ("deploy, nothing to change (notebook)", theirs_deploy, lambda: hive.deploy("*")),
        ("run true on each host (program)", theirs_run, lambda: quietly([*PROGRAM, "run", "*", "true"], folder)),
        ("run true on each host (notebook)", theirs_run, lambda: hive.run("*", "true")),
    ]:
        pairs = [(timed(theirs), timed(ours)) for _ in range(rounds)]
        before, after = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(row(label, f"{before:.2f}", f"{after:.2f}", f"{before / after:.1f}"))
    hive.close()


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def quietly(argv: list[str], folder: Path) -> None:
    """Run a program that must succeed."""
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
