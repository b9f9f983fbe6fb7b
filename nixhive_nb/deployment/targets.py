"""Which instances and systems a command means, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.deployment import expressions as algebra
from nixhive_nb.deployment.globs import compile_glob, is_plain
from nixhive_nb.errors import TargetError
from nixhive_nb.util.order import natural
from nixhive_nb.util.said import one_line
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.deployment.inventory import Inventory


Pattern = str | Iterable[str]
"""A pattern, or several that make one wave together: also a DataFrame whose index or a column is called `instance`."""
_INSTANCE = "instance"
_LONGEST = 80  # letters of a value in a message


class TargetWave(msgspec.Struct, frozen=True):
    """The instances that one pattern (or several together) added: in their order, then as people count."""

    pattern: str
    instances: tuple[str, ...]


class Targets(msgspec.Struct, frozen=True):
    """What a command is to reach: a wave for each pattern that added something. An instance is in one wave."""

    waves: tuple[TargetWave, ...] = ()

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of all instances, in the order of the waves."""
        return tuple(name for wave in self.waves for name in wave.instances)


Groups = Callable[[str], Collection[str]]
"""Gives the names of the instances that are in a group (see `algebra.KNOWN_GROUPS`)."""


def select_instances(inventory: Inventory, patterns: Sequence[Pattern] = (), groups: Groups | None = None) -> Targets:
    """Return the instances whose name, system or tags match a pattern, each where it was first hit. No pattern: all.

    Each element makes a wave; one that is a list of patterns makes a single wave of all that they hit. A word that
    begins with `@` is an expression or a group (see `algebra`); `groups` is asked for those that occur, each once.
    Raises `TargetError` for a malformed pattern, and for one that hits nothing.
    """
    if not patterns and not inventory.instances:
        return Targets()
    asked = [words_of(element) for element in patterns or ("*",)]
    uses_groups(asked)  # a word that is malformed is told before any host is asked
    selection = _Selection(inventory, groups)
    waves = []
    seen: set[str] = set()
    for group in asked:
        wave: list[str] = []
        for pattern in group:
            found = selection.named_by(pattern)
            wave += sorted(found - seen, key=natural)
            seen |= found
        waves.append(TargetWave(", ".join(group), tuple(wave)))
    return Targets(tuple(wave for wave in waves if wave.instances))


def words_of(pattern: Pattern) -> tuple[str, ...]:
    """Return the patterns that make one wave. Raises `TargetError` for what is no text, and for what holds another."""
    if isinstance(pattern, str):
        return (pattern,)
    given: object = pattern
    if hasattr(pattern, "columns") and hasattr(pattern, "index"):
        given = names_in_frame(pattern)
        if given is None:
            raise TargetError(f"The DataFrame names nobody: neither its index nor a column is called `{_INSTANCE}`.")
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise TargetError(f"{_shown(given)} is no pattern: write a text, or several in a list.")
    words = tuple(given)
    for word in words:
        if not isinstance(word, str):
            raise TargetError(f"A list of patterns holds {_shown(word)}, which is no text.")
    return words


def names_in_frame(frame: Any) -> Any | None:  # noqa: ANN401 - this room has no pandas
    """Return the column or index of a DataFrame that has names of instances or systems; None for one without.

    Its own items are names of columns, which may be tags as well.
    """
    if frame.index.name != _INSTANCE and _INSTANCE in frame.columns:  # its systems would be more hosts than these
        return frame[_INSTANCE]
    return frame.index if frame.index.name in (_INSTANCE, "system") else None


def _shown(value: object) -> str:
    return f"{one_line(repr(value), _LONGEST)} ({type(value).__name__})"


def uses_groups(patterns: Iterable[Pattern]) -> set[str]:
    """Return the names of the groups that occur in patterns, so `{"failed"}` for `@(web and @failed)`.

    Raises `TargetError` for a malformed expression and an unknown group.
    """
    words = chain.from_iterable(map(words_of, patterns))
    expressions = (algebra.parse(word) for word in words if algebra.is_expression(word))
    return set().union(*(algebra.groups_in(expression) for expression in expressions))


class _Selection:
    """What patterns name in one inventory."""

    def __init__(self, inventory: Inventory, groups: Groups | None) -> None:
        self._inventory = inventory
        self._groups = groups
        self._members: dict[str, frozenset[str]] = {}
        self._words: defaultdict[str, list[str]] = defaultdict(list)
        for instance in inventory.instances.values():
            for word in {instance.name, instance.system, *instance.tags}:
                self._words[word].append(instance.name)

    def named_by(self, pattern: str) -> frozenset[str]:
        """Return the instances that a pattern, a group or an expression names; never none."""
        if not algebra.is_expression(pattern):
            return self._matched(pattern)
        expression = algebra.parse(pattern)
        found = algebra.evaluate(expression, self._matched, self._group, frozenset(self._inventory.instances))
        if found:
            return found
        if isinstance(expression, algebra.Leaf):
            raise TargetError(f"'{pattern}' is empty: no instance is {algebra.meaning(expression.text)}.")
        raise TargetError(f"'{pattern}' leaves no instance of {self._inventory.source}.")

    def _matched(self, pattern: str) -> frozenset[str]:
        hits = _matching(pattern, self._words)
        if not hits:
            raise _no_instance(pattern, self._words, self._inventory)
        return frozenset(chain.from_iterable(self._words[word] for word in hits))

    def _group(self, name: str) -> frozenset[str]:
        if self._groups is None:
            raise TargetError(
                f"'@{name}' cannot be used here, where neither hosts nor runs are looked at; write patterns."
            )
        if name not in self._members:
            self._members[name] = frozenset(self._groups(name)) & self._inventory.instances.keys()
        return self._members[name]


def select_systems(inventory: Inventory, patterns: Sequence[Pattern] = ()) -> tuple[str, ...]:
    """Return the names of the systems that match a pattern, each where it was first hit. No pattern: all.

    One that is an empty list names none. Raises `TargetError` for a malformed pattern, and for one that hits nothing.
    """
    if not patterns:
        return tuple(sorted(inventory.systems, key=natural))
    selected: dict[str, None] = {}
    for pattern in chain.from_iterable(map(words_of, patterns)):
        if algebra.is_expression(pattern):
            raise TargetError(
                f"'{pattern}' would name instances, and systems are wanted here; write patterns for them."
            )
        hits = _matching(pattern, inventory.systems)
        if not hits:
            raise _no_match(pattern, inventory.systems, f"system of {inventory.source}")
        selected |= dict.fromkeys(sorted(hits, key=natural))
    return tuple(selected)


def _no_instance(pattern: str, words: Iterable[str], inventory: Inventory) -> TargetError:
    unused = _matching(pattern, inventory.systems)
    if unused:
        return TargetError(f"'{pattern}' matches {', '.join(unused)} of {inventory.source}, which no instance runs.")
    return _no_match(pattern, words, f"instance, system or tag of {inventory.source}")


def _matching(pattern: str, words: Collection[str]) -> list[str]:
    if is_plain(pattern):  # thousands of names may be given, and thousands of words be there
        return [pattern] if pattern in words else []
    match = compile_glob(pattern).fullmatch
    return [word for word in words if match(word)]


def _no_match(pattern: str, words: Iterable[str], what: str) -> TargetError:
    alike = near(pattern, words)
    hint = f" Near: {', '.join(alike)}." if alike else ""
    return TargetError(f"'{pattern}' matches no {what}.{hint}")
