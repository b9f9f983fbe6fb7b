"""What may stand where in a command, and what Tab offers for it: for shells, and for `%hive` lines.

    wanted(command, param, words)  what may stand there: kinds of words, from the grammar alone
    offers(kinds, names)           the offers of these kinds that the grammar and the names of a deployment give

The names of a deployment are a value, `commands.names.Names`: of one that is loaded, or as the last load has left them.
Nothing here evaluates a deployment or asks a host. Files (`file`, `folder`, `nix file`) are listed by the face, or by
the shell; `runs` lists runs, and a digest (`plan`) is what a notebook alone knows.
"""

from __future__ import annotations

import itertools
import logging
import os
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from nixhive_nb.deployment.expressions import KNOWN_GROUPS, is_expression
from nixhive_nb.plan.options import STEPS
from nixhive_nb.plan.plan import PLANNED
from nixhive_nb.run.journal import RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import click

    from nixhive_nb.commands.names import Names

_log = logging.getLogger(__name__)

Wanted = Literal[
    "target", "system", "instance", "instance:", "verb", "command", "step", "run", "plan", "file", "folder", "nix file",
]  # fmt: skip
"""What a word can be. `instance:` is one that a path on it follows, as of scp."""
_MOST_FILES = 5000
_ABOUT = 60
_BY_NAME: dict[str, tuple[Wanted, ...]] = {
    "pattern": ("target",),
    "config": ("nix file",),
    "path": ("nix file",),
    "state": ("file",),
    "state_dir": ("folder",),
    "tls": ("folder",),
    "file": ("file",),
    "target": ("file",),
    "stdin": ("file",),
    "no": ("step",),
    "run_id": ("run",),
    "resume": ("run",),
    "agreed": ("plan",),
    "command": ("command",),
}
"""Parameters that want the same in each command that has them."""
_OF_SYSTEMS = ("systems", "build")
"""Commands whose patterns are for names of systems."""


class Offer(msgspec.Struct, frozen=True):
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


def wanted(command: str, param: click.Parameter, words: Sequence[str]) -> tuple[Wanted, ...]:
    """Return what may stand in the place of a parameter, after these words of it; nothing where we cannot know.

    Values of a `click.Choice` are not told here: click knows them.
    """
    name = str(param.name)
    if name == "patterns":
        return ("system",) if command in _OF_SYSTEMS else ("target",)
    if name == "words":
        return _of_words(command, words)
    if (command, name) == ("run", "command"):
        return ()  # the host's own
    return _BY_NAME.get(name, ())


def _of_words(command: str, words: Sequence[str]) -> tuple[Wanted, ...]:
    """Return what may come next in a command that takes its words as they come: plan, ssh and scp."""
    if command == "ssh":
        from nixhive_nb.commands.openssh import in_place_of_host  # noqa: PLC0415 - completing is below each command

        return ("instance",) if in_place_of_host(words) else ()
    if command == "scp":
        return ("instance:", "file")
    if tuple(words[:1]) == ("build",):
        return ("system",)
    return ("target",) if words else ("verb", "target")


def offers(kinds: Iterable[Wanted], names: Names) -> Iterator[Offer]:
    """Return what is offered for these kinds of words, as far as the grammar and the names of a deployment tell."""
    for kind in kinds:
        match kind:
            case "target":
                yield from groups()
                yield from targets(names)
            case "system":
                yield from (Offer(name, "system") for name in names.systems)
            case "instance":
                yield from instances(names)
            case "instance:":
                yield from instances(names, ":")
            case "verb":
                yield from (Offer(verb, "command", f"what {verb} would do") for verb in PLANNED)


def commands(abouts: Mapping[str, str]) -> Iterator[Offer]:
    """Return the commands of a group, by name with their short helps."""
    return (Offer(name, "command", brief(abouts[name])) for name in sorted(abouts))


def options(params: Iterable[click.Option]) -> Iterator[Offer]:
    """Return the names of options, the long one of each first."""
    for option in params:
        for name in sorted((*option.opts, *option.secondary_opts), key=len, reverse=True):
            yield Offer(name, "option", brief(option.help))


def brief(text: str | None) -> str:
    """Return the first sentence of a help."""
    sentence, _, _ = " ".join((text or "").split()).partition(". ")
    return textwrap.shorten(sentence.rstrip("."), _ABOUT, placeholder=" …")


def groups() -> Iterator[Offer]:
    """Return the groups of instances."""
    return (Offer(f"@{name}", "group", f"those {what}") for name, what in KNOWN_GROUPS.items())


def steps(value: str) -> Iterator[Offer]:
    """Return what the last word of a list of steps (`build,re`) may be: those that are not named before it."""
    *named, _ = value.split(",")
    return (Offer(step, "step") for step in STEPS if step not in named)


def targets(names: Names) -> Iterator[Offer]:
    """Return the names that a pattern for instances can be: tags and systems, then instances."""
    systems = Counter(names.instances.values())
    for name in sorted({*systems, *names.tags}):
        if name[:1] in ("", "-"):
            continue  # it would be read as an option, or as nothing
        known = {"instance": f"of {names.instances[name]}"} if name in names.instances else {}
        known |= {"system": f"of {systems[name]}"} if name in systems else {}
        known |= {"tag": f"of {names.tags[name]}"} if name in names.tags else {}
        yield Offer(_pattern(name), next(iter(known)), ", ".join(f"{kind} {what}" for kind, what in known.items()))
    for name, system in names.instances.items():
        if name not in systems and name not in names.tags:
            yield Offer(_pattern(name), "instance", f"instance of {system}")


def _pattern(name: str) -> str:
    """Return a name as a pattern; one that begins with @ would be a group."""
    return f"\\{name}" if is_expression(name) else name


def instances(names: Names, end: str = "") -> Iterator[Offer]:
    """Return the names of instances, followed by `end`."""
    for name, system in names.instances.items():
        yield Offer(f"{name}{end}", "instance", f"instance of {system}", goes_on=bool(end))


def runs(folder: Path) -> Iterator[Offer]:
    """Return the ids of the runs in a folder of ours, newest first: they name journals, and begin with the time."""
    try:
        with os.scandir(folder / RUNS) as found:
            names = [entry.name for entry in itertools.islice(found, _MOST_FILES)]
    except OSError:
        _log.debug("cannot list the runs in %s", folder, exc_info=True)
        return
    for name in sorted(names, reverse=True):
        if name.endswith(".jsonl"):
            yield Offer(name.removesuffix(".jsonl"), "run")
