"""The record of a run as HTML: what stays in a cell, and in the notebook, when a build, push or deploy has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.plan.events import GOOD
from nixhive_nb.plan.step import Kind, stage
from nixhive_nb.run.logs import short_file
from nixhive_nb.run.report import InstanceRecord, SystemRecord
from nixhive_nb.util import html
from nixhive_nb.util.text import seconds_text, size_text
from nixhive_nb.view.listing import short_path
from nixhive_nb.view.report import (
    again_text,
    details,
    dry_runs,
    headline,
    name_of,
    ordered,
    outcome_text,
    rest_text,
    several,
    tail,
)
from nixhive_nb.view.words import OUTCOMES, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixhive_nb.run.report import Report

ROWS = 35
GROUPS = 10
"""How many reasons are shown, each with the last lines of one instance that has it."""
MAGIC = "%hive"

_SPANS: tuple[Kind, ...] = ("build", "fetch", "activate", "reboot")
_NAMES: dict[Kind, str] = {"fetch": "transfer"}
_DURATIONS = ("build", "transfer", "activate")
_OPTIONAL = ("how", *_DURATIONS)
"""Columns that are left out when they are empty."""


def record_html(report: Report) -> str:
    """Return a report as tables with lanes on a time axis, the reasons, and the last lines of what failed.

    It is short whatever the size of the run, and every text from elsewhere is escaped.
    """
    records = ordered(report)
    title = html.escaped(headline(report))
    parts = [
        html.head(title, map(_unbroken, details(report).split(" · ")), html.OK if report.ok else html.BAD),
        _systems(records[:ROWS]) if report.plan.verb == "build" else _instances(report, records[:ROWS]),
    ]
    if len(records) > ROWS:
        parts.append(html.note(html.escaped(rest_text(records[ROWS:]))))
    parts += [*_failures(report, records), *_dry_runs(report), *_warnings(report, records)]
    if again := again_text(report, MAGIC):
        parts.append(html.note(f"Again, for what failed: {html.code(html.escaped(again))}"))
    return "".join(parts)


def outcome_html(record: InstanceRecord | SystemRecord) -> str:
    """Return how it ended, in words and in colour."""
    colour = OUTCOMES[record.outcome].colour
    text = html.coloured(colour, html.escaped(outcome_text(record)))
    needs_reboot = isinstance(record, InstanceRecord) and record.reboot
    return f"{text} · {html.coloured(html.WARN, 'reboot needed')}" if needs_reboot else text


def _unbroken(fact: str) -> str:
    """Return a fact that stays in one line: an id that is cut in two cannot be read, or copied."""
    return f'<span style="white-space:nowrap">{html.escaped(fact)}</span>'


def _systems(records: Iterable[InstanceRecord | SystemRecord]) -> str:
    header = [("system", False), ("outcome", False), ("how", False), ("time", True), ("size", True), ("result", False)]
    rows = [
        html.cell(html.escaped(record.system))
        + html.cell(outcome_html(record))
        + html.cell(html.escaped(record.how))
        + html.cell(seconds_text(record.seconds), number=True)
        + html.cell(size_text(record.size or None), number=True)
        + html.cell(html.dim(html.escaped(record.result)))
        for record in records
        if isinstance(record, SystemRecord)
    ]
    return html.table(header, rows)


def _instances(report: Report, records: Iterable[InstanceRecord | SystemRecord]) -> str:
    axis = f'<span style="float:left">0 s</span><span style="float:right">{seconds_text(report.seconds)}</span>'
    rows = [
        {
            "instance": html.escaped(record.instance),
            "outcome": outcome_html(record),
            "how": html.escaped(record.how),
            "build": seconds_text(record.build),
            "transfer": seconds_text(record.transfer),
            "activate": seconds_text(record.activate),
            axis: html.lane(_spans(report, record), report.seconds),
        }
        for record in records
        if isinstance(record, InstanceRecord)
    ]
    # A rollback or a reboot moves nothing.
    header = ["instance", "outcome", *(name for name in _OPTIONAL if any(row[name] for row in rows)), axis]
    cells = ["".join(html.cell(row[name], number=name in _DURATIONS) for name in header) for row in rows]
    there = {stage(step.kind) for step in report.plan.steps}
    legend = [(_NAMES.get(kind, kind), STEPS[kind].colour) for kind in _SPANS if kind in there]
    words = [f"{html.coloured(colour, '■')} {name}" for name, colour in [*legend, ("failed", html.BAD)]]
    return html.table([(name, name in _DURATIONS) for name in header], cells) + html.note(" &ensp;".join(words))


def _spans(report: Report, record: InstanceRecord) -> Iterable[html.LanePart]:
    """Return when what was done for an instance, in seconds from the start of the run."""
    for kind in _SPANS:
        step = (
            report.record_of("register", record.system) if kind == "build" else report.record_of(kind, record.instance)
        )
        if step is None or step.ended is None:
            continue
        duration = record.build if kind == "build" else step.seconds
        if duration is None:
            continue
        start = max(0.0, step.ended - report.started - duration)
        end = max(start, step.ended - report.started)
        bad = step.outcome not in GOOD
        title = f"{kind}{' failed' if bad else ''}: {start:.1f} s to {end:.1f} s"
        yield html.LanePart(start=start, end=end, colour=html.BAD if bad else STEPS[kind].colour, title=title)


def _failures(report: Report, records: Sequence[InstanceRecord | SystemRecord]) -> Iterable[str]:
    """Return each reason once, with what is known of the first instance that has it."""
    groups: dict[str, list[InstanceRecord | SystemRecord]] = {}
    for record in records:
        if record.outcome not in GOOD and record.reason:
            groups.setdefault(record.reason, []).append(record)
    shown = list(groups.items())[:GROUPS]
    for reason, found in shown:
        names = html.escaped(several([name_of(record) for record in found]))
        summary = f"{html.coloured(html.BAD, names)}: {html.escaped(reason)}"
        more = _more(report, found[0], len(shown))
        yield html.folded(summary, more, is_open=len(groups) == 1) if more else f"<div>{summary}</div>"
    if len(groups) > GROUPS:
        yield html.note(f"… and {len(groups) - GROUPS} more reasons: the DataFrame has them all.")


def _more(report: Report, record: InstanceRecord | SystemRecord, logs: int) -> str:
    """Return the last lines of what failed (one log of so many) and where all are, failed checks, what runs again."""
    parts = []
    if isinstance(record, InstanceRecord):
        parts += [
            f"<div>{html.coloured(html.BAD, f'✕ check {html.escaped(check.name)}')} {html.escaped(check.reason)}</div>"
            for check in record.checks
            if not check.ok
        ]
        if record.outcome == "rolled back" and (previous := record.previous or _before(report, record.instance)):
            path = f'<span title="{html.escaped(previous)}">{html.escaped(short_path(previous))}</span>'
            parts.append(html.note(f"{html.escaped(record.instance)} runs {path} again."))
    if record.log:
        parts.append(html.block("\n".join(map(html.escaped, tail(record.log, logs)))))
    if record.log_file:
        parts.append(html.note(f"whole log: {html.code(html.escaped(short_file(record.log_file)))}"))
    return "".join(parts)


def _before(report: Report, instance: str) -> str:
    """Return what an instance ran when the plan was made."""
    seen = report.plan.seen_of(instance)
    return seen.facts.current if seen and seen.facts else ""


def _dry_runs(report: Report) -> Iterable[str]:
    """Return what dry activations would do, once for all that said the same."""
    said = dry_runs(report)[:GROUPS]
    for names, log in said:
        lines = "\n".join(map(html.escaped, tail(log, len(said))))
        yield html.folded(f"{html.escaped(names)} would:", html.block(lines), is_open=True)


def _warnings(report: Report, records: Iterable[InstanceRecord | SystemRecord]) -> Iterable[str]:
    owners: dict[str, list[str]] = {}
    for record in records:
        if record.outcome in GOOD and record.reason:
            owners.setdefault(record.reason, []).append(name_of(record))
    warnings = list(dict.fromkeys([*owners, *report.warnings()]))
    for warning in warnings[:GROUPS]:
        owner = f"{html.escaped(several(owners[warning]))}: " if warning in owners else ""
        yield f"<div>{html.coloured(html.WARN, '⚠ warning')} {owner}{html.escaped(warning)}</div>"
    if len(warnings) > GROUPS:
        yield html.note(f"… and {len(warnings) - GROUPS} more warnings.")
