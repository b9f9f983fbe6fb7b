"""How a terminal shows what commands give.

It is imported when there is something to show that is no plain text: tables and views cost more than many commands.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nixhive_nb.cli.telling import complain, tell
from nixhive_nb.commands.forms import csv_of
from nixhive_nb.commands.session import Already, Ended, Known, Listing, Message, Planned, Ran, Told
from nixhive_nb.frames import run_failures
from nixhive_nb.util import streams
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.plan import plan_text
from nixhive_nb.view.report import report_text
from nixhive_nb.view.screen import screen_of
from nixhive_nb.view.terminal import tell_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.commands.session import Value


def show(value: Value) -> int:
    """Print a value, and return the exit status that it stands for."""
    match value:
        case Listing():
            _show_listing(value)
            return 0 if value.ok else 1
        case Known():
            _print_json(value.document)
        case Planned():
            _show_plan(value)
        case Ran():
            return _show_run(value)
        case Ended():
            return _show_report(value)
        case Told() | Message() | Already():
            _show_told(value)
    return 0


def _show_listing(listing: Listing) -> None:
    match listing.form:
        case "json":
            _print_rows(listing.records)
        case "csv":
            streams.write(csv_of(listing.frame))
        case "wide":
            _print(listing_text(listing.table, screen_of(), wide=True))
        case "table":
            screen = screen_of()
            # Whatever reads a pipe gets all rows.
            is_cut = listing.most and screen.width is not None
            _print(listing_text(listing.table.cut(listing.most) if is_cut else listing.table, screen))


def _show_plan(planned: Planned) -> None:
    match planned.form:
        case "json":
            _print_json(planned.records)
        case "csv":
            streams.write(csv_of(planned.frame))
        case form:
            _print(plan_text(planned.plan, screen=screen_of(), wide=form == "wide"))
            _print("Nothing was changed.")


def _show_told(told: Told | Message | Already) -> None:
    """Print what is known already, or with `--json` that as an object, and the words for a person beside it."""
    if told.document is not None:
        _print_json(told.document)
    if isinstance(told, Told):
        error = told.document is not None
        streams.write(report_text(told.report, screen=screen_of(error=error)) + "\n", error=error)
    elif told.document is not None:
        tell(told.text)
    else:
        _print(told.text)


def _show_report(ended: Ended) -> int:
    tell_report(ended.report)
    if ended.document is not None:
        _print_json(ended.document)
    return 0 if ended.report.ok else 1


def _show_run(ran: Ran) -> int:
    if ran.records is not None:
        _print_json(ran.records)
    bad, rest = run_failures(ran.frame)
    if not bad:
        return 0
    left_out = f", {rest} not tried" if rest else ""
    complain(("one instance failed" if bad == 1 else f"{bad} instances failed") + left_out)
    return 1


def _print_rows(records: Sequence[object]) -> None:
    """Print objects as one array, one after the other: the text of many hosts is never there as a whole."""
    if not records:
        _print_json([])
        return
    for at, row in enumerate(records):
        text = _json(row).replace("\n", "\n  ")  # JSON has none but between its parts
        streams.write(f"{',' if at else '['}\n  {text}")
    _print("\n]")


def _print_json(value: object) -> None:
    _print(_json(value))


def _json(value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if streams.can_show(text) else json.dumps(value, indent=2)


def _print(text: str) -> None:
    streams.write(text + "\n")
