"""What the commands that look list, made from records: plain values by the names of the DataFrame's columns."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from nixhive_nb.deployment.revision import short_revision
from nixhive_nb.util.text import count_text, seconds_text
from nixhive_nb.view.listing import Cell, Column, Row, Table, listing, moment_text, path_cell, plain
from nixhive_nb.view.status import standing_cell
from nixhive_nb.view.words import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixhive_nb.plan.status import Standing
    from nixhive_nb.run.history import RunEntry
    from nixhive_nb.view.listing import Ink

    Record = Mapping[str, Any]

_NO_INSTANCE = "There is no instance."
_STATES: dict[str, tuple[str, Ink]] = {
    "ended": ("", ""),
    "running": ("● running", "run"),
    "killed": ("✕ killed", "bad"),
}


def instances_table(records: Sequence[Record], stood: Mapping[str, Standing] | None = None) -> Table:
    """Return instances in the order of a deploy; `stood` says how some stood when they were last asked."""
    columns = (
        Column("instance"),
        Column("system"),
        Column("stood", rank=2),
        Column("tags", rank=1, cut=True),
        Column("wave", rank=3, number=True),
        Column("address", rank=4),
        Column("jump", rank=5, cut=True),
        Column("store", rank=6, cut=True),
    )
    rows = [
        Row((
            Cell(plain(one["instance"])),
            Cell(plain(one["system"]), "dim"),
            _stood(stood, one["instance"]),
            Cell(plain(", ".join(one["tags"]))),
            Cell(str(one["wave"])),
            Cell(plain(one["address"]), "dim"),
            Cell(plain(one["jump"])),
            Cell(plain(one["store"]), "dim"),
        ))
        for one in records
    ]  # fmt: skip
    waves = len({one["wave"] for one in records})
    counts = [count_text(len(rows), "instance"), count_text(len({one["system"] for one in records}), "system")]
    more = [count_text(waves, "wave")] if waves > 1 else []
    return Table(headline=", ".join([*counts, *more]), columns=columns, sections=listing(rows), empty=_NO_INSTANCE)


def systems_table(records: Sequence[Record]) -> Table:
    """Return systems with what is known of their last build."""
    columns = (
        Column("system"),
        Column("platform", rank=2),
        Column("instances", rank=3, number=True),
        Column("last result", rank=1, cut=True),
        Column("derivation", wide=True, rank=5, cut=True),
        Column("include paths", wide=True, rank=4, cut=True),
    )
    rows = [
        Row((
            Cell(plain(one["system"])),
            Cell(plain(one["platform"]), "dim"),
            Cell(_number(one["instances"])),
            path_cell(one["result"]) if one["result"] else Cell("not built yet", "warn"),
            path_cell(one["derivation"]),
            Cell(plain(", ".join(one["paths"])), "dim"),
        ))
        for one in records
    ]  # fmt: skip
    built = sum(1 for one in records if one["result"])
    headline = f"{count_text(len(rows), 'system')}, {built} with a result of an earlier build"
    return Table(headline=headline, columns=columns, sections=listing(rows), empty="There is no system.")


def generations_table(records: Sequence[Record]) -> Table:
    """Return the generations of the system profiles, host by host."""
    columns = (
        Column("instance"),
        Column("generation", number=True),
        Column("is"),
        Column("made (UTC)", rank=2),
        Column("version", rank=3, cut=True),
        Column("system", rank=1, cut=True),
        Column("note", prose=True, below=True),
    )
    rows = [row for _, group in groupby(records, lambda one: one["instance"]) for row in _generations(list(group))]
    hosts = len({one["instance"] for one in records})
    number = sum(1 for one in records if one["number"] is not None)
    lost = sum(1 for one in records if one["error"])
    counts = [count_text(number, "generation"), *([f"{lost} not asked"] if lost else [])]
    return Table(
        headline=f"{count_text(hosts, 'host')}: {', '.join(counts)}",
        tone="bad" if lost else "",
        columns=columns,
        sections=listing(rows),
        empty="None of these hosts has a generation.",
    )


def check_table(records: Sequence[Record]) -> Table:
    """Return how the checks of instances went, those that fail first."""
    columns = (
        Column("instance"),
        Column("check"),
        Column("holds"),
        Column("time", rank=2, number=True),
        Column("tries", rank=3, number=True),
        Column("kind", wide=True),
        Column("found", prose=True, below=True),
        Column("description", wide=True, prose=True),
    )
    rows = [
        Row((
            Cell(plain(one["instance"])),
            Cell(plain(one["check"])),
            Cell("✓ yes", "ok") if one["ok"] else Cell("✕ no", "bad") if one["check"] else Cell("? not asked", "bad"),
            Cell(seconds_text(one["seconds"])),
            Cell(_number(one["tries"])),
            Cell(plain(one["kind"]), "dim"),
            Cell(plain("; ".join(filter(None, (one["reason"], one["error"]))))),
            Cell(plain(one["description"]), "dim"),
        ))
        for one in sorted(records, key=lambda one: bool(one["ok"]))
    ]  # fmt: skip
    good = sum(1 for one in records if one["ok"])
    return Table(
        headline=f"{good} of {count_text(len(rows), 'check')} {'hold' if good != 1 else 'holds'}",
        tone="ok" if good == len(rows) else "bad",
        columns=columns,
        sections=listing(rows),
    )


def history_table(entries: Sequence[RunEntry], *, empty: str) -> Table:
    """Return runs, the newest first as they are given: who asked for what when, how long it took and how it ended."""
    columns = (
        Column("run"),
        Column("started (UTC)"),
        Column("took", number=True),
        Column("command", prose=True),
        Column("outcome", prose=True),
        Column("who", rank=2, cut=True),
        Column("by", rank=4, cut=True),
        Column("reason", rank=3, prose=True),
        Column("revision", rank=5),
        Column("plan", wide=True),
        Column("whole id", wide=True),
    )
    rows = [
        Row((
            Cell(short_run(one.run), "", one.run),
            Cell(moment_text(one.started)),
            Cell(seconds_text(one.seconds)),
            Cell(plain(one.command)),
            _outcome(one),
            Cell(plain(one.who), "dim"),
            Cell(plain(one.program), "dim"),
            Cell(plain(one.reason)),
            Cell(plain(short_revision(one.revision)), "dim", one.revision),
            Cell(plain(one.digest[:12]), "dim"),
            Cell(plain(one.run), "dim"),
        ))
        for one in entries
    ]  # fmt: skip
    return Table(headline=count_text(len(rows), "run"), columns=columns, sections=listing(rows), empty=empty)


def lab_table(records: Sequence[Record]) -> Table:
    """Return the hosts of the practice fleet."""
    columns = (
        Column("instance"),
        Column("state"),
        Column("init", rank=1),
        Column("address", rank=3),
        Column("port", rank=3, number=True),
        Column("user", rank=2),
        Column("pid", rank=4, number=True),
        Column("network", rank=5),
        Column("host key", wide=True),
    )
    rows = [
        Row((
            Cell(plain(one["instance"])),
            Cell("✓ running", "ok") if one["running"] else Cell("✕ down", "bad"),
            Cell(one["init"]),
            Cell(one["address"]),
            Cell(_number(one["port"])),
            Cell(one["user"]),
            Cell(_number(one["pid"])),
            Cell(one["netns"], "dim"),
            Cell(one["host_key"], "dim"),
        ))
        for one in records
    ]  # fmt: skip
    up = sum(1 for one in records if one["running"])
    return Table(
        headline=f"{up} of {count_text(len(rows), 'practice host')} running",
        tone="ok" if up == len(rows) else "bad",
        columns=columns,
        sections=listing(rows),
    )


def short_run(run: str) -> str:
    """Return what follows the time in the id of a run: enough to name it."""
    return plain(run.partition("-")[2] or run)


def _stood(stood: Mapping[str, Standing] | None, instance: str) -> Cell:
    state = (stood or {}).get(instance)
    return standing_cell(state) if state else Cell()


def _generations(records: Iterable[Record]) -> Iterable[Row]:
    for at, one in enumerate(records):
        name = plain(one["instance"])
        marks = [word for word, so in (("runs", one["running"]), ("boots next", one["current"])) if so]
        yield Row((
            Cell(name, "dim" if at else ""),
            Cell(_number(one["number"])),
            Cell(", ".join(marks), "ok" if one["running"] else "warn"),
            Cell(_time(one["created"])),
            Cell(plain(one["version"])),
            path_cell(one["path"] or ""),
            Cell(plain(one["error"]), "bad"),
        ))  # fmt: skip


def _outcome(entry: RunEntry) -> Cell:
    """Return how a run ended, in counts: `✓ 3 done, 1 unchanged`."""
    words, tone = _STATES[entry.state]
    counts: dict[str, int] = {
        outcome: entry.counts[outcome] for outcome in OUTCOMES if outcome and entry.counts.get(outcome)
    }
    counts |= {name: number for name, number in entry.counts.items() if name not in counts and number}
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    looks = [look for outcome, look in OUTCOMES.items() if outcome in counts]
    if not words and looks:
        worst = next((look for look in looks if look.tone == "bad"), looks[0])
        words, tone = worst.symbol, worst.tone
    cut = "interrupted" if entry.interrupted else ""
    return Cell(" ".join(filter(None, [words, ", ".join(filter(None, [told, cut]))])), tone)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _time(value: str | None) -> str:
    return moment_text(datetime.fromisoformat(value).timestamp()) if value else ""
