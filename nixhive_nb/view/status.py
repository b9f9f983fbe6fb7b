"""How instances stand to what is wanted of them, as a listing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nixhive_nb.deployment.revision import short_revision
from nixhive_nb.plan.status import STANDINGS, Standing, standings
from nixhive_nb.util.text import count_text, seconds_text, size_text
from nixhive_nb.view.listing import Cell, Column, Row, Table, listing, plain
from nixhive_nb.view.plan import change_text
from nixhive_nb.view.words import LOOKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixhive_nb.plan.facts import Seen, Wanted
    from nixhive_nb.plan.plan import Survey
    from nixhive_nb.ssh.carrier import Carrier

_COLUMNS = (
    Column("instance"),
    Column("state"),
    Column("system", rank=5),
    Column("runs → wanted", rank=1, cut=True),
    Column("revision", rank=6),
    Column("generation", rank=4, number=True),
    Column("up", rank=3, number=True),
    Column("free on /nix", rank=2, number=True),
    Column("note", prose=True, below=True),
)
_FIRST: tuple[Standing, ...] = (
    "unreachable",
    "unknown",
    "mixture",
    "never deployed",
    "outdated",
    "boots it next",
    "reboot needed",
    "in sync",
)
"""Those that need attention first."""


def status_table(survey: Survey, carriers: Mapping[str, Carrier] | None = None) -> Table:
    """Return what a survey found, with a row for each instance: those that need attention first.

    Of those in `carriers` that OpenSSH carries, it says so, and why.
    """
    states = standings(survey)
    wanted = {one.system: one for one in survey.wanted}
    seen = {one.instance: one for one in survey.seen}
    targets = sorted(survey.targets, key=lambda target: _FIRST.index(states[target.instance]))
    rows = [
        _row(
            target.instance,
            target.system,
            states[target.instance],
            wanted.get(target.system),
            seen.get(target.instance),
            carrier=(carriers or {}).get(target.instance),
        )
        for target in targets
    ]
    hosts = count_text(len(states), "host")
    worst: Standing = min(states.values(), key=_FIRST.index, default="in sync")
    return Table(
        headline=f"{hosts}: {_counts(Counter(states.values()))}" if states else hosts,
        tone=LOOKS[worst].tone,
        columns=_COLUMNS,
        sections=listing(rows),
    )


def standing_cell(state: Standing) -> Cell:
    """Return the cell of how an instance stands."""
    return Cell(f"{LOOKS[state].symbol} {state}", LOOKS[state].tone)


def _counts(counts: Counter[Standing]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in STANDINGS if counts[state])


def _carried(carrier: Carrier | None) -> str:
    return f"by OpenSSH: {carrier.why}" if carrier is not None and carrier.name == "openssh" else ""


def _row(
    instance: str, system: str, state: Standing, wanted: Wanted | None, seen: Seen | None, *, carrier: Carrier | None
) -> Row:
    facts = seen.facts if seen else None
    current, path = facts.current if facts else "", wanted.path if wanted else ""
    cells = (
        Cell(plain(instance)),
        standing_cell(state),
        Cell(plain(system), "dim"),
        Cell(change_text(current, path), "dim", " → ".join(dict.fromkeys(filter(None, (current, path))))),
        Cell(plain(short_revision(seen.revision)) if seen else "", "dim", seen.revision if seen else ""),
        Cell("" if facts is None or facts.generation is None else str(facts.generation)),
        Cell(seconds_text(facts.uptime) if facts else ""),
        Cell(size_text(facts.free) if facts else ""),
        Cell(plain("; ".join(filter(None, [*_notes(wanted, seen), _carried(carrier)])))),
    )
    return Row(cells, state)


def _notes(wanted: Wanted | None, seen: Seen | None) -> list[str]:
    if seen is None:
        return ["it was not asked"]
    notes = [seen.error, wanted.error if wanted else ""]
    facts = seen.facts
    if facts is None:
        return notes
    if facts.specialisation:
        notes.append(f"it runs specialisation {facts.specialisation}")
    if facts.unclean:
        notes.append("an activation did not end well: it runs parts of two systems, until the next one or a reboot")
    if facts.current and facts.profile and not facts.does_run(facts.profile):
        notes.append("the next boot starts another system")
    if facts.loader and facts.loader != facts.profile:
        notes.append("its boot loader starts another system than the profile says")
    if facts.holder:
        notes.append(f"{facts.holder} is activating there")
    if facts.failed_units:
        notes.append(f"failed units: {', '.join(facts.failed_units)}")
    return notes
