"""The record: what stays in a cell when a build, push or deploy has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.notebook.bundle import Bundle
from nixhive_nb.view.record import MAGIC, ROWS, record_html
from nixhive_nb.view.report import report_text

if TYPE_CHECKING:
    from nixhive_nb.run.report import Report


class Record(Bundle):
    """A report as a cell shows it, and as the notebook keeps it."""

    def __init__(self, report: Report) -> None:
        """Show `report`."""
        self.report = report

    def text(self) -> str:
        """Return the headline, the table and the reasons."""
        return report_text(self.report, most=ROWS, program=MAGIC)

    def html(self) -> str:
        """Return the same with lanes on a time axis, and the last lines of what failed."""
        return record_html(self.report)
