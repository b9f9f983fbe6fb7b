"""Instances that are one host, as they say when they are asked: what one of them is given, the other loses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixhive_nb.plan.facts import Seen
    from nixhive_nb.plan.step import Step

_ALONE = ("fetch", "activate", "reboot")
"""What two instances that are one host must not do at once."""


def twins(seen: Iterable[Seen]) -> list[tuple[str, ...]]:
    """Return the instances that are one host: one boot of one machine."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in seen:
        if one.facts is not None and one.facts.boot_id:
            found.setdefault((one.facts.boot_id, one.facts.machine_id), []).append(one.instance)
    return [tuple(names) for names in found.values() if len(names) > 1]


def warning(names: Sequence[str]) -> str:
    """Return the warning for instances that are one host."""
    return (
        f"{' and '.join(names)} are one host: they say the same boot id. Each deploy of one undoes the other, so that "
        "they are worked on one after the other; take all but one of them out."
    )


def one_by_one(steps: Iterable[Step], groups: Iterable[Sequence[str]]) -> list[Step]:
    """Get the steps so that those that change one host are never carried out at once, whatever it is called there."""
    lock = {name: f"host:{names[0]}" for names in groups for name in names}
    return [
        msgspec.structs.replace(step, locks=(*step.locks, lock[step.instance]))
        if step.instance in lock and step.kind in _ALONE
        else step
        for step in steps
    ]
