"""Draw the rooms of the package from the import contracts in pyproject.toml, into docs/architecture.md.

usage: rooms.py [--write]

The floors are those of the contract `floors`, the words beside them the first line of each room's docstring. A test
draws it again and compares.
"""

from __future__ import annotations

import argparse
import ast
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nixhive_nb"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: tools/rooms.py --write -->", "<!-- end of rooms -->"
WIDTH, SAID = 30, 78
APART, TOGETHER = "│", "┊"
ASIDE = "aside"


def contracts() -> dict[str, dict[str, Any]]:
    """Return the import contracts by their id."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {one["id"]: one for one in found}


def rooms_of(layer: str) -> tuple[list[str], str]:
    """Return the rooms of one floor, and what stands between them: whether they may import from each other."""
    return [room.strip() for room in re.split(r"[|:]", layer)], APART if "|" in layer else TOGETHER


def is_folder(room: str) -> bool:
    """Return whether a room is a package; a folder that has nothing but old byte code is none."""
    return (PACKAGE / room / "__init__.py").is_file()


def said_of(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    file = PACKAGE / room / "__init__.py" if is_folder(room) else PACKAGE / f"{room}.py"
    text = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".")


def written(room: str) -> str:
    """Return a room as its files are found: `plan/`, `hive.py`."""
    return f"{room}/" if is_folder(room) else f"{room}.py"


def picture() -> str:
    """Return the floors, the highest first, as an indented block of Markdown."""
    floors = contracts()["floors"]
    layers = floors["layers"]
    lines = [f"   ┌{'─' * WIDTH}┐"]
    for number, layer in zip(reversed(range(len(layers))), layers, strict=True):
        rooms, between = rooms_of(layer)
        said = [line for room in rooms for line in _said(room, alone=len(rooms) == 1)]
        lines += [f"   ├{'─' * WIDTH}┤"] if len(lines) > 1 else []
        lines.append(f"{number:>2} │{_cells([written(room) for room in rooms], between)}│ {said[0]}")
        lines += [f"   │{' ' * WIDTH}│ {other}" for other in said[1:]]
    lines.append(f"   └{'─' * WIDTH}┘")
    lines += [f"   {ASIDE}: {written(room)}: {said_of(room)}" for room in floors.get("exhaustive_ignores", ())]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _said(room: str, *, alone: bool) -> list[str]:
    text = said_of(room) if alone else f"{written(room)}: {said_of(room)}"
    return textwrap.wrap(text, SAID, subsequent_indent="" if alone else "  ")


def _cells(rooms: list[str], between: str) -> str:
    width = (WIDTH - len(rooms) + 1) // len(rooms)
    return between.join(f" {room}".ljust(width) for room in rooms).ljust(WIDTH)


def held() -> str:
    """Return what the other contracts hold, as a list."""
    return "\n".join(f"- {one['name']}." for name, one in contracts().items() if name != "floors")


def drawing() -> str:
    """Return all that stands between the marks."""
    legend = (
        f"`{APART}` know nothing of each other; `{TOGETHER}` may import from each other. "
        "What the contracts hold beside the floors:"
    )
    return f"{BEGIN}\n\n{picture()}\n\n{legend}\n\n{held()}\n\n{END}"


def drawn_into(text: str) -> str:
    """Return a page with the drawing in the place of the one that it has."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"The page has no place for the rooms: {BEGIN} … {END}")
    return f"{before}{drawing()}{after}"


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put it into docs/architecture.md")
    if parser.parse_args().write:
        PAGE.write_text(drawn_into(PAGE.read_text()))
    else:
        print(drawing())


if __name__ == "__main__":
    main()
