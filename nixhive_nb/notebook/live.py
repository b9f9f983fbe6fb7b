"""Following a run in a cell: a view that is renewed at most twice a second, and the record in its place at the end."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython

from nixhive_nb.notebook import html
from nixhive_nb.notebook.bundle import Bundle, Live, show
from nixhive_nb.notebook.record import Record
from nixhive_nb.plan.progress import progress_of
from nixhive_nb.terminal import follow_in_terminal
from nixhive_nb.text import seconds_text, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixhive_nb.plan.engine import Run
    from nixhive_nb.plan.progress import Progress, Row

PAUSE = 0.5
"""Seconds between two updates."""
ROWS = 20
SURVEY_PAUSE = 1.0
"""Seconds after which a survey is shown while it goes on."""


class ProgressView(Bundle):
    """Where a run is, at one moment."""

    def __init__(self, progress: Progress) -> None:
        """Show `progress`."""
        self.progress = progress

    def text(self) -> str:
        """Give the head and the counts in a line."""
        return f"{self.progress.title}: {self._facts()} · {self.progress.counts}"

    def html(self) -> str:
        """Give the head with a bar, and a row for each step that failed or runs."""
        progress = self.progress
        title = f'<span style="font-weight:600;font-size:110%">{html.escaped(progress.title)}</span>'
        bar = html.bar(progress.done, progress.total, width=220)
        parts = [
            f'<div style="margin-bottom:4px">{title}&ensp;{bar}&ensp;{html.dim(html.escaped(self._facts()))}</div>'
        ]
        if progress.rows:
            parts.append(html.table(_HEADER, map(_row, progress.rows[:ROWS])))
        more = len(progress.rows) - ROWS
        rest = f" · {more} of these not shown" if more > 0 else ""
        return "".join([*parts, html.note(html.escaped(progress.counts + rest))])

    def _facts(self) -> str:
        progress = self.progress
        moved = f" · {size_text(progress.moved)} moved" if progress.moved else ""
        return f"{progress.done} of {progress.total} steps{moved} · {seconds_text(progress.seconds)}"


class Looked(Bundle):
    """What stays of a survey that took a while."""

    def __init__(self, progress: Progress) -> None:
        """Say how `progress` ended."""
        self.progress = progress

    def text(self) -> str:
        """Give the line."""
        return f"Looked at what is wanted and what runs: {seconds_text(self.progress.seconds)}"

    def html(self) -> str:
        """Give the line, standing back."""
        return html.note(html.escaped(self.text()))


class Pump:
    """A thread that publishes when something has changed, and then pauses."""

    def __init__(self, publish: Callable[[], None], *, ended: threading.Event | None = None) -> None:
        """`publish` is called on the thread of the pump alone."""
        self._publish = publish
        self._changed = threading.Event()
        self._ended = ended or threading.Event()
        self._thread = threading.Thread(target=self._work, name="hive-display", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def note(self, _: object = None) -> None:
        """Take notice that something has changed. Quick, and safe on any thread."""
        self._changed.set()

    def stop(self) -> None:
        """End; when this returns, nothing more is published."""
        self._ended.set()
        self._changed.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(PAUSE):
            self._changed.wait()
            self._changed.clear()
            if not self._ended.is_set():
                # A view that cannot be made is no reason to fail; what broke the run itself is told by `Run.report`.
                with contextlib.suppress(Exception):
                    self._publish()


@contextlib.contextmanager
def follow(run: Run) -> Iterator[None]:
    """Show a run in the cell, or in the terminal that IPython runs in, and leave its record there."""
    if run.plan.verb == "survey":
        with _follow_survey(run):
            yield
        return
    if in_kernel():
        with follow_in_notebook(run):
            yield
        return
    try:
        with follow_in_terminal(run):
            yield
    finally:
        show(Record(run.report()))


@contextlib.contextmanager
def follow_in_notebook(run: Run, *, ended: threading.Event | None = None) -> Iterator[None]:
    """Show a run in one output of the cell; what stays is its record, also after an interrupt."""
    handle = Live(ProgressView(progress_of(run.report())))
    pump = Pump(lambda: handle.update(ProgressView(progress_of(run.report()))), ended=ended)
    run.subscribe(pump.note)
    pump.start()
    try:
        yield
    finally:
        pump.stop()
        handle.update(Record(run.report()))


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


def in_kernel() -> bool:
    """Tell whether we run in a kernel, where what was displayed can be renewed."""
    return getattr(get_ipython(), "kernel", None) is not None


_HEADER = [("on", False), ("step", False), ("", False), ("how far", True), ("time", True), ("last line", False)]


def _row(row: Row) -> str:
    colour = html.BAD if row.failed else html.RUN
    bar = html.bar(row.moved, row.expected) if row.expected and not row.failed else ""
    return (
        html.cell(html.escaped(row.name, most=60))
        + html.cell(html.coloured(colour, html.escaped(row.state)))
        + html.cell(bar)
        + html.cell(row.amount, number=True)
        + html.cell(seconds_text(row.seconds), number=True)
        + html.cell(html.dim(html.escaped(row.line, most=100)))
    )
