"""The report of a run, with what a person asks of it: what ran when, as a table and as a picture, and the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nixhive_nb import frames
from nixhive_nb.run.report import Report
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.record import ROWS, record_html
from nixhive_nb.view.report import headline, report_text
from nixhive_nb.view.timeline import Timeline

if TYPE_CHECKING:
    import pandas as pd


class RunReport(Report, frozen=True, kw_only=True):
    """What a run did. It is a plain value: it pickles. A cell shows its record, `print` all of it as text."""

    @classmethod
    def of(cls, report: Report) -> RunReport:
        """Return a report as one of these; one that is such already as it is."""
        if isinstance(report, cls):
            return report
        return cls(**{name: getattr(report, name) for name in report.__struct_fields__})

    def table(self) -> pd.DataFrame:
        """Return how it ended; columns as in `frames.build_frame` for a build, else as in `frames.outcome_frame`."""
        return frames.build_frame(self) if self.plan.verb == "build" else frames.outcome_frame(self)

    def timings(self) -> pd.DataFrame:
        """Return when each step ran that was begun; columns as in `frames.timings_frame`."""
        return frames.timings_frame(self)

    def timeline(self) -> Timeline:
        """Return a static picture of what ran when, for each system, store and instance."""
        return Timeline.of(self)

    def __str__(self) -> str:
        return strip_control(report_text(self))

    def __repr__(self) -> str:
        return f"RunReport({' '.join(filter(None, [self.plan.verb, self.run]))}: {strip_control(headline(self))})"

    def _repr_html_(self) -> str:
        return record_html(self)

    def _repr_pretty_(self, printer: _Printer, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's protocol
        # A notebook keeps this, whatever the size of the run.
        printer.text(strip_control(report_text(self, most=ROWS)))


class _Printer(Protocol):
    def text(self, text: str) -> None: ...
