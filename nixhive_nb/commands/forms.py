"""What programs read: how a run ended as a JSON object, and records as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from nixhive_nb.commands.session import records_of

if TYPE_CHECKING:
    import pandas as pd

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.report import Report


def document_of(report: Report) -> dict[str, Any]:
    """Return how a run ended: what was run, the counts, and the rows of its DataFrame. Times are seconds."""
    rows = "systems" if report.plan.verb == "build" else "instances"
    return {
        "run": report.run,
        "verb": report.plan.verb,
        "digest": report.plan.whole_digest,
        "revision": str(report.plan.revision or ""),
        "ok": report.ok,
        "started": report.started,
        "seconds": report.seconds,
        "counts": report.counts(),
        rows: records_of(report.frame),
    }


def nothing_done(plan: Plan) -> dict[str, Any]:
    """Return the same for a plan that has nothing left to do: it is no run."""
    empty: dict[str, Any] = {"counts": {}, "instances": []}
    return {
        "run": "",
        "verb": plan.verb,
        "digest": plan.whole_digest,
        "revision": str(plan.revision or ""),
        "ok": True,
        **empty,
    }


def csv_of(frame: pd.DataFrame) -> str:
    """Return a DataFrame as CSV, its header also where it has no rows. Several values in a cell have commas between."""
    header = [str(frame.index.name), *map(str, frame.columns)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(record[name]) for name in header] for record in records_of(frame))
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else value
