"""A report in plain text: the headline and the table that every face shows, and the message of a failed run."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from typing import TYPE_CHECKING

from nixhive_nb.plan.events import GOOD
from nixhive_nb.plan.options import command_words
from nixhive_nb.plan.plan import BRINGING, ON_INSTANCES
from nixhive_nb.run.logs import short_file
from nixhive_nb.run.report import WORST_FIRST, InstanceRecord, SystemRecord
from nixhive_nb.util.text import seconds_text, size_text, strip_control
from nixhive_nb.view.listing import Cell, Column, Row, Table, listing, path_cell, plain
from nixhive_nb.view.listing_text import listing_text, wrapped
from nixhive_nb.view.screen import ENDLESS
from nixhive_nb.view.words import OUTCOMES, VERBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.run.report import Report
    from nixhive_nb.view.screen import Screen

NIX_HIVE = "nix-hive"
_SOURCE = "hive.nix"
"""The deployment that a terminal takes when none is named."""
_BUILT = (
    Column("system"),
    Column("outcome", prose=True),
    Column("how", rank=3),
    Column("size", rank=1, number=True),
    Column("result", rank=2, cut=True),
)
_TOUCHED = (Column("instance"), Column("outcome", prose=True), Column("path", rank=1, cut=True))
_MOVED = (
    Column("instance"),
    Column("outcome", prose=True),
    Column("how", rank=1, cut=True),
    Column("transfer", rank=2, number=True),
    Column("activate", rank=3, number=True),
    Column("sent", rank=4, number=True),
)
MOST_FAILURES = 10
LINES = 60
"""How many lines of logs are shown in all where space is short; each log has at least `FEWEST`."""
FEWEST = 5
LINE = 240
"""How many characters of such a line."""


def headline(report: Report) -> str:
    """Return the one line that says how a run ended, such as `3 of 4 deployed, 1 failed`."""
    counts = report.counts()
    total = sum(counts.values())
    unchanged, warned = counts.get("unchanged", 0), counts.get("warned", 0)
    good = sum(counts.pop(outcome, 0) for outcome in GOOD)
    dry = report.plan.verb == "deploy" and report.plan.options.type == "dry-activate"
    what = "looked at, nothing activated" if dry else VERBS[report.plan.verb].done
    parts = [f"{good} of {total} {what}"]
    if unchanged and report.plan.verb != "survey":
        parts.append(f"{unchanged} unchanged" if unchanged < total else "all unchanged")
    if warned:
        parts.append(f"{warned} with warnings")
    # Of a rollback, "rolled back" is what went well.
    words = {"rolled back": "went back to what they ran before"} if report.plan.verb == "rollback" else {}
    parts += [f"{counts[name]} {words.get(name, name)}" for name in (*WORST_FIRST, "running") if name in counts]
    return ", ".join(parts)


def details(report: Report) -> str:
    """Return the facts that stand beside the headline: when, how long, which plan and run, what left this machine."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.started))
    parts = [when, seconds_text(report.seconds), f"plan {report.plan.digest}"]
    if report.plan.verb in BRINGING:
        parts.append(f"{size_text(report.sent)} left this machine")
    if report.plan.revision is not None:
        parts.append(f"revision {report.plan.revision.short}")
    if report.run:
        parts.append(f"run {report.run}")
    return " · ".join(parts)


def ordered(report: Report) -> Sequence[InstanceRecord | SystemRecord]:
    """Return the records with those that need attention first, else in the order of the plan."""
    records = report.systems() if report.plan.verb == "build" else report.instances()
    return sorted(records, key=lambda record: record.outcome in GOOD)


def outcome_text(record: InstanceRecord | SystemRecord) -> str:
    """Return an outcome with its symbol, and the step at which it failed."""
    words = OUTCOMES[record.outcome].words
    step = record.failed_step if isinstance(record, InstanceRecord) else ""
    if step and record.outcome == "failed":
        words += f" at {step}"
    if record.outcome == "done" and record.reason:
        words += ", with a warning"
    return f"{OUTCOMES[record.outcome].symbol} {words}"


def again_text(report: Report, program: str) -> str:
    """Return the command that does it again for what failed; empty where nothing failed, or the run is not noted.

    `program` is what stands before its words, such as `%hive`, which knows of the deployment by itself.
    """
    plan = report.plan
    if plan.verb not in ON_INSTANCES or report.ok or not report.run:
        return ""
    words = ["--resume", report.run.rpartition("-")[2]] if plan.verb == "deploy" else _again_words(report)
    if program == NIX_HIVE and plan.source != _SOURCE:
        words += ["-c", strip_control(plan.source)]
    return " ".join([program, plan.verb, *map(shlex.quote, words)])


def _again_words(report: Report) -> list[str]:
    """Return what failed by name, since `@failed` is of the last run only, and the options."""
    failed = [record.instance for record in report.instances() if record.outcome not in GOOD]
    to = ["--to", str(report.plan.to)] if report.plan.to else []
    few = failed if len(failed) <= MOST_FAILURES else ["@failed"]
    return [*few, *command_words(report.plan.options, report.plan.no, report.plan.verb), *to]


def report_text(
    report: Report, *, most: int | None = None, program: str = NIX_HIVE, screen: Screen = ENDLESS, wide: bool = False
) -> str:
    """Return a whole report as text; with `most`, that many rows, and a few reasons with a few lines each.

    `program` is what a user calls to do it again.
    """
    said = _said(report)
    few = said if most is None else said[:MOST_FAILURES]
    lines = [listing_text(report_listing(report, most=most), screen, wide=wide)]
    for title, log, file in few:
        shown = log if most is None else tail(log, len(few))
        lines += [*wrapped(title, screen.width), *(f"  | {strip_control(line)}" for line in shown)]
        lines += [f"  whole log: {strip_control(file)}"] if file else []
    if len(said) > len(few):
        lines.append(f"… and {len(said) - len(few)} more reasons")
    if again := again_text(report, program):
        lines.append(f"Again, for what failed: {strip_control(again)}")
    return "\n".join(lines)


def report_listing(report: Report, *, most: int | None = None) -> Table:
    """Return how a run ended as a listing; with `most`, that many rows, and the rest counted."""
    records = ordered(report)
    columns, rows = _rows(report, records[:most])
    rest = [Cell(rest_text(records[most:]), "dim")] if most is not None and len(records) > most else []
    return Table(
        headline=headline(report),
        tone="ok" if report.ok else "bad",
        facts=tuple(details(report).split(" · ")),
        columns=columns,
        sections=listing(rows),
        notes=tuple(rest),
    )


def _said(report: Report) -> list[tuple[str, Sequence[str], str]]:
    """Return (title, lines, log file) of each reason, and of what dry activations said."""
    reasons = [(f"{name}: {reason}", log, file) for name, reason, log, file in notes(report)]
    return [*reasons, *((f"{names}:", log, "") for names, log in dry_runs(report))]


def tail(log: Sequence[str], logs: int) -> list[str]:
    """Return the last lines of a log where there is room for `logs` of them, too long ones cut."""
    shown = log[-max(FEWEST, LINES // logs) :]
    return [line if len(line) <= LINE else f"{line[: LINE - 1]}…" for line in shown]


def rest_text(records: Sequence[InstanceRecord | SystemRecord]) -> str:
    """Return the line for records that are not shown: `… and 950 more: 948 done, 2 unchanged`."""
    counts = Counter(record.outcome or "running" for record in records)
    return f"… and {len(records)} more: {', '.join(f'{number} {outcome}' for outcome, number in counts.items())}"


def notes(report: Report) -> list[tuple[str, str, tuple[str, ...], str]]:
    """Get (name, reason, last lines, log file) of each record with a reason, equal ones together: `www-1 and 2 more`.

    The last lines and the file are those of the first that failed so; a warning has none.
    """
    found: dict[str, list[InstanceRecord | SystemRecord]] = {}
    for record in ordered(report):
        if record.reason:
            found.setdefault(record.reason, []).append(record)
    return [
        (several([name_of(record) for record in group]), reason, *_log_of(group[0])) for reason, group in found.items()
    ]


def _log_of(record: InstanceRecord | SystemRecord) -> tuple[tuple[str, ...], str]:
    return ((), "") if record.outcome in GOOD else (record.log, short_file(record.log_file) if record.log_file else "")


def dry_runs(report: Report) -> list[tuple[str, tuple[str, ...]]]:
    """Return (names, lines) of what a dry activation said, those that said the same together; else nothing."""
    if report.plan.verb != "deploy" or report.plan.options.type != "dry-activate":
        return []
    names: dict[tuple[str, ...], list[str]] = {}
    for record in report.instances():
        if record.outcome == "done":
            names.setdefault(record.log, []).append(record.instance)
    return [(several(found), log) for log, found in names.items()]


def failure_text(report: Report) -> str:
    """Return the message of a `RunFailed`: the headline, and a line for each instance that is not done."""
    bad = [record for record in ordered(report) if record.outcome not in GOOD]
    shown = [f"  {name_of(record)}  {outcome_text(record)}  {record.reason}".rstrip() for record in bad[:MOST_FAILURES]]
    if len(bad) > MOST_FAILURES:
        shown.append(f"  … and {len(bad) - MOST_FAILURES} more")
    return "\n".join([headline(report), *shown])


def _rows(report: Report, records: Sequence[InstanceRecord | SystemRecord]) -> tuple[tuple[Column, ...], list[Row]]:
    """Return the columns that fit what a run did, and a row for each record."""
    if report.plan.verb == "build":
        rows = [
            [
                Cell(record.system),
                _outcome(record),
                Cell(record.how),
                Cell(size_text(record.size)),
                path_cell(record.result),
            ]
            for record in records
            if isinstance(record, SystemRecord)
        ]
        return _BUILT, [Row(tuple(cells)) for cells in rows]
    instances = [record for record in records if isinstance(record, InstanceRecord)]
    if report.plan.verb not in BRINGING:
        return _TOUCHED, [Row((Cell(one.instance), _outcome(one), path_cell(one.path))) for one in instances]
    rows = [
        [
            Cell(one.instance),
            _outcome(one),
            Cell(plain(one.how)),
            Cell(seconds_text(one.transfer)),
            Cell(seconds_text(one.activate)),
            Cell(size_text(one.sent)),
        ]
        for one in instances
    ]
    return _MOVED, [Row(tuple(cells)) for cells in rows]


def _outcome(record: InstanceRecord | SystemRecord) -> Cell:
    return Cell(plain(outcome_text(record)), OUTCOMES[record.outcome].tone)


def name_of(record: InstanceRecord | SystemRecord) -> str:
    """Return the name of what a record is about."""
    return record.instance if isinstance(record, InstanceRecord) else record.system


def several(names: Sequence[str]) -> str:
    """Return names in short: `www-1 and 2 more`."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
