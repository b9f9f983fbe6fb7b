"""What a command said on hosts, as it stays in the cell: hosts that said the same stand together."""

from __future__ import annotations

import os
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.errors import RunFailed
from nixhive_nb.frames import run_failures
from nixhive_nb.notebook.display import Bundle
from nixhive_nb.run.everywhere import LONG_LINE, LONG_LINES, failed, untried
from nixhive_nb.util import html
from nixhive_nb.util.text import line_count, seconds_text, size_text, strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

GROUPS = 50
"""How many different outputs are shown; the DataFrame holds all."""
NAMES = 6
"""How many hosts of a group are named."""
OPEN_LINES = 12
"""How many lines need not be folded."""
MOST_FAILURES = 10
_CHARACTERS = 60_000
_FEWEST = 800
"""So many characters are shown in all, and so many of each group at least."""
_ELSEWHERE = "the DataFrame has them all"


class AlikeHosts(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts whose command ended in the same way and said the same; the rows are as in `frames.run_frame`."""

    rows: tuple[dict[str, Any], ...]

    @property
    def first(self) -> dict[str, Any]:
        """The row of one of them."""
        return self.rows[0]

    @property
    def bad(self) -> bool:
        """Whether the command failed on them."""
        return failed(self.first)

    @property
    def untried(self) -> bool:
        """Whether their turn never came."""
        return untried(self.first)

    @property
    def log(self) -> str:
        """The log that has the whole output, as a path from here; empty where there is none."""
        log = str(self.first.get("log") or "")
        near = os.path.relpath(log) if log else ""
        return log if near.startswith("..") else near

    def count(self) -> str:
        """Return the host, or how many there are: `www-1`, `17 hosts`."""
        return str(self.first["instance"]) if len(self.rows) == 1 else f"{len(self.rows)} hosts"

    def names(self) -> str:
        """Return which they are, where they are several: `www-1, www-2 … and 15 more`."""
        more = f" … and {len(self.rows) - NAMES} more" if len(self.rows) > NAMES else ""
        names = ", ".join(str(row["instance"]) for row in self.rows[:NAMES])
        return f"{names}{more}" if len(self.rows) > 1 else ""

    def who(self) -> str:
        """Return both: `17 hosts said: www-1, www-2 … and 15 more`."""
        said = "" if self.untried else " said" if self.line_count() else " said nothing"
        return f"{self.count()}{said}: {self.names()}" if len(self.rows) > 1 else self.count()

    def status(self) -> str:
        """Return how it ended, as a symbol and words."""
        if self.untried:
            return "○ not tried"
        if self.first["error"]:
            return "✕ not run to its end"
        return f"{'✕' if self.bad else '✓'} exit status {self.first['exit_code']}"

    def took(self) -> str:
        """Return how long it took, of several from the quickest to the slowest."""
        seconds = [row["seconds"] for row in self.rows if row["seconds"] is not None]
        ends = dict.fromkeys([seconds_text(min(seconds)), seconds_text(max(seconds))] if seconds else [])
        return " to ".join(ends)

    def texts(self) -> tuple[str, ...]:
        """Return all that they said: output, errors, and why it did not run to its end."""
        return self.first["stdout"], self.first["stderr"], _reason(self.first)

    def line_count(self) -> int:
        """Return how many lines that is."""
        return sum(map(line_count, self.texts()))

    def ends(self) -> list[str]:
        """Return all lines, or where they are many the first and the last of them; what is long of a line is cut.

        There may be a gigabyte of them: only these are taken out.
        """
        first = list(islice(chain.from_iterable(map(_lines, self.texts())), LONG_LINES // 2))
        back = chain.from_iterable(map(_lines_back, reversed(self.texts())))
        rest = min(self.line_count() - len(first), LONG_LINES // 2)
        return [*first, *reversed(list(islice(back, rest)))]


class RunOutput(Bundle):
    """What hosts said, each output once, with its exit status; those that failed first."""

    def __init__(self, rows: Sequence[dict[str, Any]], total: int) -> None:
        """Show `rows`, as in `frames.run_frame` with their logs, of `total` hosts."""
        self.groups = _grouped(rows)
        self.done = len(rows)
        self.total = total
        shown = min(len(self.groups), GROUPS)
        self._most = max(_FEWEST, _CHARACTERS // max(1, shown))

    def text(self) -> str:
        """Return it as a terminal shows it."""
        groups = (self._group_text(group) for group in self.groups[:GROUPS])
        return "\n".join([self._headline(), *groups, *self._rest()])

    def html(self) -> str:
        """Return it with a heading for each output; what has one line stands in a table."""
        colour = html.BAD if any(group.bad for group in self.groups) else html.OK
        parts = [html.head(self._headline(), [], colour)]
        for short, found in groupby(self.groups[:GROUPS], _is_short):
            groups = list(found)
            parts += [_table(groups)] if short else map(self._group_html, groups)
        return "".join([*parts, *(html.note(html.escaped(line)) for line in self._rest())])

    def _headline(self) -> str:
        left_out = sum(len(group.rows) for group in self.groups if group.untried)
        bad = sum(len(group.rows) for group in self.groups if group.bad) - left_out
        done = self.done - left_out
        whole = done == self.total
        how = f"{bad} failed" if bad else "exit status 0" if whole else ""
        rest = f"{left_out} not tried" if left_out else ""
        return ", ".join(filter(None, [_count(done) if whole else f"{done} of {_count(self.total)} done", how, rest]))

    def _rest(self) -> list[str]:
        more = sum(len(group.rows) for group in self.groups[GROUPS:])
        return [f"… and {_count(more)} more: {_ELSEWHERE}."] if more else []

    def _group_text(self, group: AlikeHosts) -> str:
        return "\n".join([f"## {group.who()}  {group.status()}", *_cut(group, self._most)])

    def _group_html(self, group: AlikeHosts) -> str:
        said = " said" if len(group.rows) > 1 else ""
        facts = [_status_html(group), html.dim(group.took()), html.dim(html.escaped(group.names()))]
        title = "&ensp;".join([f"<b>{html.escaped(group.count())}{said}</b>", *facts])
        lines = _cut(group, self._most)
        block = html.block("\n".join(map(html.escaped, lines))) if lines else ""
        if len(lines) > OPEN_LINES:
            size = size_text(sum(map(len, group.texts())))
            place = f" · {html.escaped(group.log)}" if group.log else ""
            block = html.folded(f"{group.line_count()} lines, {size}{place}", block, is_open=group.bad)
        return f'<div style="margin-top:6px">{title}</div>{block}'


def failure_of(frame: pd.DataFrame) -> RunFailed | None:
    """Return the error of a run with hosts that failed: a short table."""
    count, left_out = run_failures(frame)
    if not count:
        return None
    not_tried = f", {left_out} not tried" if left_out else ""
    how_many = f"{count} of {len(frame)} hosts" if len(frame) > 1 else _count(count)
    lines = [f"{how_many} failed{not_tried}"]
    bad = frame[frame["exit_code"].fillna(-1) != 0]
    rows: list[dict[str, Any]] = bad.iloc[:MOST_FAILURES].reset_index().to_dict("records")  # type: ignore[assignment]
    for row in rows:
        if not untried(row):
            said = row["error"] or next(_lines_back(row["stderr"]), "")
            status = AlikeHosts(rows=(row,)).status()
            lines.append(strip_control(f"  {row['instance']}  {status}  {said[: html.MOST_TEXT]}").rstrip())
    if count > MOST_FAILURES:
        lines.append(f"  … and {count - MOST_FAILURES} more")
    return RunFailed("\n".join(lines), frame=frame)


def _grouped(rows: Iterable[dict[str, Any]]) -> list[AlikeHosts]:
    """Return the groups, those that failed first, then those with the most hosts."""
    found: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["exit_code"], row["stdout"], row["stderr"], _reason(row)), []).append(row)
    groups = [AlikeHosts(rows=tuple(same)) for same in found.values()]
    return sorted(groups, key=lambda group: (not group.bad, group.untried, -len(group.rows)))


def _reason(row: dict[str, Any]) -> str:
    """Return why a command did not run to its end, without the name of the host, which is another for each."""
    return strip_control(str(row["error"])).removeprefix(f"{row['instance']}: ")


def _lines(text: str) -> Iterator[str]:
    """Return the lines of a text, cut to what is shown of one."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end == -1 else end
        yield _line(text, begin, end)
        begin = end + 1


def _lines_back(text: str) -> Iterator[str]:
    """Return the lines of a text from the last to the first, cut to what is shown of one."""
    end = len(text) - text.endswith("\n")
    while text and end >= 0:
        begin = text.rfind("\n", 0, end) + 1
        yield _line(text, begin, end)
        end = begin - 1


def _line(text: str, begin: int, end: int) -> str:
    return text[begin:end] if end - begin <= LONG_LINE else f"{text[begin : begin + LONG_LINE - 1]}…"


def _cut(group: AlikeHosts, most: int) -> list[str]:
    """Return the lines of a group; where there are too many, the first and the last of them, and where the rest is."""
    lines = group.ends()
    head = list(_within(lines, LONG_LINES // 2, most // 2))
    tail = list(_within(reversed(lines[len(head) :]), LONG_LINES // 2, most // 2))[::-1]
    hidden = group.line_count() - len(head) - len(tail)
    if not hidden:
        return [*head, *tail, *([f"… the whole: {group.log}"] if group.log else [])]
    return [*head, f"… {hidden} lines are not shown: {f'see {group.log}' if group.log else _ELSEWHERE} …", *tail]


def _within(lines: Iterable[str], count: int, characters: int) -> Iterator[str]:
    """Return the first lines, so many at most, and so many characters in all; one at least."""
    left = characters
    for number, line in enumerate(lines):
        left -= len(line)
        if number == count or (number and left < 0):
            return
        yield line


def _is_short(group: AlikeHosts) -> bool:
    return group.line_count() <= 1 and not group.log


def _table(groups: Iterable[AlikeHosts]) -> str:
    header = [("on", False), ("", False), ("time", True), ("said", False)]
    rows = [
        html.cell(f"<b>{html.escaped(group.count())}</b>&ensp;{html.dim(html.escaped(group.names()))}", prose=True)
        + html.cell(_status_html(group))
        + html.cell(html.dim(group.took()), number=True)
        + html.cell("".join(map(html.escaped, group.ends())), prose=True)
        for group in groups
    ]
    return html.table(header, rows)


def _status_html(group: AlikeHosts) -> str:
    colour = html.DIM if group.untried else html.BAD if group.bad else html.OK
    return html.coloured(colour, html.escaped(group.status()))


def _count(number: int) -> str:
    return "one host" if number == 1 else f"{number} hosts"
