"""How a terminal shows a run: a live view where there is one, plain lines where there is none."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nixhive_nb.plan.event import BAD, StepEnded, StepStarted, Stopping
from nixhive_nb.plan.progress import progress_of
from nixhive_nb.plan.summary import report_text
from nixhive_nb.text import seconds_text, size_text, table_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from nixhive_nb.plan.engine import Run
    from nixhive_nb.plan.event import Event
    from nixhive_nb.plan.progress import Progress

PER_SECOND = 4
ROWS = 12
STOPPING = "Stopping: what is being activated comes to its end. Interrupt again to leave at once."
_QUIET = ("wave",)


@contextlib.contextmanager
def follow_in_terminal(run: Run) -> Iterator[None]:
    """Show a run on standard error from its start to its end; of an interrupted one, also what came of it."""
    try:
        with _following(run):
            yield
    except KeyboardInterrupt:
        if run.plan.verb == "survey":
            raise
        print(report_text(run.report()), file=sys.stderr)  # noqa: T201 - a face
        raise


@contextlib.contextmanager
def _following(run: Run) -> Iterator[None]:
    console = Console(stderr=True)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=PER_SECOND, transient=True, get_renderable=lambda: _view(run)):
            yield
    else:
        kinds = {step.id: step.kind for step in run.plan.steps}
        told = _tell_trouble if run.plan.verb == "survey" else _tell
        run.subscribe(lambda event: told(kinds, event))
        yield


def frame_text(frame: pd.DataFrame) -> str:
    """Give a DataFrame as a table of text, whole: index first, empty cells for what is missing."""
    header = [str(frame.index.name or ""), *map(str, frame.columns)]
    plain = frame.astype(object)
    rows = [list(map(_cell, row)) for row in plain.where(plain.notna(), "").itertuples()]
    return table_text(header, rows)


def _cell(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _tell(kinds: Mapping[str, str], event: Event) -> None:
    match event:
        case Stopping():
            text = STOPPING
        case StepStarted():
            text = f"{event.step}: started"
        case StepEnded(result=result):
            how = f" ({result.how})" if result is not None and result.how else ""
            text = f"{event.step}: {event.outcome}{how}" + (f": {event.reason}" if event.reason else "")
        case _:
            return
    if isinstance(event, Stopping) or kinds[event.step] not in _QUIET:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a face


def _tell_trouble(kinds: Mapping[str, str], event: Event) -> None:
    """Of a survey, tell only what it could not find out: the rest is shown by whoever asked for it."""
    if isinstance(event, StepEnded) and event.outcome in BAD:
        _tell(kinds, event)


def _view(run: Run) -> Group:
    progress = progress_of(run.report())
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in progress.rows[:ROWS]:
        table.add_row(row.name, Text(row.state, style=row.style), row.amount, row.line[:60])
    return Group(_head(progress), table, Text(STOPPING if run.stopping else progress.counts, style="dim"))


def _head(progress: Progress) -> Table:
    head = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=max(1, progress.total), completed=progress.done, width=30)
    moved = f" · {size_text(progress.moved)}" if progress.moved else ""
    words = f"{progress.done} of {progress.total} steps{moved} · {seconds_text(progress.seconds)}"
    head.add_row(Text(progress.title, style="bold"), bar, words)
    return head
