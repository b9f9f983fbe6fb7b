"""What the picture of a plan holds: this machine, the relays, the waves from left to right, and who reads from where.

A plan of any size becomes a picture of about one screen: equal instances are counted where they are many.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.plan.relays import reads_from
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.plan import counts_text
from nixhive_nb.view.plan_rows import FATES, Fate, InstanceRow, instance_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nixhive_nb.plan.plan import Plan

    Stage = tuple[InstanceRow, ...]

ONE_BY_ONE = (40, 12, 3, 1)
"""How many instances of one wave, system, store and fate stand one by one: the first that gives few enough boxes."""
BOXES = 96
STAGES = 8
"""How many waves or batches stand side by side."""
GROUPS = 8
"""How many kinds of instances a wave shows."""
RELAYS = 6


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """One instance, or several that are alike."""

    label: str
    about: str
    """What happens to it, in words."""
    fate: Fate


class SceneGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Instances of one wave that run one system and get it from one place."""

    system: str
    sources: tuple[int | None, ...]
    """The numbers of the relays that they read from; None: this machine."""
    boxes: tuple[Box, ...]
    built: str = ""
    """Where the system is built, in a word or two; empty for this machine."""


class SceneColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A wave, a batch of one, or several of them in short."""

    title: str
    groups: tuple[SceneGroup, ...]


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    """A store that instances read from, or several stores in short."""

    label: str
    about: str
    systems: int
    """How many systems are pushed there."""
    sources: tuple[int | None, ...] = (None,)
    """The numbers of the relays that it reads from, each before its own; None: this machine sends."""
    level: int = 0
    """How many relays are above it."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a picture shows."""

    title: str
    about: str
    relays: tuple[Relay, ...]
    columns: tuple[SceneColumn, ...]


def scene_of(plan: Plan) -> Scene:
    """Return what the picture of a plan holds; of a build there are no columns."""
    rows = instance_rows(plan)
    pushes = Counter(step.store for step in plan.steps if step.kind == "push")
    above = reads_from(plan.steps)
    stores = _in_order(above)
    # What reads from a store beyond the last that is shown is counted with that.
    relay_of = {store: min(number, RELAYS - 1) for number, store in enumerate(stores)}
    stages = _stages(rows)
    columns: tuple[SceneColumn, ...] = ()
    for most in ONE_BY_ONE:
        columns = tuple(_column(plan, title, stage, relay_of, most) for title, stage in stages)
        if sum(len(group.boxes) for column in columns for group in column.groups) <= BOXES:
            break
    return Scene(
        title=f"Plan {plan.digest}: {plan.verb} {strip_control(plan.source)}",
        about=f"{counts_text(plan, rows)}; {'; '.join(column.title for column in columns)}",
        relays=_relays(stores, pushes, above, relay_of),
        columns=columns,
    )


def _in_order(above: Mapping[str, str]) -> list[str]:
    """Return the stores, those that are shown alone first: each behind the one that it reads from."""
    stores = list(above)
    alone = stores if len(stores) <= RELAYS else stores[: RELAYS - 1]
    below: dict[str, list[str]] = {}
    for store in alone:
        below.setdefault(above[store], []).append(store)

    def tree(store: str) -> Iterator[str]:
        for one in below.get(store, ()):
            yield one
            yield from tree(one)

    return [*tree(""), *stores[len(alone) :]]


def _relays(
    stores: Sequence[str], pushes: Mapping[str, int], above: Mapping[str, str], relay_of: Mapping[str, int]
) -> tuple[Relay, ...]:
    found: list[Relay] = []
    for number in range(min(len(stores), RELAYS)):
        own = [store for store in stores if relay_of[store] == number]
        sources = tuple(dict.fromkeys(relay_of.get(above[store]) for store in own))
        others = [source for source in sources if source is not None and source != number]
        relay = Relay(
            label=f"{len(own)} more stores" if len(own) > 1 else strip_control(store_host(own[0]) or own[0]),
            about="" if len(own) > 1 else strip_control(own[0]),
            systems=sum(pushes[store] for store in own),
            sources=tuple(source for source in sources if source != number),
            level=max((found[source].level + 1 for source in others), default=0),
        )
        found.append(relay)
    return tuple(found)


def _stages(rows: Iterable[InstanceRow]) -> list[tuple[str, Stage]]:
    """Return (title, instances) of each column: batches if few enough, else waves, the last of them together."""
    ordered = sorted(rows, key=lambda row: (row.wave, row.batch))
    batches = [(key, tuple(found)) for key, found in groupby(ordered, key=lambda row: (row.wave, row.batch))]
    waves = [(key, tuple(found)) for key, found in groupby(ordered, key=lambda row: row.wave)]
    parts = Counter(wave for (wave, _), _ in batches)
    if len(batches) <= STAGES:
        return [
            (f"wave {wave}, batch {batch}" if parts[wave] > 1 else f"wave {wave}", found)
            for (wave, batch), found in batches
        ]
    titled = [
        (f"wave {wave}, {parts[wave]} batches" if parts[wave] > 1 else f"wave {wave}", row) for wave, row in waves
    ]
    if len(waves) <= STAGES:
        return titled
    rest = tuple(row for _, found in waves[STAGES - 1 :] for row in found)
    return [*titled[: STAGES - 1], (f"waves {waves[STAGES - 1][0]} to {waves[-1][0]}", rest)]


def _column(plan: Plan, title: str, stage: Stage, relay_of: Mapping[str, int], most: int) -> SceneColumn:
    groups: dict[tuple[str, int | None], list[InstanceRow]] = {}
    for row in stage:
        groups.setdefault((row.system, relay_of.get(row.store)), []).append(row)
    found = [
        SceneGroup(
            system=strip_control(system), sources=(relay,), boxes=tuple(_boxes(plan, rows, most)), built=_built(rows)
        )
        for (system, relay), rows in groups.items()
    ]
    if len(found) > GROUPS:
        found = [*found[: GROUPS - 1], _others(plan, list(groups.items())[GROUPS - 1 :])]
    return SceneColumn(title=title, groups=tuple(found))


def _built(rows: Sequence[InstanceRow]) -> str:
    """Return where instances of one system have it built, as far as a line tells it."""
    hosts = dict.fromkeys(store_host(row.built_on) for row in rows if row.built_on)
    if not hosts:
        return ""
    if all(store_host(row.built_on) == row.instance for row in rows if row.built_on):
        return "built on each"
    shown = strip_control(next(iter(hosts)))
    return f"built on {shown}" if len(hosts) == 1 else f"built on {shown} and {len(hosts) - 1} more"


def _others(plan: Plan, groups: Sequence[tuple[tuple[str, int | None], list[InstanceRow]]]) -> SceneGroup:
    """Return the groups beyond those that are shown, as one."""
    rows = [row for _, group in groups for row in group]
    systems = len({row.system for row in rows})
    return SceneGroup(
        system=f"{systems} more systems",
        sources=tuple(dict.fromkeys(source for (_, source), _ in groups)),
        boxes=tuple(_counted(plan, found, "") for found in _by_fate(rows)),
    )


def _boxes(plan: Plan, rows: Sequence[InstanceRow], most: int) -> Iterable[Box]:
    for found in _by_fate(rows):
        if len(found) > most:
            yield _counted(plan, found, found[0].system)
        else:
            yield from (
                Box(label=strip_control(row.instance), about=strip_control(row.action), fate=row.fate) for row in found
            )


def _by_fate(rows: Sequence[InstanceRow]) -> Iterable[list[InstanceRow]]:
    fates: dict[Fate, list[InstanceRow]] = {fate: [] for fate in FATES}
    for row in rows:
        fates[row.fate].append(row)
    return [found for found in fates.values() if found]


def _counted(plan: Plan, rows: Sequence[InstanceRow], name: str) -> Box:
    label = f"{strip_control(name)} ×{len(rows)}".lstrip()  # noqa: RUF001 - the sign for "times"
    return Box(label=label, about=counts_text(plan, rows), fate=rows[0].fate)
