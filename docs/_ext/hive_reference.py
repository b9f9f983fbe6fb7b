"""Directives that write the reference from the code: commands from the grammar, settings from their traits.

`hive-commands`
    A section for each command of `nixhive_nb.commands.hive_group`: usage, help, its own options.
`hive-common-options`
    The options that every command takes.
`hive-settings`
    The settings of `%hive` in a notebook.
"""

# ruff: noqa: INP001 - Sphinx imports this file by its name

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from nixhive_nb.commands import hive_group
from nixhive_nb.notebook.settings import Hive as Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sphinx.application import Sphinx

PROGRAM = "nix-hive"
OPTION = re.compile(r"((?<![\w-])--?[a-z][\w-]*)")
COMMON = frozenset(param.name for param in hive_group.params)


class Commands(SphinxDirective):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        """Give the sections, in the order of their names."""
        self.env.note_reread()  # the code changes where the page does not
        with click.Context(hive_group, info_name=PROGRAM) as root:
            return [section(command, context) for command, context in commands(root)]


class CommonOptions(SphinxDirective):
    """The options that every command takes."""

    def run(self) -> list[nodes.Node]:
        """Give them as a list of definitions."""
        self.env.note_reread()
        with click.Context(hive_group, info_name=PROGRAM) as root:
            return definitions(record(param, root) for param in hive_group.params if param.name != "version")


class SettingsTable(SphinxDirective):
    """The settings of `%hive`, their defaults, and what they do."""

    def run(self) -> list[nodes.Node]:
        """Give them as a list of definitions."""
        self.env.note_reread()
        traits = Settings.class_own_traits(config=True)
        return definitions(
            (f"Hive.{name}", f"{' '.join(trait.help.split())}  [default: {default(trait)}]")
            for name, trait in sorted(traits.items())
        )


def commands(parent: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Give each command with its context, those of a group in its place."""
    group = parent.command
    assert isinstance(group, click.Group)  # noqa: S101 - the caller begins with one
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        with click.Context(command, info_name=name, parent=parent) as context:
            if isinstance(command, click.Group):
                yield from commands(context)
            else:
                yield command, context


def section(command: click.Command, context: click.Context) -> nodes.section:
    """Give what there is to say about one command."""
    words = context.command_path.removeprefix(f"{PROGRAM} ")
    anchor = nodes.make_id(words)
    found = nodes.section(ids=[anchor], names=[anchor])
    found += nodes.title(words, "", nodes.literal(words, words))
    usage = f"{words} {' '.join(command.collect_usage_pieces(context))}"
    found += nodes.literal_block(usage, usage, language="text")
    found += [prose(text) for text in paragraphs(command.help or "")]
    own = [record(param, context) for param in command.get_params(context) if own_option(param)]
    return found.__iadd__(definitions(own))


def own_option(param: click.Parameter) -> bool:
    """Tell whether an option is one that not every command takes."""
    return isinstance(param, click.Option) and param.name not in COMMON and "--help" not in param.opts


def record(param: click.Parameter, context: click.Context) -> tuple[str, str]:
    """Give how an option is written, and what it does."""
    return param.get_help_record(context) or (param.make_metavar(context), "")


def definitions(records: Iterable[tuple[str, str]]) -> list[nodes.Node]:
    """Give a list of what is written and what it does; nothing for an empty one."""
    items = [
        nodes.definition_list_item(
            "", nodes.term("", "", nodes.literal(written, written)), nodes.definition("", prose(meaning))
        )
        for written, meaning in records
    ]
    return [nodes.definition_list("", *items, classes=["options"])] if items else []


def default(trait: object) -> str:
    """Give the default of a setting as one writes it."""
    return repr(getattr(trait, "default_value", None))


def paragraphs(text: str) -> Sequence[str]:
    """Give the paragraphs of a help, each in one line."""
    return [" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n") if part.strip()]


def prose(text: str) -> nodes.paragraph:
    """Give a paragraph in which `words` between backticks are literal, and nothing else means anything."""
    found = nodes.paragraph()
    for number, part in enumerate(re.split(r"`([^`]+)`", text)):
        if part:
            found += [nodes.literal(part, part)] if number % 2 else plain(part)
    return found


def plain(text: str) -> list[nodes.Node]:
    """Give a text whose options are not broken at the end of a line; the class is that of words in a literal."""
    parts = enumerate(OPTION.split(text))
    return [nodes.inline(part, part, classes=["pre"]) if number % 2 else nodes.Text(part) for number, part in parts]


def on_docstring(_app: Sphinx, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Have the indented parts of a docstring stand as they are."""
    text = re.sub(r"^(?! )(.*)\n\n(?=    )", r"\1\n\n::\n\n", "\n".join(lines), flags=re.MULTILINE)
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of the directives."""
    app.add_directive("hive-commands", Commands)
    app.add_directive("hive-common-options", CommonOptions)
    app.add_directive("hive-settings", SettingsTable)
    app.connect("autodoc-process-docstring", on_docstring)
    return {"parallel_read_safe": True}
