"""What the tests of faults saw, for `docs/reliability.md`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nixhive_nb.files import write_whole

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
HOW = "NIXHIVE_WRITE_RELIABILITY=1 make test TESTS=tests/fleet"
_ROW = re.compile(r"^\| (?P<fault>[^|]+) \| (?P<seen>.+) \|$", re.MULTILINE)


def plain(text: str) -> str:
    """Give a line without what differs from run to run: store paths, ids, times, addresses."""
    text = re.sub(r"/nix/store/[0-9a-z]{32}-", "/nix/store/…-", text)
    text = re.sub(r"\b\d+\.\d+\.\d+\.\d+:\d+\b", "ADDRESS", text)
    text = re.sub(r"\bplan [0-9a-f]{12}\b", "plan …", text)
    text = re.sub(r"[\w-]+@[\w.-]+ \(", "USER@MACHINE (", text)
    return " ".join(text.split()).replace("|", "\\|")


def written() -> dict[str, str]:
    """Give the rows of the page: fault → what was seen."""
    table = PAGE.read_text().partition("## What was seen")[2]
    rows = {found["fault"].strip(): found["seen"].strip() for found in _ROW.finditer(table)}
    return {fault: seen for fault, seen in rows.items() if fault not in ("fault", "---")}


def saw(fault: str, seen: str) -> None:
    """Compare what was seen with the page; with NIXHIVE_WRITE_RELIABILITY set, write it there instead."""
    seen = plain(seen)
    if os.environ.get("NIXHIVE_WRITE_RELIABILITY"):
        rows = written() | {fault: seen}
        head = PAGE.read_text().partition("## What was seen")[0]
        table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
        write_whole(PAGE, f"{head}## What was seen\n\n| fault | what was seen |\n| --- | --- |\n{table}\n".encode())
        PAGE.chmod(0o644)
    assert written().get(fault) == seen, f"docs/reliability.md does not say so; to write it: {HOW}"


def line_of(said: str, instance: str) -> str:
    """Give how an instance ended by the report in a terminal: its outcome, and the reason."""
    (row,) = re.findall(rf"^{instance}  .*$", said, re.MULTILINE)
    cells = re.split(r"\s{2,}", row)
    reason = re.findall(rf"^{instance}(?: and \d+ more)?: (.*)$", said, re.MULTILINE)
    return f"{instance}: {cells[1]}{f': {reason[0]}' if reason else ''}"
