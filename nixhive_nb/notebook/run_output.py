"""What a command said on each host: one output of the cell, which counts while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nixhive_nb.errors import RunFailed
from nixhive_nb.notebook import html
from nixhive_nb.notebook.bundle import Bundle, Live, show
from nixhive_nb.notebook.live import PAUSE, in_kernel
from nixhive_nb.text import seconds_text, strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

HOSTS = 50
LINES = 40
"""How many lines of a host's output are shown; the DataFrame holds all."""
MOST_FAILURES = 10


class RunOutput(Bundle):
    """What hosts said, each with its exit status; those that failed first."""

    def __init__(self, rows: Sequence[dict[str, Any]], total: int) -> None:
        """Show `rows`, as in `frames.run_frame`, of `total` hosts."""
        self.rows = sorted(rows, key=lambda row: not failed(row))
        self.total = total

    def text(self) -> str:
        """Give it as a terminal shows it."""
        return "\n".join([self._headline(), *map(_host_text, self.rows[:HOSTS]), *self._rest()])

    def html(self) -> str:
        """Give it with a heading for each host."""
        bad = any(map(failed, self.rows))
        hosts = "".join(map(_host_html, self.rows[:HOSTS]))
        colour = html.BAD if bad else html.OK
        return html.head(self._headline(), [], colour) + hosts + "".join(map(html.note, self._rest()))

    def _headline(self) -> str:
        bad = sum(map(failed, self.rows))
        done = f"{len(self.rows)} of {self.total} hosts done" if len(self.rows) < self.total else ""
        words = [done or _count(self.total), f"{bad} failed" if bad else "" if done else "exit status 0"]
        return ", ".join(filter(None, words))

    def _rest(self) -> list[str]:
        more = len(self.rows) - HOSTS
        return [f"… and {_count(more)} more: the DataFrame has them all."] if more > 0 else []


class Counting(Bundle):
    """How many hosts are done, while a command runs."""

    def __init__(self, done: int, total: int) -> None:
        """Show `done` of `total`."""
        self.done = done
        self.total = total

    def text(self) -> str:
        """Give the line."""
        return f"{self.done} of {self.total} hosts done"

    def html(self) -> str:
        """Give the line with a bar."""
        return f"<div>{html.bar(self.done, self.total)}&ensp;{html.dim(self.text())}</div>"


class RunWatch:
    """Shows a `run` while it goes on, and what came of it; also what had come when it was interrupted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds, from whatever moment."""
        self._clock = clock
        self._handle: Live | None = None
        self._rows: list[dict[str, Any]] = []
        self._total = 0
        self._shown = 0.0

    def begin(self, hosts: Sequence[str]) -> None:
        """Begin with the names of the hosts."""
        self._rows, self._total, self._shown = [], len(hosts), self._clock()
        self._handle = Live(Counting(0, self._total)) if in_kernel() else None

    def add(self, row: dict[str, Any]) -> None:
        """Take what one host said."""
        self._rows.append(row)
        now = self._clock()
        if self._handle is not None and now - self._shown >= PAUSE:
            self._shown = now
            self._handle.update(Counting(len(self._rows), self._total))

    def end(self) -> None:
        """Show what there is. Nothing, when no run had begun."""
        if not self._total:
            return
        output = RunOutput(self._rows, self._total)
        if self._handle is not None:
            self._handle.update(output)
        else:
            show(output)
        self._handle, self._rows, self._total = None, [], 0


def failed(row: dict[str, Any]) -> bool:
    """Tell whether a host's command did not end well."""
    return bool(row["error"]) or row["exit_code"] != 0


def failure_of(frame: pd.DataFrame) -> RunFailed | None:
    """Give the error of a run with hosts that failed: a short table."""
    bad = frame[frame["exit_code"].fillna(-1) != 0]
    if bad.empty:
        return None
    lines = [f"{len(bad)} of {_count(len(frame))} failed"]
    rows: list[dict[str, Any]] = bad.iloc[:MOST_FAILURES].reset_index().to_dict("records")  # type: ignore[assignment]
    for row in rows:
        said = row["error"] or next(reversed(str(row["stderr"]).split("\n")[:-1]), "")
        lines.append(strip_control(f"  {row['instance']}  {_status(row)}  {said[: html.MOST_TEXT]}").rstrip())
    if len(bad) > MOST_FAILURES:
        lines.append(f"  … and {len(bad) - MOST_FAILURES} more")
    return RunFailed("\n".join(lines), frame)


def _status(row: dict[str, Any]) -> str:
    return "✕ not run to its end" if row["error"] else f"{'✕' if failed(row) else '✓'} exit status {row['exit_code']}"


def _said(row: dict[str, Any]) -> list[str]:
    """Give the lines of a host, those in the middle left out when there are many."""
    text = strip_control(str(row["stdout"])) + strip_control(str(row["stderr"]))
    lines = [*text.splitlines(), *([str(row["error"])] if row["error"] else [])]
    if len(lines) <= LINES:
        return lines
    half = LINES // 2
    return [*lines[:half], f"… {len(lines) - LINES} lines are not shown: the DataFrame has them all …", *lines[-half:]]


def _host_text(row: dict[str, Any]) -> str:
    return "\n".join([f"## {row['instance']}  {_status(row)}", *(line[: html.MOST_TEXT] for line in _said(row))])


def _host_html(row: dict[str, Any]) -> str:
    status = html.coloured(html.BAD if failed(row) else html.OK, html.escaped(_status(row)))
    title = f"<b>{html.escaped(row['instance'])}</b>&ensp;{status}&ensp;{html.dim(seconds_text(row['seconds']))}"
    lines = "\n".join(map(html.escaped, _said(row)))
    return f"<div>{title}</div>" + (html.block(lines) if lines else "")


def _count(number: int) -> str:
    return "one host" if number == 1 else f"{number} hosts"
