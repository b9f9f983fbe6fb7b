"""A deployment in words: what was found, and what became of all that one in another format says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixhive_nb.deployment.inventory import Heeded, Inventory

_NAMED = 3
"""How many nodes a line names."""
FORMAT_NAMES = {
    "hive": "",
    "flake": "a flake with nixosConfigurations",
    "colmena": "a hive of colmena",
    "deploy-rs": "a flake with nodes of deploy-rs",
    "morph": "a network of morph",
}
"""The formats in words; ours needs none."""


def loaded_text(name: str, inventory: Inventory) -> str:
    """Return a deployment that was loaded in one line: its name, its format and how much is in it."""
    counts = (count_text(len(inventory.systems), "system"), count_text(len(inventory.instances), "instance"))
    return f"{name}: {', '.join(filter(None, [FORMAT_NAMES[inventory.format], *counts]))}"


def heeded_lines(heeded: Iterable[Heeded]) -> list[str]:
    """Return a line for each thing that a deployment in another format says: how it is heeded, and of which nodes."""
    return [f"  {one.attribute}{_of(one.of)}: {one.how}{f' ({one.what})' if one.what else ''}" for one in heeded]


def _of(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
    return f" of {', '.join(names[:_NAMED])}{more}"
