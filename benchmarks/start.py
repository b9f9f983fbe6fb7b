"""How long `nix-hive` takes to start: its help, a Tab, and `import nixhive_nb`, against `python -c "import click"`.

    .venv/bin/python benchmarks/start.py [-r ROUNDS]

Whole processes, in turns, in one run. Each figure is the median of the rounds, in milliseconds of processor time, which
a machine that does other things changes little; the ratio is the median of the ratios of each round.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = [sys.executable]
NIX_HIVE = [str(Path(sys.executable).with_name("nix-hive"))]
YARDSTICK = "import click"
LOADED = "import IPython, pandas"
TAB = {"_NIX_HIVE_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    YARDSTICK: ([*PYTHON, "-c", "import click"], {}),
    "import nixhive_nb": ([*PYTHON, "-c", "import nixhive_nb"], {}),
    "nix-hive --help": ([*NIX_HIVE, "--help"], {}),
    "nix-hive dep, Tab": (NIX_HIVE, {**TAB, "COMP_WORDS": "nix-hive\ndep", "COMP_CWORD": "1"}),
    "nix-hive deploy w, Tab": (NIX_HIVE, {**TAB, "COMP_WORDS": "nix-hive\ndeploy\nw"}),
    "nix-hive status w, Tab": (NIX_HIVE, {**TAB, "COMP_WORDS": "nix-hive\nstatus\nw"}),
    LOADED: ([*PYTHON, "-c", LOADED], {}),
    "the same, and the notebook's extension": ([*PYTHON, "-c", f"{LOADED}, nixhive_nb.notebook.extension"], {}),
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-r", type=int, default=15, help="rounds (15)")
    rounds = parser.parse_args().r
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory(prefix="hive-bench-") as folder:
        for turn in range(rounds + 1):
            for name, (words, environment) in WAYS.items():
                took = processor_seconds(words, environment, Path(folder))
                if turn:  # the first one compiles
                    times[name].append(took * 1000)
    print(f"{rounds} rounds, Python {sys.version.split()[0]}; median milliseconds of processor time")
    print("\n| what | ms | times `import click` |\n| --- | --- | --- |")
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, times[YARDSTICK], strict=True))
        print(f"| {name} | {statistics.median(found):.0f} | {ratio:.2f} |")


def processor_seconds(words: list[str], environment: dict[str, str], folder: Path) -> float:
    """Run a command to its end, and return the seconds that processors spent on it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


if __name__ == "__main__":
    main()
