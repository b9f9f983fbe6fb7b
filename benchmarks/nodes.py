"""What 300 nodes of another format cost: load, a second load, an evaluation of all, and one that is broken.

    .venv/bin/python -m benchmarks.nodes [-n NODES] [-r ROUNDS] [--write] [ROW …]

Each is a configuration of its own, on the practice nixpkgs. Each try is a process of its own, as a command is. Of a try
are told the seconds on the wall, those of processors (with the programs that it started), how many programs of Nix it
started, the memory of the largest of these, and its own. Ways take turns, and figures are the medians of rounds.
`whole` and `single` show why nodes are evaluated in groups of the size that they are: one process for all, and one for
each. `streamed` and `unstreamed`, also of a file, build, too: each node has a derivation of its own that takes a while
without a processor, as one that is fetched or built elsewhere does. With nix-eval-jobs, where it is installed, the hive
is a file: versions before 2.31 take no function for a flake. `--write` puts the table into docs/performance.md.
"""

# ruff: noqa: PLC0415 - each process imports what it measures

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = {
    "load": "load",
    "again": "a second load, as a command does",
    "build": "evaluate all",
    "alone": "evaluate all, one process at once",
    "whole": "evaluate all in one group",
    "single": "evaluate all in groups of one",
    "broken": "evaluate all, one is broken",
    "streamed": "evaluate and build all, streamed",
    "unstreamed": "evaluate and build all, first the one and then the other",
    "file_load": "of a file: load, for the first time or again",
    "file": "of a file: evaluate all",
    "file_jobs": "of a file: evaluate all, with nix-eval-jobs",
    "file_jobs_alone": "of a file: evaluate all, with nix-eval-jobs, one worker",
    "file_streamed": "of a file: evaluate and build all, streamed",
    "file_jobs_streamed": "of a file: evaluate and build all, with nix-eval-jobs, streamed",
    "file_jobs_unstreamed": "of a file: evaluate and build all, with nix-eval-jobs, first the one and then the other",
}
_BROKEN = 133
_BUILDS = ("streamed", "unstreamed", "file_streamed", "file_jobs_streamed", "file_jobs_unstreamed")
_SECONDS = 0.1
"""How long the derivation of a node takes."""
_HEAD = f"""\
## Many nodes of another format

A hive of colmena in a flake, on the practice nixpkgs, which has few modules: real nodes take longer, and more memory.
Each try is a process of its own. In the rows that build each node has a derivation of its own that waits
{_SECONDS} s; Nix may build one at a time (`max-jobs`), and beside eight that have begun the rest is built by another
program of it. The smaller the part of the evaluation in the whole, the less there is to gain.

"""
_OWN = f"""
            environment.etc.own.text = toString (derivation {{
              inherit name;
              system = "x86_64-linux";
              builder = "/bin/sh";
              PATH = "/usr/bin:/bin";
              salt = builtins.readFile ./salt;
              args = [ "-c" "sleep {_SECONDS}; echo > $out" ];
            }});"""


def written(folder: Path, count: int, *, broken: bool = False, builds: bool = False, flake: bool = True) -> Path:
    """Write a hive of colmena, in a flake, which is locked, or as a file."""
    import nixhive_nb.lab

    nixpkgs = Path(nixhive_nb.lab.__file__).parent / "nixpkgs"
    folder.mkdir()
    throws = f'if name == "node-{_BROKEN:04}" then throw "broken" else name' if broken else "name"
    (folder / "salt").write_text("")
    hive = f"""{{
          meta.nixpkgs = import nixpkgs {{ system = "x86_64-linux"; }};
        }} // builtins.listToAttrs (builtins.genList (number: rec {{
          name = "node-${{builtins.substring 1 4 (toString (10000 + number))}}";
          value = {{ name, ... }}: {{
            deployment.targetHost = "${{name}}.example.org";
            networking.hostName = {throws};
            {_OWN if builds else ""}
          }};
        }}) {count})"""
    if not flake:
        (folder / "hive.nix").write_text(f"let nixpkgs = {nixpkgs}; in {hive}\n")
        return folder
    (folder / "flake.nix").write_text(f"""{{
      inputs.nixpkgs.url = "path:{nixpkgs}";
      outputs = {{ self, nixpkgs }}: {{
        colmena = {hive};
      }};
    }}\n""")
    for words in (
        ["git", "-C", str(folder), "init", "--quiet"],
        ["git", "-C", str(folder), "add", "--all"],
        ["nix", "--extra-experimental-features", "nix-command flakes", "flake", "lock", str(folder)],
        ["git", "-C", str(folder), "add", "--all"],
    ):
        subprocess.run(words, check=True, capture_output=True)
    return folder


def once(row: str, folder: Path) -> None:
    """Do the work of a row, and print its figures as JSON."""
    from nixhive_nb import Hive, Limits, RunFailed, planning
    from nixhive_nb.deployment.load import load
    from nixhive_nb.plan import building
    from nixhive_nb.util import process

    programs = []

    def counting(original):  # noqa: ANN001, ANN202 - as of both
        def call(argv, **words):  # noqa: ANN001, ANN003, ANN202 - as above
            programs.append(argv[0])
            return original(argv, **words)

        return call

    process.run, process.stream = counting(process.run), counting(process.stream)
    is_load = row in ("load", "again", "file_load")
    size = {"whole": 1_000_000, "single": 1}.get(row, building.NODES_A_PROCESS)
    building.NODES_A_PROCESS = size
    if row in _BUILDS:
        (folder / "salt").write_text(secrets.token_hex(8))  # so that nothing is built yet
    if row.endswith("unstreamed"):
        planning._is_in_parts = lambda _plan: False  # noqa: SLF001 - what is measured is without it
    limits = Limits(evaluations=1 if row.endswith("alone") else 2, eval_jobs="auto" if "jobs" in row else "no")
    hive = None if is_load else Hive.load(folder, anew=False, format="colmena", limits=limits)
    before, cpu = time.perf_counter(), _processors()
    programs.clear()
    if hive is None:
        load(folder, anew=row == "load", name="fleet")
    else:
        with contextlib.suppress(RunFailed):
            hive.build("*", no=[] if row in _BUILDS else ["realise"])
    print(
        json.dumps(
            {
                "s": time.perf_counter() - before,
                "s of processors": _processors() - cpu,
                "programs of Nix": sum(name.startswith("nix") for name in programs),
                "MB of the largest": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
                "MB of its own": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def _processors() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="What nodes of another format cost.")
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which rows")
    parser.add_argument("-n", "--nodes", type=int, default=300)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("--once", nargs=2, metavar=("ROW", "FOLDER"))
    given = parser.parse_args()
    if given.once:
        once(given.once[0], Path(given.once[1]))
        return
    rows = given.rows or [row for row in ROWS if "jobs" not in row or shutil.which("nix-eval-jobs")]
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"XDG_CACHE_HOME": f"{place}/cache", "XDG_STATE_HOME": f"{place}/state"}
        kinds = {_kind(row) for row in rows}
        folders = {
            kind: written(
                Path(place, kind),
                given.nodes,
                broken=kind == "broken",
                builds=kind.endswith("builds"),
                flake=not kind.startswith("file"),
            )
            for kind in kinds
        }
        tries: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
        for folder in folders.values():  # so that each finds its deployment as it is after the first load
            _try("load", folder)
            _try("build", folder)
        before = os.getloadavg()[0]
        for _ in range(given.rounds):
            for row in rows:
                tries[row].append(_try(row, folders[_kind(row)]))
    table = _table(tries, given.nodes)
    print(table)
    if given.write:
        from benchmarks.written import measured_by, write

        write("nodes", f"{_HEAD}{measured_by('nodes', given.rounds, before)}\n\n{table}\n")


def _kind(row: str) -> str:
    kind = "broken" if row == "broken" else "builds" if row in _BUILDS else "plain"
    return f"file {kind}" if row.startswith("file") else kind


def _table(tries: dict[str, list[dict[str, float]]], nodes: int) -> str:
    """Return the medians of all rows, as a table of Markdown."""
    units = list(next(iter(tries.values()))[0])
    lines = [f"| {nodes} nodes | {' | '.join(units)} |", f"| --- |{' --- |' * len(units)}"]
    for row, found in tries.items():
        medians = (statistics.median(one[unit] for one in found) for unit in units)
        lines.append(f"| {ROWS[row]} | {' | '.join(f'{median:.3g}' for median in medians)} |")
    return "\n".join(lines)


def _try(row: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), "--once", row, str(folder)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder)
    found: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
