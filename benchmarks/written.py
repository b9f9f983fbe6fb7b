"""Parts of docs/performance.md that a benchmark writes by itself, each between its marks; `make bench` keeps them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

NAMES = ("nodes", "tree", "afar")
"""The benchmarks that write such a part, in the order of the page."""
_PAGE = ROOT / "docs" / "performance.md"


def section(page: str, name: str) -> str:
    """Return the part of one benchmark in a page, with its marks; empty where there is none."""
    begin, end = _marks(name)
    inner = page.partition(begin)[2].partition(end)[0]
    return f"{begin}{inner}{end}" if inner else ""


def sections(page: str) -> str:
    """Return all such parts of a page."""
    return "".join(section(page, name) for name in NAMES)


def with_section(page: str, name: str, text: str) -> str:
    """Return a page with the part of one benchmark; a new one stands behind the others."""
    begin, end = _marks(name)
    new, there, every = f"{begin}{text}{end}", section(page, name), sections(page)
    if there:
        return page.replace(there, new)
    return page.replace(every, f"{every}{new}") if every else f"{page}{new}"


def write(name: str, text: str) -> None:
    """Put the part of one benchmark into docs/performance.md."""
    _PAGE.write_text(with_section(_PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def measured_by(name: str, rounds: int, before: float) -> str:
    """Return by which command it was measured, when, and on how busy a machine, now and `before`."""
    command = " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]])
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    load = f"load average {before:.1f} before and {os.getloadavg()[0]:.1f} after"
    return f"`.venv/bin/{command}` on {when}, {'one round' if rounds == 1 else f'{rounds} rounds'}; {load}."


def amount(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def _marks(name: str) -> tuple[str, str]:
    return f"\n<!-- {name}: benchmarks/{name}.py --write -->\n", f"<!-- end of {name} -->\n"
