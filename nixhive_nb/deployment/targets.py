"""Which instances and systems a command means, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.globs import compile_glob
from nixhive_nb.deployment.near import near
from nixhive_nb.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.deployment.inventory import Inventory


Pattern = str | Iterable[str]
"""A pattern, or several that make one wave together."""


class Wave(msgspec.Struct, frozen=True):
    """The instances that one pattern (or several together) added: in the order of the patterns, then of name."""

    pattern: str
    instances: tuple[str, ...]


class Targets(msgspec.Struct, frozen=True):
    """What a command is to reach: a wave for each pattern that added something. An instance is in one wave."""

    waves: tuple[Wave, ...] = ()

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of all instances, in the order of the waves."""
        return tuple(name for wave in self.waves for name in wave.instances)


def select_instances(inventory: Inventory, patterns: Sequence[Pattern] = ()) -> Targets:
    """Give the instances whose name, system or tags match a pattern, each where it was first hit. No pattern: all.

    Each element makes a wave; one that is a list of patterns makes a single wave of all that they hit.
    Raises `TargetError` for a malformed pattern, and for one that hits nothing.
    """
    if not patterns and not inventory.instances:
        return Targets()
    words: defaultdict[str, list[str]] = defaultdict(list)
    for instance in inventory.instances.values():
        for word in {instance.name, instance.system, *instance.tags}:
            words[word].append(instance.name)
    waves = []
    seen: set[str] = set()
    for element in patterns or ("*",):
        group = (element,) if isinstance(element, str) else tuple(element)
        wave: list[str] = []
        for pattern in group:
            hits = _matching(pattern, words)
            if not hits:
                raise _no_instance(pattern, words, inventory)
            found = set(chain.from_iterable(words[word] for word in hits))
            wave += sorted(found - seen)
            seen |= found
        waves.append(Wave(", ".join(group), tuple(wave)))
    return Targets(tuple(wave for wave in waves if wave.instances))


def select_systems(inventory: Inventory, patterns: Sequence[str] = ()) -> tuple[str, ...]:
    """Give the names of the systems that match a pattern, each where it was first hit. No pattern: all.

    Raises `TargetError` for a malformed pattern, and for one that hits nothing.
    """
    if not patterns:
        return tuple(inventory.systems)
    selected: dict[str, None] = {}
    for pattern in patterns:
        hits = _matching(pattern, inventory.systems)
        if not hits:
            raise _no_match(pattern, inventory.systems, f"system of {inventory.source}")
        selected |= dict.fromkeys(sorted(hits))
    return tuple(selected)


def _no_instance(pattern: str, words: Iterable[str], inventory: Inventory) -> TargetError:
    unused = _matching(pattern, inventory.systems)
    if unused:
        return TargetError(f"'{pattern}' matches {', '.join(unused)} of {inventory.source}, which no instance runs.")
    return _no_match(pattern, words, f"instance, system or tag of {inventory.source}")


def _matching(pattern: str, words: Iterable[str]) -> list[str]:
    match = compile_glob(pattern).fullmatch
    return [word for word in words if match(word)]


def _no_match(pattern: str, words: Iterable[str], what: str) -> TargetError:
    alike = near(pattern, words)
    hint = f" Near: {', '.join(alike)}." if alike else ""
    return TargetError(f"'{pattern}' matches no {what}.{hint}")
