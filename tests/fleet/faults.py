"""What the tests of faults saw, for `docs/reliability.md`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.util.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
HOW = "NIXHIVE_WRITE_RELIABILITY=1 make test TESTS=tests/fleet"
_ROW = re.compile(r"^\| (?P<fault>[^|]+) \| (?P<host>[^|]+) \| (?P<seen>.+) \|$", re.MULTILINE)


def plain(text: str) -> str:
    """Return a line without what differs from run to run: store paths, ids, times, addresses."""
    text = re.sub(r"/nix/store/[0-9a-z]{32}-", "/nix/store/…-", text)
    text = re.sub(r"\b\d+\.\d+\.\d+\.\d+:\d+\b", "ADDRESS", text)
    text = re.sub(r"\bplan [0-9a-f]{12}\b", "plan …", text)
    text = re.sub(r" \(it had held for [^)]*\)", "", text)
    text = re.sub(r"[\w-]+@[\w.-]+ \(", "USER@MACHINE (", text)
    return " ".join(text.split()).replace("|", "\\|")


def written() -> dict[tuple[str, str], str]:
    """Return the rows of the page: fault and kind of host → what was seen."""
    table = PAGE.read_text().partition("## What was seen")[2]
    rows = {(found["fault"].strip(), found["host"].strip()): found["seen"].strip() for found in _ROW.finditer(table)}
    return {key: seen for key, seen in rows.items() if key[0] not in ("fault", "---")}


def saw(fault: str, seen: str, host: str = "light") -> None:
    """Compare what was seen with the page; with NIXHIVE_WRITE_RELIABILITY set, write it there instead.

    `host` is the kind of practice host that it was seen on: light, systemd 252, or systemd 257.
    """
    seen = plain(seen)
    if os.environ.get("NIXHIVE_WRITE_RELIABILITY"):
        with _alone():
            rows = written() | {(fault, host): seen}
            head = PAGE.read_text().partition("## What was seen")[0]
            table = "\n".join(f"| {name} | {kind} | {text} |" for (name, kind), text in rows.items())
            text = f"{head}## What was seen\n\n| fault | host | what was seen |\n| --- | --- | --- |\n{table}\n"
            write_whole(PAGE, text.encode())
            PAGE.chmod(0o644)
    assert written().get((fault, host)) == seen, f"docs/reliability.md does not say so; to write it: {HOW}"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Write by one test at a time."""
    build = PAGE.parent.parent / "build"
    build.mkdir(exist_ok=True)
    with (build / "reliability.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def line_of(said: str, instance: str) -> str:
    """Return how an instance ended by the report in a terminal: its outcome, and the reason."""
    (row,) = re.findall(rf"^{instance}  .*$", said, re.MULTILINE)
    cells = re.split(r"\s{2,}", row)
    reason = re.findall(rf"^{instance}(?: and \d+ more)?: (.*)$", said, re.MULTILINE)
    # Of those that have the same reason only the first is named.
    reason = reason or re.findall(rf"^[a-z]+:{instance}: (?:[a-z]+ )*[a-z]+: (?!because of )(.*)$", said, re.MULTILINE)
    return f"{instance}: {cells[1]}{f': {reason[-1]}' if reason else ''}"
