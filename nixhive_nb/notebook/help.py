"""`%hive deploy?`: the help of a command, where IPython alone would look for a variable `deploy`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nixhive_nb.notebook.private import statements

if TYPE_CHECKING:
    from nixhive_nb.notebook.place import Place

# `%hive deploy?`, and `?%hive deploy`; `%hive?` is IPython's own.
_AFTER = re.compile(r"%hive[ \t]+(?P<words>.*?)[ \t]*\?{1,2}\s*$")
_BEFORE = re.compile(r"\?{1,2}%{1,2}hive[ \t]+(?P<words>.*?)[ \t]*$")


def ask_for_help(lines: list[str]) -> list[str]:
    """Turn the lines of a cell that ask for the help of a command into `%hive COMMAND --help`.

    Nothing that ends in an open `?` is ever carried out. This goes into `input_transformers_cleanup`.
    """
    if not any("%hive" in line for line in lines):
        return lines
    if lines[0].startswith("%%"):
        found = _found_in_cell(lines)
        return lines if found is None else [found]
    changed = list(lines)
    for one in statements(lines):
        found = _found(one.text) if "?" in (one.begins, one.ends) else None
        if found is not None:
            changed[one.first : one.last + 1] = [lines[one.first][: one.column] + found, *[""] * (one.last - one.first)]
    return [line for line in changed if line]


def _found_in_cell(lines: list[str]) -> str | None:
    """Return what the first line of a `%%hive` cell that asks for help is to say; IPython wants a body otherwise."""
    if not re.match(r"%%hive[ \t]", lines[0]):
        return None
    words = lines[0].rstrip("? \t\n").split()[1:]
    asks = {"--help", "-h"} & set(words) and not "".join(lines[1:]).strip()
    if asks:
        return _help_of(words)
    # Here `%%hive run www-?` is a pattern: IPython has no opinion on it.
    return _help_of(words) if lines[0].rstrip().endswith("?") and not _place(words).args else None


def _found(line: str) -> str | None:
    """Return what a line that asks for help is to say; None for one that asks nothing, or not us."""
    found = _AFTER.match(line) or _BEFORE.match(line)
    return _help_of(found["words"].split()) if found is not None else None


def _help_of(words: list[str]) -> str:
    place = _place(words)
    # Who asks for the help of `help deploy` wants that of deploy.
    asked = place.args if place.path == ["help"] and place.args else place.path
    return f"{' '.join(['%hive', *asked])} --help\n"


def _place(words: list[str]) -> Place:
    from nixhive_nb.notebook.place import Place  # noqa: PLC0415 - the grammar: every cell goes through this module

    return Place(words)
