"""A plan in plain text: the headline, the options in words, and the table that every face shows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.plan.relays import reads_from
from nixhive_nb.util.text import count_text, seconds_text, size_text, strip_control
from nixhive_nb.view import listing as listings
from nixhive_nb.view.listing import Cell, Column, Ink, Table, listing, path_cell, short_path
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.plan_rows import Fate, InstanceRow, SystemRow, instance_rows, system_rows
from nixhive_nb.view.screen import ENDLESS
from nixhive_nb.view.words import FATES, VERBS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.view.screen import Screen

    Row = InstanceRow | SystemRow

WARNINGS = 20
"""How many warnings are shown where space is short: there may be one for each instance."""
_PLACES = 3
"""How many places that build, and how many relays, are named in a line."""
_ATTENTION = ("unreachable", "broken", "refused", "act", "nothing")
_TONES: dict[Fate, Ink] = {"act": "", "nothing": "dim", "unreachable": "bad", "broken": "bad", "refused": "bad"}
_BUILT = (Column("system"), Column("what will happen", prose=True), Column("result", rank=1, cut=True))
_TOUCHED = (
    Column("wave", number=True),
    Column("instance"),
    Column("system", rank=4),
    Column("what will happen", prose=True),
    Column("now → wanted", rank=2, cut=True),
    Column("lacks", rank=1, number=True),
    Column("reboot", rank=3),
    Column("generation", rank=5, number=True),
)
_ELSEWHERE = (Column("built on", rank=2, cut=True), Column("to send", rank=3, number=True))
"""Where systems are built on other machines."""


def plan_text(plan: Plan, *, most: int | None = None, screen: Screen = ENDLESS, wide: bool = False) -> str:
    """Return a whole plan as text; with `most`, that many rows, and the rest counted."""
    return listing_text(plan_listing(plan, most=most), screen, wide=wide)


def plan_listing(plan: Plan, *, most: int | None = None) -> Table:
    """Return a plan as a listing; with `most`, that many rows, and the rest counted."""
    rows = plan_rows(plan)
    shown = most_telling(rows, most)
    is_elsewhere = any(isinstance(row, InstanceRow) and row.built_on for row in rows)
    columns = _BUILT if plan.verb == "build" else (*_TOUCHED, *(_ELSEWHERE if is_elsewhere else ()))
    split = any(target.batch > 1 for target in plan.targets)
    rest = [Cell(rest_text(plan, rows, shown), "dim")] if len(shown) < len(rows) else []
    return Table(
        headline=title(plan, rows),
        facts=tuple(plan_facts(plan, rows)),
        ways=tuple(plan_ways(plan)),
        columns=columns,
        sections=listing([_row(plan, row, split=split, elsewhere=is_elsewhere) for row in shown]),
        notes=(*rest, *(Cell(text, "warn") for text in _warned(plan, most))),
    )


def few_warnings(plan: Plan) -> tuple[Sequence[str], Sequence[str]]:
    """Return the warnings of a plan as far as a page holds them, and a line that counts the others, if any."""
    more = len(plan.warnings) - WARNINGS
    return plan.warnings[:WARNINGS], [f"… and {count_text(more, 'more warning')}"] if more > 0 else []


def _warned(plan: Plan, most: int | None) -> list[str]:
    shown, more = (plan.warnings, ()) if most is None else few_warnings(plan)
    return [*(f"warning: {strip_control(warning)}" for warning in shown), *more]


def plan_rows(plan: Plan) -> Sequence[Row]:
    """Return the rows of a plan: its instances, or for a build its systems."""
    return system_rows(plan) if plan.verb == "build" else instance_rows(plan)


def most_telling(rows: Sequence[Row], most: int | None) -> Sequence[Row]:
    """Return at most `most` rows. Where not all fit, those that need attention come first, else all in their order."""
    if most is None or len(rows) <= most:
        return rows
    return sorted(rows, key=lambda row: _ATTENTION.index(row.fate))[:most]


def title(plan: Plan, rows: Sequence[Row]) -> str:
    """Return what a plan is called, and first of all whether it changes nothing."""
    return f"{'No changes. ' if is_idle(rows) else ''}Plan {plan.digest}"


def is_idle(rows: Sequence[Row]) -> bool:
    """Return whether nothing of a plan is left to do."""
    return bool(rows) and all(row.fate == "nothing" for row in rows)


def plan_facts(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Return what will be done, in numbers: instances by what happens to them, waves, builds, pushes, bytes."""
    facts = [f"{plan.verb} {strip_control(plan.source)}"]
    if plan.revision is not None:
        facts.append(f"revision {plan.revision.short}")
    if plan.targets:
        facts.append(counts_text(plan, rows))
        facts.append(count_text(len({target.wave for target in plan.targets}), "wave"))
        batches = len({(target.wave, target.batch) for target in plan.targets})
        if batches > len({target.wave for target in plan.targets}):
            facts.append(count_text(batches, "batch", "batches"))
    facts += _systems(plan)
    above = reads_from(plan.steps)
    if pushes := _pushes(plan, rows, above):
        facts.append(count_text(pushes, "push to a store", "pushes to stores"))
        facts += _levels(above)
    return facts + _bytes([row for row in rows if isinstance(row, InstanceRow)])


def counts_text(plan: Plan, rows: Sequence[Row]) -> str:
    """Return how many rows have which fate: `4 to activate, 2 nothing to do, 1 unreachable`."""
    counts: Counter[str] = Counter(row.fate for row in rows)
    words = {fate: VERBS[plan.verb].to_do if fate == "act" else known.words for fate, known in FATES.items()}
    return ", ".join(f"{counts[fate]} {text}" for fate, text in words.items() if counts[fate]) or "nothing to do"


def plan_ways(plan: Plan) -> list[str]:
    """Return how it will be done, in words: canary, batches, failures, confirmation, checks, pauses."""
    options = plan.options
    if plan.verb not in ("deploy", "rollback"):
        return []
    found = []
    if options.canary:
        found.append(f"canary of {options.canary}")
    if options.batch:
        found.append(f"batches of {options.batch}")
    if plan.allowed is not None:
        found.append(f"stops when more than {plan.allowed} failed")
    if options.pause:
        found.append(f"pause of {seconds_text(options.pause)} between")
    if options.type in ("switch", "test"):
        back = f"rolls back unless confirmed within {options.confirm:g} s"
        found.append(back if options.confirm else "no confirmation")
        found.append("with checks" if options.checks else "no checks")
    if options.wait:
        found.append(f"waits {seconds_text(options.wait)} for other activations")
    if options.force:
        found.append("also where nothing changes")
    return found


def rest_text(plan: Plan, rows: Sequence[Row], shown: Sequence[Row]) -> str:
    """Return the line for rows that are not shown: `… and 950 more: 940 to activate, 10 nothing to do`."""
    left = sorted(rows, key=lambda row: _ATTENTION.index(row.fate))[len(shown) :]
    return f"… and {len(left)} more: {counts_text(plan, left)}"


def deed_text(plan: Plan, row: Row) -> str:
    """Return in words what happens to a row, with where its system comes from."""
    if isinstance(row, SystemRow) or row.fate != "act" or row.moves == 0 or plan.verb not in ("push", "deploy"):
        return " ".join(strip_control(row.action).split())
    source = f"fetch from {strip_control(store_host(row.store) or row.store)}" if row.store else "receive from here"
    if row.built_on and store_host(row.built_on) == row.instance:
        source = "build"
    elif row.built_on and not row.store:
        source = f"receive from {strip_control(row.built_on)}"
    return source if plan.verb == "push" else f"{source}, {row.action}"


def reboot_text(needed: bool | None) -> str:  # noqa: FBT001 - three answers, not a switch
    """Return whether a reboot is needed: `needed`, `no`, or nothing where that is not known."""
    return "" if needed is None else "needed" if needed else "no"


def change_text(current: str, wanted: str) -> str:
    """Return what runs and what will run in short; of equal names the second is its hash alone."""
    now, then = short_path(current), short_path(wanted)
    if not wanted or current == wanted:
        return now
    if not current:
        return f"→ {then}"
    key, mark, name = then.partition("…-")
    return f"{now} → {key}…" if mark and now.endswith(f"{mark}{name}") else f"{now} → {then}"


def _row(plan: Plan, row: Row, *, split: bool, elsewhere: bool) -> listings.Row:
    """Return the cells of a row below the titles of the columns.

    `split`: name the batch beside the wave; `elsewhere`: where its system is built.
    """
    deed = Cell(deed_text(plan, row), _TONES[row.fate])
    if isinstance(row, SystemRow):
        return listings.Row((Cell(strip_control(row.system)), deed, path_cell(row.wanted)), row.fate)
    reboot = reboot_text(row.reboot)
    cells = (
        Cell(f"{row.wave}.{row.batch}" if split else str(row.wave)),
        Cell(strip_control(row.instance)),
        Cell(strip_control(row.system), "dim"),
        Cell(deed.text, deed.tone, strip_control(row.store)),
        Cell(change_text(row.current, row.wanted), "dim", " → ".join(filter(None, (row.current, row.wanted)))),
        Cell(size_text(row.moves)),
        Cell(reboot, "warn" if row.reboot else "dim"),
        Cell("" if row.generation is None else str(row.generation)),
        *((Cell(strip_control(row.built_on) or "here"), Cell(size_text(row.to_send))) if elsewhere else ()),
    )
    return listings.Row(cells, row.fate)


def _systems(plan: Plan) -> list[str]:
    """Return how many systems are to be built: those of which it is not known that they are built."""
    if plan.verb not in ("build", "push", "deploy"):
        return []
    known = {system for step in plan.steps if step.kind == "register" and step.path for system in step.systems}
    measured = {target.system for target in plan.targets if _is_measured(plan, target.instance)}
    verb = "build" if plan.options.realise else "instantiate"
    needed = {system for step in plan.steps if step.kind == "register" for system in step.systems}
    new = len(needed - known - measured)
    facts = [f"{count_text(new, 'system')} to {verb}"] if new else []
    facts += _built_elsewhere(plan)
    return [*facts, *([f"{len(known)} as last built"] if known else [])]


def _built_elsewhere(plan: Plan) -> list[str]:
    """Return where systems are built that are not built here, as many of these places as a line holds."""
    places = [step for step in plan.steps if step.kind == "build" and step.store]
    named = _few([f"{strip_control(step.system)} on {strip_control(step.store)}" for step in places])
    lacks = [one.lacks for one in plan.sendings if not one.refusal]
    sent = [f"{'' if len(lacks) == len(places) else 'at least '}{size_text(sum(lacks))} to send there"] if lacks else []
    return [f"to build there: {', '.join(named)}", *sent] if named else []


def _is_measured(plan: Plan, instance: str) -> bool:
    """Return whether it is known what an instance lacks of its system: that is so only where it is built."""
    seen = plan.seen_of(instance)
    return seen is not None and seen.moves is not None


def _pushes(plan: Plan, rows: Sequence[Row], above: Mapping[str, str]) -> int:
    """Return how many systems are to be brought to stores: those from which an instance needs something, and above."""
    needed = set()
    for row in rows:
        store = row.store if isinstance(row, InstanceRow) and row.fate != "nothing" and row.moves != 0 else ""
        while store and (row.system, store) not in needed:
            needed.add((row.system, store))
            store = above.get(store, "")
    return sum(1 for step in plan.steps if step.kind == "push" and (step.system, step.store) in needed)


def _levels(above: Mapping[str, str]) -> list[str]:
    """Return which relays read from other relays, as many as a line holds."""
    below: dict[str, list[str]] = {}
    for store, source in above.items():
        if source:
            below.setdefault(_named(source), []).append(_named(store))
    parts = [f"{', '.join(_few(stores))} from {source}" for source, stores in below.items()]
    return [f"relays: {'; '.join(_few(parts))}"] if parts else []


def _few(words: Sequence[str]) -> list[str]:
    more = [f"and {len(words) - _PLACES} more"] if len(words) > _PLACES else []
    return [*words[:_PLACES], *more]


def _named(store: str) -> str:
    return strip_control(store_host(store) or store)


def _bytes(rows: Sequence[InstanceRow]) -> list[str]:
    """Return how much the instances lack, by where they get it from; nothing when none was measured."""
    acting = [row for row in rows if row.fate == "act"]
    if all(row.moves is None for row in acting):
        return []
    least = "at least " if any(row.moves is None for row in acting) else ""
    direct = sum(row.moves or 0 for row in acting if not row.store and not row.built_on)
    relayed = sum(row.moves or 0 for row in acting if row.store)
    facts = [f"{least}{size_text(direct)} from here"]
    return [*facts, f"{least}{size_text(relayed)} from stores"] if relayed else facts
