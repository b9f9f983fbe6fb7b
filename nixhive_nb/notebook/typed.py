"""What stands before the cursor in a line of `%hive` that is being typed: its words, and the one that goes on.

The same quotes and braces as in `words`, but nothing is expanded, and a line that is not whole is no mistake.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Quote = Literal["", "'", '"']
Kind = Literal["word", "comment", "python"]
"""What the cursor is in: a word, a comment, or an expression between braces."""

# `x = %hive …`, `a, b = %hive …`, `d["k"] = %hive …`, `z: T = %hive …`, `%time %hive …`, and `%hive …` in a block.
_LINE = re.compile(r"\s*(?:[^=#%]*[\w)\]'\"][ \t]*=\s*)?(?:%time[ \t]+)?%hive(?=[ \t])")
_CELL = re.compile(r"\s*%%hive(?=[ \t])")
_BLANKS = " \t"
_ESCAPED = ('"', "\\", "$", "{", "}")
"""What a backslash between double quotes takes away the meaning of."""


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """A line up to the cursor."""

    words: tuple[str, ...] = ()
    """The words before the one at the cursor, without their quotes; `$name` and `{…}` stand as they are."""
    value: str = ""
    """The word at the cursor, without its quotes."""
    raw: str = ""
    """The same as it is written."""
    quote: Quote = ""
    """The quote that is open at the cursor."""
    closed: bool = False
    """Whether the end of that quote stands behind the cursor already, as editors do it."""
    braced: bool = False
    """Whether a `}` stands behind the cursor already."""
    kind: Kind = "word"
    cell: bool = False
    """Whether it is the first line of a `%%hive` cell."""


def typed_before(text: str, line: int, column: int) -> Typed | None:
    """Return what is typed up to a cursor (`line` and `column` from 0) in a cell; None outside of a line of `%hive`."""
    lines = text.split("\n")
    before, after = lines[line][:column], lines[line][column:]
    first = next((at for at, one in enumerate(lines) if one.strip()), 0)
    if lines[first].lstrip().startswith("%%hive"):
        found = _CELL.match(before) if line == first else None
        whole = before
    else:
        whole = "".join(_continued(lines, line)) + before
        found = _LINE.match(whole)
    if found is None:
        return None
    scan = _Scan(whole[found.end() :])
    if len(scan.raw) > len(before):
        return None  # a quote that was opened on an earlier line
    return Typed(
        words=tuple(scan.words),
        value=scan.value,
        raw=scan.raw,
        quote=scan.quote,
        closed=bool(scan.quote) and after.startswith(scan.quote),
        braced=after.startswith("}"),
        kind=scan.kind,
        cell=line == first and before.lstrip().startswith("%%"),
    )


def _continued(lines: list[str], line: int) -> list[str]:
    """Return the lines that end in a backslash and so go on in `line`; IPython puts a blank in its place."""
    start = line
    while start > 0 and lines[start - 1].rstrip().endswith("\\"):
        start -= 1
    return [f"{one.rstrip()[:-1]} " for one in lines[start:line]]


class _Scan:
    """Reads a line from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.words: list[str] = []
        self.value = ""
        self.start = -1
        self.quote: Quote = ""
        self.kind: Kind = "word"
        while self.at < len(text) and self.kind == "word":
            self._step(text[self.at])

    @property
    def raw(self) -> str:
        """The word at the end as it is written."""
        return self.text[self.start :] if self.start >= 0 else ""

    def _step(self, character: str) -> None:
        if character in _BLANKS and not self.quote:
            self._end_word()
            return
        if self.start < 0:
            self.start = self.at
            if character == "#":
                self.kind = "comment"
                return
        if character == self.quote:
            self.quote = ""
            self.at += 1
        elif character in ("'", '"') and not self.quote:
            self.quote = "'" if character == "'" else '"'
            self.at += 1
        else:
            self._take(character)

    def _end_word(self) -> None:
        if self.start >= 0:
            self.words.append(self.value)
        self.value, self.start = "", -1
        self.at += 1

    def _take(self, character: str) -> None:
        """Take what stands for one character, or a whole expression."""
        pair = self.text[self.at : self.at + 2]
        if self.quote == "'":
            self._add(character, 1)
        elif character == "\\" and (not self.quote or pair[1:] in _ESCAPED):
            self._add(pair[1:], 2)
        elif pair in ("{{", "}}", "$$"):
            self._add(character, 2)
        elif pair == "${":
            self._add(pair, 2)
        elif character == "{":
            self._expression()
        else:
            self._add(character, 1)

    def _add(self, value: str, length: int) -> None:
        self.value += value
        self.at += length

    def _expression(self) -> None:
        end, depth = self.at, 0
        while end < len(self.text):
            depth += {"{": 1, "}": -1}.get(self.text[end], 0)
            end += 1
            if not depth:
                self._add(self.text[self.at : end], end - self.at)
                return
        self.kind = "python"
