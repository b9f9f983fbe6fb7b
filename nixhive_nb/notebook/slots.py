"""What may come next on the line, by the grammar: where a list may stand, and where a host's own command begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.openssh import ssh_flag_takes_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nixhive_nb.notebook.words import Slot


def command_word(argv: Sequence[str]) -> str:
    """Return the command that arguments name, empty when they name none yet."""
    at = _first_word(argv, _valued(hive_group))
    return argv[at] if at < len(argv) else ""


def slot_after(argv: Sequence[str], *, cell: bool = False) -> Slot:
    """Return what the word after `argv` is: one value, as many as you like, or text for a host (not in a `%%hive`)."""
    at = _first_word(argv, _valued(hive_group))
    if at >= len(argv):
        return "one"
    rest = argv[at + 1 :]
    command = hive_group.commands.get(argv[at])
    if command is None:
        return "many"
    if command.name == "ssh":
        return "one" if _first_word(rest, ssh_flag_takes_value) >= len(rest) else "verbatim"
    valued = _valued(command)
    if command.name == "run" and not cell and _first_word(rest, valued) < len(rest):
        return "verbatim"
    return "one" if rest and "--" not in rest and valued(rest[-1]) else "many"


def _first_word(argv: Sequence[str], valued: Callable[[str], bool]) -> int:
    """Return where the first word stands that is no option: after the end when there is none, one more for a value."""
    at = 0
    while at < len(argv) and argv[at].startswith("-") and argv[at] != "-":
        if argv[at] == "--":
            return at + 1
        at += 2 if valued(argv[at]) else 1
    return at


def _valued(command: click.Command) -> Callable[[str], bool]:
    options = [param for param in command.params if isinstance(param, click.Option) and not param.is_flag]
    names = {name for option in options for name in option.opts}
    return names.__contains__
