"""What changes in packages, as a person reads it: once for all instances on which the same changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nixhive_nb.util.text import count_text, size_text
from nixhive_nb.view.listing import Cell, Column, Row, Section, Table, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.view.listing import Ink

    Record = Mapping[str, Any]

_COLUMNS = (
    Column("package", cut=True),
    Column("change"),
    Column("version", cut=True),
    Column("size", number=True),
)
_SIGNS: dict[str, tuple[str, Ink]] = {
    "added": ("+ added", "ok"),
    "removed": ("- removed", "bad"),
    "changed": ("→ changed", "warn"),
}


def diff_table(records: Sequence[Record], systems: Mapping[str, str]) -> Table:
    """Return what differs between what instances run and what is wanted; `systems` has the system of each instance.

    Packages whose versions stay, as after a rebuild, are counted and not named.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        if not record["error"]:
            found.setdefault(record["instance"], []).append(record)
    groups: dict[tuple[Any, ...], list[str]] = {}
    for instance, changes in found.items():
        groups.setdefault((systems.get(instance, ""), *map(_alike, changes)), []).append(instance)
    sections = [_section(names, key[0], found[names[0]]) for key, names in groups.items()]
    lost = [record for record in records if record["error"]]
    told = [f"{len(found)} of {count_text(len(systems), 'host')} would change"]
    told += [f"{len(lost)} could not be compared"] if lost else []
    return Table(
        headline=", ".join(told),
        tone="bad" if lost else "",
        columns=_COLUMNS,
        sections=tuple(sections),
        notes=tuple(Cell(f"✕ {plain(one['instance'])}: {plain(one['error'])}", "bad") for one in lost),
        empty="" if lost else "No package differs.",
    )


def _alike(record: Record) -> tuple[object, ...]:
    return tuple(record[name] for name in ("package", "change", "old_versions", "new_versions", "size"))


def _section(names: Sequence[str], system: str, changes: Sequence[Record]) -> Section:
    """Return what changes alike on some instances of a system, with what comes of it in all."""
    hosts = plain(", ".join(names))
    title = hosts if list(names) == [system] else f"{hosts} ({plain(system)})"
    rows, rebuilt, size = [], 0, 0
    for one in changes:
        size += one["size"] or 0
        if one["change"] == "changed" and one["old_versions"] == one["new_versions"]:
            rebuilt += 1
            continue
        sign, tone = _SIGNS[one["change"]]
        rows.append(
            Row((
                Cell(plain(one["package"])),
                Cell(sign, tone),
                Cell(_versions(one)),
                Cell(change_of_size(one["size"])),
            ))
        )  # fmt: skip
    if rebuilt:
        rows.append(
            Row((Cell(f"{count_text(rebuilt, 'package')} with the same version", "dim"), Cell(), Cell(), Cell()))
        )
    total = f", {change_of_size(size)} in all" if size else ""
    return Section(tuple(rows), f"{title}{total}")


def _versions(record: Record) -> str:
    old, new = plain(record["old_versions"]), plain(record["new_versions"])
    if not old or not new:
        return old or new
    return f"{old} → {new}"


def change_of_size(size: int | None) -> str:
    """Return how much more or less something takes: `+1.2 MB`, `-300 B`; empty where it is the same."""
    return "" if not size else f"{'+' if size > 0 else '-'}{size_text(abs(size))}"
