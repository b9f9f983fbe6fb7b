"""Following a run in a cell: the tracker while it runs, and the record in its place at the end."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.notebook.display import Bundle, Live, Record, show
from nixhive_nb.notebook.follow.cell import track
from nixhive_nb.notebook.follow.model import PlainView, TrackedRow, TrackedView, TrackedWave
from nixhive_nb.notebook.follow.pump import Pump
from nixhive_nb.notebook.private import in_kernel
from nixhive_nb.util import html
from nixhive_nb.util.text import seconds_text
from nixhive_nb.view.progress import Meter, progress_of
from nixhive_nb.view.terminal import follow_in_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nixhive_nb.run.engine import Run
    from nixhive_nb.run.report import Report
    from nixhive_nb.view.progress import Progress, ProgressRow

SURVEY_PAUSE = 1.0
"""Seconds after which a survey is shown while it runs."""


class RunSource:
    """A run, as a cell follows it."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        """Follow `run`; `clock` gives seconds, from whatever moment."""
        self._run = run
        self._clock = clock
        self._meter = Meter()
        self._report: Report = run.report()
        self._steps: dict[str, str] = {}

    def view(self) -> TrackedView:
        """Return where the run is now."""
        self._report = self._run.report()
        progress = progress_of(self._report)
        self._steps = {row.id: row.step for row in progress.rows}
        rate = self._meter.rate(progress.moved, self._clock())
        return tracked_view(progress, rate=rate, stopping=self._run.stopping, told_by=_told_by(self._report))

    def tail(self, row: str) -> Sequence[str]:
        """Return the last lines of the step that a row was about when it was shown last."""
        step = self._steps.get(row)
        return self._report.steps[step].log if step is not None else ()

    def cancel(self) -> None:
        """Start nothing more, and let running activations come to their end; the second time, leave at once."""
        if self._run.stopping:
            self._run.abandon()
        else:
            self._run.stop()


class ProgressView(PlainView):
    """Where a run is, at one moment, as HTML and text."""

    def __init__(self, progress: Progress) -> None:
        """Show `progress`."""
        super().__init__(tracked_view(progress))
        self.progress = progress


class Looked(Bundle):
    """What stays of a survey that took a while."""

    def __init__(self, progress: Progress) -> None:
        """Say how `progress` ended."""
        self.progress = progress

    def text(self) -> str:
        """Return the line."""
        return f"Looked at what is wanted and what runs: {seconds_text(self.progress.seconds)}"

    def html(self) -> str:
        """Return the line, standing back."""
        return html.note(html.escaped(self.text()))


@contextlib.contextmanager
def follow(run: Run, *, blocking: bool = True) -> Iterator[None]:
    """Show a run in the cell, or in the terminal that IPython runs in, and leave its record there.

    `blocking` says that the cell waits for the run; one in the background is cancelled otherwise.
    """
    if run.plan.verb == "survey":
        with _follow_survey(run):
            yield
        return
    if in_kernel():
        with follow_in_notebook(run, blocking=blocking):
            yield
        return
    try:
        with follow_in_terminal(run):
            yield
    finally:
        show(Record(run.report()))


@contextlib.contextmanager
def follow_in_notebook(run: Run, *, blocking: bool = True) -> Iterator[None]:
    """Show a run in one output of the cell; what stays is its record, also after an interrupt."""
    with track(RunSource(run), lambda: Record(run.report()), blocking=blocking) as changed:
        run.subscribe(changed)
        yield


@contextlib.contextmanager
def _follow_survey(run: Run) -> Iterator[None]:
    """Show a survey that takes a while, and leave one line of it: what it found is shown by whoever asked for it."""
    if not in_kernel():
        with follow_in_terminal(run):
            yield
        return
    shown: list[Live] = []

    def publish() -> None:
        view = ProgressView(progress_of(run.report()))
        if shown:
            shown[0].update(view)
        elif view.progress.seconds > SURVEY_PAUSE:
            shown.append(Live(view))

    pump = Pump(publish)
    run.subscribe(pump.note)
    pump.start()
    try:
        yield
    finally:
        pump.stop()
        if shown:
            shown[0].update(Looked(progress_of(run.report())))


def _told_by(report: Report) -> str:
    """Return the command that tells of a run, in another kernel as well; empty for one that is not noted."""
    if not report.run:
        return ""
    place = report.plan.deployment
    named = f" -c {shlex.quote(os.path.relpath(place) if Path(place).is_relative_to(Path.cwd()) else place)}"
    return f"%hive report {report.run}{named if place else ''}"


def tracked_view(
    progress: Progress, *, rate: float | None = None, stopping: bool = False, told_by: str = ""
) -> TrackedView:
    """Return progress as a cell shows it. `rate` is in bytes a second."""
    return TrackedView(
        title=progress.title,
        done=progress.done,
        total=progress.total,
        fraction=progress.fraction,
        facts=progress.facts(rate),
        waves=tuple(
            TrackedWave(label=wave.label, done=wave.done, failed=wave.failed, total=wave.total)
            for wave in progress.waves
        ),
        rows=tuple(map(_tracked_row, progress.rows)),
        rest=progress.counts,
        stopping=stopping,
        told_by=told_by,
    )


def _tracked_row(row: ProgressRow) -> TrackedRow:
    return TrackedRow(
        id=row.id,
        name=row.name,
        state=row.state,
        tone=row.tone,
        fraction=row.fraction,
        amount=row.amount,
        seconds=row.seconds,
        line=row.line,
    )
