"""How a terminal shows what commands give.

It is imported when there is something to show that is no plain text: tables and views cost more than many commands.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nixhive_nb.cli.telling import complain, tell
from nixhive_nb.commands.session import (
    Already,
    Choosing,
    Ended,
    Known,
    Listing,
    Planned,
    Ran,
    Surveyed,
    Told,
)
from nixhive_nb.frames import run_failures, status_frame
from nixhive_nb.util import streams
from nixhive_nb.view.plan import plan_text
from nixhive_nb.view.report import report_text
from nixhive_nb.view.terminal import frame_text

if TYPE_CHECKING:
    import pandas as pd

    from nixhive_nb.commands.session import Value


def show(value: Value) -> int:
    """Print a value, and return the exit status that it stands for."""
    match value:
        case Listing():
            _print_table(value.frame, value.records, value.nothing)
            return 0 if value.ok else 1
        case Surveyed():
            _print_table(status_frame(value.survey), value.records)
        case Known():
            _print_json(value.document)
        case Planned():
            _show_plan(value)
        case Ran():
            return _show_run(value)
        case Ended():
            return _show_report(value)
        case Choosing():
            _print_table(value.frame, value.records)
        case Told() | Already():
            _print(str(value.report) if isinstance(value, Told) else value.text)
    return 0


def _show_plan(planned: Planned) -> None:
    if planned.records is not None:
        _print_json(planned.records)
        return
    _print(plan_text(planned.plan))
    _print("Nothing was changed.")


def _show_report(ended: Ended) -> int:
    tell(report_text(ended.report))
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


def _print_table(frame: pd.DataFrame, records: list[dict[str, Any]] | None, nothing: str = "") -> None:
    if records is None:
        _print(nothing if nothing and frame.empty else frame_text(frame))
    else:
        _print_json(records)


def _print_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    _print(text if streams.can_show(text) else json.dumps(value, indent=2))


def _print(text: str) -> None:
    streams.write(text + "\n")
