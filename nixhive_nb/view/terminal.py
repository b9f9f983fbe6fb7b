"""How a terminal shows a run: a live view where there is one, plain lines where there is none."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nixhive_nb.plan.events import BAD, StepEnded, StepStarted, Stopping
from nixhive_nb.run.everywhere import Listener, untried
from nixhive_nb.run.waiting import waiting_for
from nixhive_nb.util import streams
from nixhive_nb.util.interrupts import wait_awake
from nixhive_nb.util.resting import Resting
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.progress import Meter, progress_of
from nixhive_nb.view.pulse import doing
from nixhive_nb.view.report import report_text
from nixhive_nb.view.screen import screen_of
from nixhive_nb.view.words import STYLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nixhive_nb.plan.events import Event
    from nixhive_nb.run.engine import Run
    from nixhive_nb.run.report import Report
    from nixhive_nb.view.progress import Progress

PER_SECOND = 4
ROWS = 12
MOST_LINE = 60
MOST_SHORT = 3
"""How many steps that run a sign of life names."""
MOST_NAME = 24
"""How far the names of hosts are filled up, so that what stands after them lines up."""
_LEAVE = "Interrupt again to leave at once."
_QUIET = ("gate",)
_CHUNK = 65536


@contextlib.contextmanager
def follow_in_terminal(run: Run) -> Iterator[None]:
    """Show a run on standard error from its start to its end; of an interrupted one, also what came of it."""
    try:
        with _following(run):
            yield
    except KeyboardInterrupt:
        if run.plan.verb == "survey":
            raise
        tell_report(run.report())
        raise


def tell_report(report: Report) -> None:
    """Print on standard error how a run ended, in the colours of a terminal that has some."""
    streams.write(report_text(report, screen=screen_of(error=True)) + "\n", error=True)


@contextlib.contextmanager
def _following(run: Run) -> Iterator[None]:
    console = Console(stderr=True)
    if console.is_terminal:
        meter = Meter()
        with Live(
            console=console,
            refresh_per_second=PER_SECOND,
            transient=True,
            get_renderable=Frame(lambda: _view(run, meter)),
        ):
            yield
    else:
        told = _tell_trouble if run.plan.verb == "survey" else _tell
        kinds = {step.id: step.kind for step in run.plan.steps}
        run.subscribe(lambda event: told(run, kinds, event))
        try:
            with doing(lambda: _in_short(run)):
                yield
        finally:
            if not run.going:
                wait_awake(run.heard_out)


class Frame:
    """What a live view shows: made anew when it is asked for, unless making it has just taken long.

    It is made for a tenth of the time at most: a large fleet is shown more seldom, and is not held up.
    """

    def __init__(
        self,
        make: Callable[[], Group],
        *,
        now: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        """`now` and `worked` are clocks: of the time that passes, and of the work of this thread."""
        self._make = make
        self._now = now
        self._resting = Resting(worked)
        self._shown: Group | None = None
        self._due = 0.0

    def __call__(self) -> Group:
        """Return it."""
        if self._shown is None or self._now() >= self._due:
            self._resting.begin()
            self._shown = self._make()
            rest = self._resting.end()
            self._due = self._now() + rest if rest > 1 / PER_SECOND else 0.0
        return self._shown


def stopping_text(run: Run) -> str:
    """Return what a run that was stopped waits for, and for how long."""
    waiting = waiting_for(run.report())
    if not waiting.instances:
        return f"Stopping. {_LEAVE}"
    return f"Stopping: activations in progress are finished first ({waiting}). {_LEAVE}"


class HostLines(Listener):
    """Prints what hosts say as it comes: whole lines, with the name of the host before each.

    A command's standard error, and how it failed, go to our own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0

    def hosts(self, names: Sequence[str], what: str) -> None:  # noqa: ARG002 - whoever gave the command knows it
        """See how wide the names are."""
        self._width = min(MOST_NAME, max(map(len, names), default=0))

    def said_lines(self, instance: str, stream: str, lines: str) -> None:
        """Print lines, all of them at once."""
        name = f"{instance:<{self._width}} | "
        text = lines.replace("\n", f"\n{name}")
        with self._lock:
            streams.write(f"{name}{text}\n", error=stream == "stderr")

    def ended(self, row: dict[str, Any]) -> None:
        """Print how a host failed."""
        name = "" if row["error"].startswith(row["instance"]) else f"{row['instance']}: "
        with self._lock:
            _print_failure(row, name)


class HostOutputs(Listener):
    """Prints what hosts said as it is, each host whole when its turn has come, its name on standard error."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._waiting: dict[str, dict[str, Any]] = {}

    def hosts(self, names: Sequence[str], what: str) -> None:  # noqa: ARG002 - see above
        """Take the order of the hosts."""
        self._names = list(reversed(names))

    def ended(self, row: dict[str, Any]) -> None:
        """Print a host, and those after it that waited for it."""
        self._waiting[row["instance"]] = row
        while self._names and self._names[-1] in self._waiting:
            ready = self._waiting.pop(self._names.pop())
            if untried(ready):
                continue
            streams.write(f"## {ready['instance']}\n", error=True)
            _print_stream(ready, "stdout")
            _print_stream(ready, "stderr")
            _print_failure(ready)


def _print_stream(row: dict[str, Any], stream: str) -> None:
    """Print what a host said, from its log where that is more than its row has."""
    whole = row.get("whole", {}).get(stream)
    if not whole:
        streams.write(row[stream], error=stream == "stderr")
        return
    with Path(whole).open(encoding="utf-8", errors="replace", newline="") as log:
        while part := log.readline(_CHUNK):
            streams.write(strip_control(part), error=stream == "stderr")


def _print_failure(row: dict[str, Any], name: str = "") -> None:
    """Print how a command failed, unless its turn never came: the last line of all counts those."""
    if row["error"] and not untried(row):
        streams.write(f"!! {name}{strip_control(row['error'])}\n", error=True)
    elif row["exit_code"]:
        streams.write(f"!! {name}exit status {row['exit_code']}\n", error=True)


def _tell(run: Run, kinds: Mapping[str, str], event: Event) -> None:
    match event:
        case Stopping():
            text = stopping_text(run)
        case StepStarted():
            text = f"{event.step}: started"
        case StepEnded(result=result):
            how = f" ({result.how})" if result is not None and result.how else ""
            text = f"{event.step}: {event.outcome}{how}" + (f": {event.reason}" if event.reason else "")
        case _:
            return
    if isinstance(event, Stopping) or kinds[event.step] not in _QUIET:
        streams.write(strip_control(text) + "\n", error=True)


def _tell_trouble(run: Run, kinds: Mapping[str, str], event: Event) -> None:
    """Of a survey, tell only what it could not find out: the rest is shown by whoever asked for it."""
    if isinstance(event, StepEnded) and event.outcome in BAD:
        _tell(run, kinds, event)


def _in_short(run: Run) -> str:
    """Return where a run is in one line: what goes on, how far it is, and what it said last."""
    progress = progress_of(run.report())
    rows = [row for row in progress.rows if not row.failed]
    shown = (" ".join(filter(None, [row.name, row.state, row.amount])) for row in rows[:MOST_SHORT])
    more = [f"{len(rows) - MOST_SHORT} more"] if len(rows) > MOST_SHORT else []
    last = next((f": {_words(row.line, MOST_LINE).plain}" for row in rows if row.line), "")
    return strip_control(f"{progress.title}, {progress.counts}. {', '.join([*shown, *more])}{last}")


def _view(run: Run, meter: Meter) -> Group:
    progress = progress_of(run.report())
    rate = meter.rate(progress.moved, time.monotonic())
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in progress.rows[:ROWS]:
        # Each as a Text: in a plain string rich takes what stands in brackets for markup.
        table.add_row(
            _words(row.name), Text(row.state, style=STYLES[row.tone]), Text(row.amount), _words(row.line, MOST_LINE)
        )
    return Group(
        head_of(progress, rate), table, Text(stopping_text(run) if run.stopping else progress.counts, style="dim")
    )


def head_of(progress: Progress, rate: float | None) -> Table:
    """Return the first line of the view: what it is, how far it is, and the facts."""
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_column(no_wrap=True)
    # On a narrow screen it is the bar that gives room: words stay in one line.
    head.add_column(min_width=4, max_width=30)
    head.add_column(no_wrap=True)
    bar = ProgressBar(total=1, completed=progress.fraction)
    head.add_row(Text(progress.title, style="bold"), bar, Text(progress.facts(rate)))
    return head


def _words(said: str, most: int | None = None) -> Text:
    """Return what a host or the deployment says in one line, of at most so many characters."""
    return Text(" ".join(strip_control(said).split())[:most])
