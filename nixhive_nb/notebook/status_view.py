"""How instances stand to what is wanted of them, as a cell shows it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.notebook.display import Bundle
from nixhive_nb.plan.status import STANDINGS, Standing, standings
from nixhive_nb.util import html
from nixhive_nb.util.text import count_text, seconds_text, size_text, table_text
from nixhive_nb.view.plan import change_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.plan.facts import Seen, Wanted
    from nixhive_nb.plan.plan import Survey

ROWS = 50
_HEADER = ("instance", "state", "system", "runs → wanted", "generation", "up", "free on /nix", "note")
_NUMBERS = ("generation", "up", "free on /nix")
_DIM = ("system", "runs → wanted")
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
_SYMBOLS: dict[Standing, str] = {
    "in sync": "✓",
    "reboot needed": "⚠",
    "boots it next": "◑",
    "mixture": "✕",
    "outdated": "◐",
    "never deployed": "○",
    "unreachable": "✕",
    "unknown": "?",
}
_COLOURS: dict[Standing, str] = {
    "in sync": html.OK,
    "reboot needed": html.WARN,
    "boots it next": html.WARN,
    "mixture": html.BAD,
    "outdated": html.WARN,
    "never deployed": html.WARN,
    "unreachable": html.BAD,
    "unknown": html.BAD,
}


class _Row(msgspec.Struct, frozen=True):
    """An instance: what its cells say, and the whole paths."""

    state: Standing
    cells: dict[str, str]
    paths: str


class StatusView(Bundle):
    """What a survey found."""

    def __init__(self, survey: Survey) -> None:
        """Show `survey`."""
        self._states = standings(survey)
        wanted = {one.system: one for one in survey.wanted}
        seen = {one.instance: one for one in survey.seen}
        targets = sorted(survey.targets, key=lambda target: _FIRST.index(self._states[target.instance]))
        self._rows = [
            _row(
                target.instance,
                target.system,
                self._states[target.instance],
                wanted.get(target.system),
                seen.get(target.instance),
            )
            for target in targets[:ROWS]
        ]
        self._left = Counter(self._states[target.instance] for target in targets[ROWS:])

    def text(self) -> str:
        """Return it as a table of text."""
        header = self._header()
        table = table_text(header, [[row.cells[name] for name in header] for row in self._rows])
        return "\n".join([self._headline(), table, *self._rest()])

    def html(self) -> str:
        """Return it as a table."""
        header = self._header()
        rows = ["".join(_cell(name, row) for name in header) for row in self._rows]
        worst: Standing = min(self._states.values(), key=_FIRST.index, default="in sync")
        parts = [
            html.head(html.escaped(self._headline()), [], _COLOURS[worst]),
            html.table([(name, name in _NUMBERS) for name in header], rows),
        ]
        return "".join([*parts, *map(html.note, self._rest())])

    def _header(self) -> Sequence[str]:
        """Return the columns that say something."""
        return [name for name in _HEADER if name in _HEADER[:3] or any(row.cells[name] for row in self._rows)]

    def _headline(self) -> str:
        total = len(self._states)
        hosts = count_text(total, "host")
        return f"{hosts}: {_counts(Counter(self._states.values()))}" if total else hosts

    def _rest(self) -> list[str]:
        return [f"… and {self._left.total()} more: {_counts(self._left)}"] if self._left else []


def _counts(counts: Counter[Standing]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in STANDINGS if counts[state])


def _row(instance: str, system: str, state: Standing, wanted: Wanted | None, seen: Seen | None) -> _Row:
    facts = seen.facts if seen else None
    current, path = facts.current if facts else "", wanted.path if wanted else ""
    cells = {
        "instance": instance,
        "state": f"{_SYMBOLS[state]} {state}",
        "system": system,
        "runs → wanted": change_text(current, path),
        "generation": "" if facts is None or facts.generation is None else str(facts.generation),
        "up": seconds_text(facts.uptime) if facts else "",
        "free on /nix": size_text(facts.free) if facts else "",
        "note": " ".join("; ".join(filter(None, _notes(wanted, seen))).split()),
    }
    return _Row(state, cells, " → ".join(dict.fromkeys(filter(None, (current, path)))))


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


def _cell(name: str, row: _Row) -> str:
    text = html.escaped(row.cells[name])
    if name == "runs → wanted":
        text = f'<span title="{html.escaped(row.paths)}">{text}</span>'
    colour = _COLOURS[row.state] if name == "state" else html.DIM if name in _DIM else ""
    return html.cell(html.coloured(colour, text) if colour else text, number=name in _NUMBERS, prose=name == "note")
