"""What may come next in a line, by what it is: commands, options, names of a deployment, files, runs, variables."""

from __future__ import annotations

import inspect
import itertools
import logging
import os
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.deployment.expressions import KNOWN_GROUPS, is_expression
from nixhive_nb.run.journal import RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import click

    from nixhive_nb.deployment.inventory import Inventory

_log = logging.getLogger(__name__)

_MOST_FILES = 5000
_ABOUT = 60


class LineOffer(msgspec.Struct, frozen=True):
    """Something that may come next."""

    text: str
    kind: str
    """What it is, in a word."""
    about: str = ""
    """The same in a few words."""
    goes_on: bool = False
    """Whether it is only the beginning of a word, as a folder is of a path."""
    name: str = ""
    """What is typed to get it, where that is not `text` itself."""

    def fits(self, typed: str) -> bool:
        """Return whether it goes on from what is typed, and can be seen as it is."""
        return (self.name or self.text).startswith(typed) and self.text.isprintable()


def commands(group: click.Group) -> Iterator[LineOffer]:
    """Return the commands of a group."""
    for name in sorted(group.commands):
        command = group.commands[name]
        if not command.hidden:
            yield LineOffer(name, "command", _brief(command.help))


def options(params: Iterable[click.Option]) -> Iterator[LineOffer]:
    """Return the names of options, the long one of each first."""
    for option in params:
        for name in sorted((*option.opts, *option.secondary_opts), key=len, reverse=True):
            yield LineOffer(name, "option", _brief(option.help))


def _brief(text: str | None) -> str:
    """Return the first sentence of a help."""
    sentence, _, _ = " ".join((text or "").split()).partition(". ")
    return textwrap.shorten(sentence.rstrip("."), _ABOUT, placeholder=" …")


def groups() -> Iterator[LineOffer]:
    """Return the groups of instances."""
    return (LineOffer(f"@{name}", "group", f"those {what}") for name, what in KNOWN_GROUPS.items())


def targets(inventory: Inventory) -> Iterator[LineOffer]:
    """Return the names that a pattern for instances can be: tags and systems, then instances."""
    instances = inventory.instances
    systems = Counter(one.system for one in instances.values())
    tags = Counter(tag for one in instances.values() for tag in set(one.tags))
    for name in sorted({*systems, *tags}):
        if name[:1] in ("", "-"):
            continue  # it would be read as an option, or as nothing
        known = {"instance": f"of {instances[name].system}"} if name in instances else {}
        known |= {"system": f"of {systems[name]}"} if name in systems else {}
        known |= {"tag": f"of {tags[name]}"} if name in tags else {}
        yield LineOffer(_pattern(name), next(iter(known)), ", ".join(f"{kind} {what}" for kind, what in known.items()))
    for name, one in instances.items():
        if name not in systems and name not in tags:
            yield LineOffer(_pattern(name), "instance", f"instance of {one.system}")


def _pattern(name: str) -> str:
    """Return a name as a pattern; one that begins with @ would be a group."""
    return f"\\{name}" if is_expression(name) else name


def instances(inventory: Inventory, end: str = "") -> Iterator[LineOffer]:
    """Return the names of instances, followed by `end`."""
    for name, one in inventory.instances.items():
        yield LineOffer(f"{name}{end}", "instance", f"instance of {one.system}", goes_on=bool(end))


def systems(inventory: Inventory) -> Iterator[LineOffer]:
    """Return the names of all systems, also of those that no instance runs."""
    return (LineOffer(name, "system") for name in inventory.systems)


def runs(folder: Path) -> Iterator[LineOffer]:
    """Return the ids of the runs in a folder of ours, newest first: they name journals, and begin with the time."""
    names = sorted((name for name, _ in _entries(str(folder / RUNS)) if name.endswith(".jsonl")), reverse=True)
    return (LineOffer(name.removesuffix(".jsonl"), "run") for name in names)


def paths(value: str, suffix: str = "") -> Iterator[LineOffer]:
    """Return the folders, and the files whose names end so, that a path may go on with."""
    folder, slash, start = value.rpartition("/")
    for name, is_folder in sorted(_entries(folder + slash or ".")):
        if (is_folder or name.endswith(suffix)) and (start.startswith(".") or not name.startswith(".")):
            end = "/" if is_folder else ""
            yield LineOffer(f"{folder}{slash}{name}{end}", "folder" if is_folder else "file", goes_on=is_folder)


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return the names in a folder, and whether each is a folder; none where it cannot be read."""
    try:
        with os.scandir(Path(folder).expanduser()) as found:
            return [(entry.name, entry.is_dir()) for entry in itertools.islice(found, _MOST_FILES)]
    except (OSError, RuntimeError):  # the latter for the home folder of nobody
        _log.debug("cannot list %s", folder, exc_info=True)
        return []


def variables(names: Mapping[str, Any], hidden: Mapping[str, Any], mark: str, end: str = "") -> Iterator[LineOffer]:
    """Return the variables of a notebook, without those that are IPython's own.

    `mark` (`$`, `${`) stands before each, and `end` after it.
    """
    for name, value in sorted(names.items()):
        own = name.startswith("_") or (name in hidden and hidden[name] is value)
        if not own and not inspect.ismodule(value) and not inspect.isroutine(value) and not inspect.isclass(value):
            yield LineOffer(f"{mark}{name}{end}", "variable", f"variable of type {type(value).__name__}")
