"""Where in the grammar a line has come to: in which command, what it waits for, and where a host's command begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.openssh import ssh_flag_takes_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Slot = Literal["one", "many", "verbatim"]
"""What the next word may be: one value, several, or text in which nothing is expanded."""


class Place:
    """Where the words of a line lead."""

    def __init__(self, words: Iterable[str]) -> None:
        """Go through `words`, which stand between `%hive` and the one that is typed."""
        self.command: click.Command | None = hive_group
        """The command they name, the group as long as they name none; None for one that is not there."""
        self.path: list[str] = []
        """The words that name it, such as lab and up."""
        self.option: click.Option | None = None
        """The option whose value comes next."""
        self.args: list[str] = []
        """The words of the command itself."""
        self.ended = False
        """Whether `--` has ended the options."""
        self.words: list[str] = []
        """All words behind its name, with its options."""
        self._given: set[str] = set()
        for word in words:
            self._take(word)

    def _take(self, word: str) -> None:
        option, self.option = self.option, None
        if not isinstance(self.command, click.Group):
            self.words.append(word)
        if not self.ended and word.startswith("-") and word != "-":
            self._take_option(word)
        elif option is not None:
            pass  # its value
        elif isinstance(self.command, click.Group):
            self.command = self.command.commands.get(word)
            self.path.append(word)
        else:
            self.args.append(word)

    def _take_option(self, word: str) -> None:
        name, has_value, _ = word.partition("=")
        self.ended = word == "--"
        option = self.find(name)
        if option is None and not name.startswith("--"):
            option, has_value = self.find(name[:2]), name[2:]  # -cPATH
        if option is not None:
            self._given.add(str(option.name))
            self.option = None if option.is_flag or has_value else option

    def find(self, name: str) -> click.Option | None:
        """Return the option of a name such as `-c`, None when the command has none."""
        return next((option for option in self._options() if name in option.opts + option.secondary_opts), None)

    def options(self) -> Iterator[click.Option]:
        """Return the options that may still come."""
        return (option for option in self._options() if option.multiple or option.name not in self._given)

    def argument(self) -> click.Argument | None:
        """Return the argument that the next word is, None when the command takes no more."""
        left = len(self.args)
        for param in self._params():
            if isinstance(param, click.Argument):
                if param.nargs < 0 or left < param.nargs:
                    return param
                left -= param.nargs
        return None

    def _options(self) -> Iterator[click.Option]:
        return (param for param in self._params() if isinstance(param, click.Option) and not param.hidden)

    def _params(self) -> Sequence[click.Parameter]:
        command = self.command
        if command is None:
            return []
        # With the settings that it is called with: click keeps the option of the help that it makes here.
        settings: dict[str, Any] = {**hive_group.context_settings, **command.context_settings}
        return command.get_params(click.Context(command, resilient_parsing=True, **settings))


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
