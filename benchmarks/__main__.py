"""Measure rows of the table of performance, each in all its ways, and write the page of all that was measured.

    sudo make bench                                     all rows: an hour or more
    sudo make bench ROWS='redeploy status' HOSTS=32 ROUNDS=3

Each row leaves `build/benchmarks/ROW.json`; the page, docs/performance.md, is composed of these, so that rows can be
measured one at a time. It runs in a network of its own, through `tools/apart`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks import commands, deploys, local, moving, page
from benchmarks.harness import Measured, Row, measured, words_of
from benchmarks.setting import ROOT, Setting

ROWS = {row.name: row for theme in (deploys, commands, moving, local) for row in theme.ROWS}
FOLDER = ROOT / "build" / "benchmarks"


def main() -> None:
    """Measure what is wanted, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=0, help="web servers, in place of what each row has")
    parser.add_argument("--rounds", type=int, default=0, help="rounds, in place of what each row has")
    parser.add_argument("--size", type=int, default=1000, help="megabytes of the large closure (1000)")
    parser.add_argument("--peers", type=Path, help="where the programs of others are: see benchmarks/peers.py")
    parser.add_argument("--compose", action="store_true", help="only write the page, of what was measured before")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where rows leave what was measured")
    parser.add_argument("--page", type=Path, default=page.PAGE, help="the page to write")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all of them by default")
    words = parser.parse_args()
    if unknown := [name for name in words.rows if name not in ROWS]:
        parser.error(f"there is no row {' '.join(unknown)}; there are {', '.join(ROWS)}")
    end_when_told()
    words.folder.mkdir(parents=True, exist_ok=True)
    broken = [] if words.compose else run(words)
    page.write(ROWS.values(), words.folder, words.page)
    if broken:
        sys.exit(f"Not measured: {', '.join(broken)}")


def run(words: argparse.Namespace) -> list[str]:
    """Measure rows, those on fleets of one size after one another; return those that have no figures at all."""
    wanted = [ROWS[name] for name in words.rows or ROWS]
    broken = []
    with (
        tempfile.TemporaryDirectory(prefix="hive-bench-state-", ignore_cleanup_errors=True) as state,
        Setting(hosts=words.hosts, rounds=words.rounds, size=words.size * 1_000_000, peers=words.peers) as setting,
    ):
        keep_state_in(Path(state))
        for row in sorted(wanted, key=lambda row: row.hosts):
            say(f"{row.name}: {row.work}")
            try:
                found = of_row(row, setting)
            except Exception as error:  # noqa: BLE001 - the other rows are measured all the same; it is told at the end
                say(f"  {words_of(error)}")
                broken.append(row.name)
            else:
                (words.folder / f"{row.name}.json").write_bytes(
                    msgspec.json.format(msgspec.json.encode(found), indent=1)
                )
            finally:
                setting.end()
    return broken


def of_row(row: Row, setting: Setting) -> Measured:
    """Measure one row."""
    setting.begin(row.hosts)
    before = os.getloadavg()[0]
    ways = row.ways(setting)
    tries = measured(ways, setting.rounds or row.rounds, say)
    return Measured(
        row=row.name,
        hosts=setting.hosts if row.hosts else 0,
        date=dt.datetime.now(dt.UTC).isoformat(timespec="minutes"),
        load=(before, os.getloadavg()[0]),
        command=" ".join(["make bench", f"ROWS={row.name}", *said(setting)]),
        commit=commit(),
        ways=tries,
        missing=setting.missing,
    )


def said(setting: Setting) -> list[str]:
    """Return the words for make that ask for as much again."""
    given = {"HOSTS": setting.wanted, "ROUNDS": setting.rounds, "SIZE": setting.size // 1_000_000}
    return [f"{name}={value}" for name, value in given.items() if value and (name, value) != ("SIZE", 1000)]


def commit() -> str:
    """Return what is measured: the commit, with a word where files differ from it."""
    argv = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "of no checkout"


def end_when_told() -> None:
    """Take the fleet down when somebody ends us, as at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def keep_state_in(folder: Path) -> None:
    """Keep what deployments leave out of the user's own folder; the key that practice fleets sign with stays there."""
    before = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    keys = before / "nixhive-lab-signing"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / keys.name).symlink_to(keys)
    os.environ["XDG_STATE_HOME"] = str(folder)


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
