"""What `doctor` found, as a listing: a row for each instance, and what is amiss, with the lines that mend it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from nixhive_nb.plan.diagnosis import CLOCK_SECONDS
from nixhive_nb.util.text import count_text, seconds_text, size_text
from nixhive_nb.view.listing import Cell, Column, Row, Snippet, Table, listing, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixhive_nb.plan.examined import Diagnosis, HostExamined, Shortcoming

_COLUMNS = (
    Column("instance"),
    Column("state"),
    Column("login", rank=2, cut=True),
    Column("through", rank=8, cut=True),
    Column("by", rank=12),
    Column("key", rank=9, cut=True),
    Column("root by", rank=3),
    Column("takes pushes by", rank=4),
    Column("relay", rank=5),
    Column("free on /nix", rank=6, number=True),
    Column("needs", rank=7, number=True),
    Column("/boot", rank=10, number=True),
    Column("clock", rank=11, number=True),
    Column("Nix", rank=13),
    Column("systemd", rank=14),
    Column("runs", rank=15, cut=True),
    Column("built", rank=16, cut=True),
    Column("address", wide=True),
    Column("own ssh configuration", wide=True, prose=True),
)
_ITS_ADDRESS = re.compile(r"(?: \([^()]*\))?(?:: | )")
_NAMED = 5
_MOST_LINES = 60
"""How many lines one shortcoming of many hosts shows; the table has all."""
_MOST_SNIPPETS = 50
_MOST_EFFECTS = 20


def doctor_table(found: Sequence[Diagnosis]) -> Table:
    """Return what was found, with a row for each instance: those with something amiss first."""
    ordered = sorted(found, key=lambda one: (not one.error, one.ok))
    well = sum(1 for one in found if one.ok)
    lost = sum(1 for one in found if one.error)
    counts = [f"{well} well", *([f"{len(found) - well - lost} with shortcomings"] if len(found) - well - lost else [])]
    counts += [f"{lost} unreachable"] if lost else []
    snippets = list(_snippets(ordered))
    rest = len(snippets) - _MOST_SNIPPETS
    more = [Cell(f"… and {rest} more shortcomings: see --json", "bad")] if rest > 0 else []
    return Table(
        headline=f"{count_text(len(found), 'host')}: {', '.join(counts)}",
        tone="ok" if well == len(found) else "bad",
        columns=_COLUMNS,
        sections=listing([_row(one) for one in ordered]),
        snippets=tuple(snippets[:_MOST_SNIPPETS]),
        notes=(*more, *_own_notes(found)),
        empty="There is no instance.",
    )


def _row(one: Diagnosis) -> Row:
    host = one.host
    return Row(
        (
            Cell(plain(one.instance)),
            _state(one),
            Cell(plain(one.way.user)),
            Cell(plain(one.way.through), "dim"),
            Cell(plain(one.way.carrier), "dim"),
            Cell(plain(_short_key(one)), "dim", plain(one.login.key_from)),
            _root(one),
            _trust(one),
            _relay(one),
            Cell(size_text(host.facts.free) if host else ""),
            Cell(size_text(host.lacks) if host else ""),
            Cell(size_text(host.boot_free) if host else ""),
            _clock(host),
            Cell(plain(host.nix) if host else ""),
            Cell("" if host is None else "yes" if host.facts.failed_units is not None else "no"),
            Cell(plain(", ".join(host.facts.runs)) if host else "", "dim"),
            Cell(plain(one.builds), "dim"),
            Cell(plain(f"{one.way.address}:{one.way.port}" if one.way.address else ""), "dim"),
            Cell(plain("; ".join(one.way.own)), "dim"),
        ),
        "unreachable" if one.error else "well" if one.ok else "with shortcomings",
    )


def _state(one: Diagnosis) -> Cell:
    if one.error:
        return Cell("✕ unreachable", "bad")
    if one.ok:
        return Cell("✓ well", "ok")
    return Cell(f"✕ {count_text(len(one.shortcomings), 'shortcoming')}", "bad")


def _short_key(one: Diagnosis) -> str:
    where, _, _name = one.login.key_from.partition(" ")
    return f"{one.login.key.partition('@')[0]} ({where})" if one.login.key else ""


def _root(one: Diagnosis) -> Cell:
    host = one.host
    if host is None:
        return Cell()
    if host.facts.root or host.power == 0:
        return Cell(plain(one.root_by))
    return Cell(plain(f"✕ {one.root_by}{', asks' if one.asks else ''}"), "bad")


def _trust(one: Diagnosis) -> Cell:
    return Cell(one.trust, "bad" if one.trust == "nothing" else "")


def _relay(one: Diagnosis) -> Cell:
    host = one.host
    if not one.relay or host is None:
        return Cell()
    if host.relay is not None and not host.relay.is_reached:
        return Cell("✕ not reached", "bad")
    if one.is_allowed is False:
        return Cell("✕ not asked", "bad")
    if one.is_signed is False:
        return Cell("✕ not trusted", "bad")
    return Cell("✓ reached", "ok") if host.relay is not None else Cell("?")


def _clock(host: HostExamined | None) -> Cell:
    if host is None or host.clock is None:
        return Cell()
    offset = host.clock.offset
    if not offset:
        return Cell("right")
    sign = "+" if offset > 0 else "-"
    return Cell(f"{sign}{seconds_text(abs(offset))}", "bad" if abs(offset) > CLOCK_SECONDS else "")


def _snippets(found: Iterable[Diagnosis]) -> Iterable[Snippet]:
    """Yield each shortcoming once for all instances that have it, with all their lines."""
    groups: dict[tuple[str, str], list[tuple[str, Shortcoming]]] = {}
    for one in found:
        for shortcoming in one.shortcomings:
            said = _of_any(one.instance, shortcoming.text)
            groups.setdefault((shortcoming.kind, said), []).append((one.instance, shortcoming))
    for (_, said), members in groups.items():
        names = [name for name, _ in members]
        text = said if names[1:] else members[0][1].text
        more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
        lines = list(dict.fromkeys(line for _, shortcoming in members for line in shortcoming.lines))
        if lines[_MOST_LINES:]:
            lines = [*lines[:_MOST_LINES], f"# … and {len(lines) - _MOST_LINES} more lines: see --json"]
        # What was said of a host that was not reached begins with its name.
        who = "" if len(names) == 1 and text.startswith(f"{names[0]} ") else f"{', '.join(names[:_NAMED])}{more}: "
        yield Snippet(f"✕ {plain(f'{who}{text}')}", tuple(lines), "bad")


def _of_any(instance: str, text: str) -> str:
    """Return what is said of an instance without its name and address: with them it begins where it was not reached."""
    found = _ITS_ADDRESS.match(text, len(instance)) if text.startswith(instance) else None
    return text[found.end() :] if found else text


def _own_notes(found: Iterable[Diagnosis]) -> Iterable[Cell]:
    """Yield a line for each thing that the user's own ssh configuration changes, and of how many hosts."""
    counts = Counter(effect for one in found for effect in one.way.own)
    for effect, number in counts.most_common(_MOST_EFFECTS):
        yield Cell(plain(f"Your own ssh configuration: {effect}, of {count_text(number, 'host')}"), "dim")
