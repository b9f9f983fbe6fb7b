"""Write docs/reference/options.md from the tables of options: `.venv/bin/python tools/options_page.py`.

A test fails where the page is not what this writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.plan.options import OPTIONS
from nixhive_nb.run.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixhive_nb.plan.options import Option

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "options.md"
TOP = """\
# The options

This page is written from the table that the commands, the Python API and the settings have their options from
(`tools/options_page.py`). A command takes the words, a method of [`Hive`](python.md) the keyword:
`%hive deploy web --canary 1 --no checks` is `hive.deploy("web", canary=1, no=["checks"])`. What is no value is refused
before anything is done, with what is allowed. `plan` takes the options of the verb that it plans.

## Of a plan

"""
LIMITED = """
## Limits

Every command takes them. In Python they are fields of `Limits`: `Hive.load("example", limits=Limits(parallel=4))`.

"""
HEAD = "| option | keyword | value | default | commands | what it does |\n| --- | --- | --- | --- | --- | --- |\n"


def page_text() -> str:
    """Return the whole page."""
    return f"{TOP}{HEAD}{_rows(OPTIONS)}{LIMITED}{HEAD}{_rows(LIMITS)}"


def _rows(options: Iterable[Option]) -> str:
    return "".join(f"| {' | '.join(_cells(one))} |\n" for one in options)


def _cells(one: Option) -> tuple[str, ...]:
    commands = "" if one.only_python else ", ".join(f"`{verb}`" for verb in one.verbs) or "all"
    flags = [f"`{flag.word}` ({', '.join(flag.verbs)}): {flag.help}" for flag in one.flags]
    told = " ".join((one.help, *flags))
    default = one.usually or (one.kind.word(one.default) if one.default else "")
    return tuple(
        text.replace("|", "\\|") for text in (_spelt(one), f"`{one.name}`", one.kind.allowed, default, commands, told)
    )


def _spelt(one: Option) -> str:
    if one.only_python:
        return ""
    words = [flag.word for flag in one.flags] or [*one.spelt[:-1], f"{one.long} {one.metavar}".rstrip()]
    return ", ".join(f"`{word}`" for word in words)


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")
