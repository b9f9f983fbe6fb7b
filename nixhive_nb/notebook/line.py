"""The line after `%hive`, read by one scanner: to run it, or to complete it while it is being typed.

    portico '*' "web-*"      quotes keep blanks together; glob characters need none
    $name  ${name}           a variable of the notebook
    {hosts[:3]}              a Python expression
    $$  {{  }}               a plain $ { }; so do '…' (nothing in it is expanded) and a backslash
    # …                      a comment, when it begins a word
    ;                        at the end: show nothing

A line that is run (`read_line`) is whole, or a mistake. One that is typed (`typed_before`) ends at the cursor, in the
middle of whatever that is, and nothing of it is expanded.
"""

from __future__ import annotations

import ast
import contextlib
import re
import warnings
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from IPython.core.error import UsageError

from nixhive_nb.notebook.expand import Piece, expand
from nixhive_nb.notebook.place import slot_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nixhive_nb.notebook.place import Slot

Quote = Literal["", "'", '"']
Kind = Literal["word", "comment", "python", "end"]
"""What the cursor is in: a word, a comment, an expression between braces, or behind the `;` that ends a line."""

_NAME = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_BLANKS = " \t\r\n"
_ESCAPED = ('"', "\\", "$", "{", "}")
"""What a backslash between double quotes takes away the meaning of; before others it is one, as in a shell."""
# `x = %hive …`, `a, b = %hive …`, `d["k"] = %hive …`, `z: T = %hive …`, `%time %hive …`, and `%hive …` in a block.
_LINE = re.compile(r"\s*(?:[^=#%]*[\w)\]'\"][ \t]*=\s*)?(?:%time[ \t]+)?%hive(?=[ \t])")
_CELL = re.compile(r"\s*%%hive(?=[ \t])")


class HiveLine(msgspec.Struct, frozen=True, kw_only=True):
    """A whole line; `quiet` when it ended in `;`."""

    words: tuple[tuple[str, ...], ...]
    """The values of each word: one, but for a variable that held several."""
    quiet: bool = False

    @property
    def argv(self) -> list[str]:
        """All values, one after the other."""
        return [value for word in self.words for value in word]


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
    kind: Kind = "word"
    closed: bool = False
    """Whether the end of that quote stands behind the cursor already, as editors do it."""
    braced: bool = False
    """Whether a `}` stands behind the cursor already."""
    cell: bool = False
    """Whether it is the first line of a `%%hive` cell."""


def read_line(line: str, names: Mapping[str, Any], *, cell: bool = False) -> HiveLine:
    """Split a line and expand its words; `cell` says that it is the first one of a `%%hive` cell.

    Raises `UsageError`, one line that names the word or variable at fault.
    """
    scanner = _Scanner(line, strict=True)
    words: list[tuple[str, ...]] = []
    argv: list[str] = []
    for what, pieces in scanner.words(argv, cell=cell):
        words.append(expand(pieces, names, several=what == "many"))
        argv += words[-1]
    return HiveLine(words=tuple(words), quiet=scanner.kind == "end")


def typed_before(text: str, line: int, column: int) -> Typed | None:
    """Return what is typed up to a cursor (`line` and `column` from 0) in a cell; None outside of a line of `%hive`."""
    lines = text.split("\n")
    before, after = lines[line][:column], lines[line][column:]
    first = next((at for at, one in enumerate(lines) if one.strip()), 0)
    in_cell = lines[first].lstrip().startswith("%%hive")
    whole = before if in_cell else "".join(_continued(lines, line)) + before
    found = (_CELL.match(before) if line == first else None) if in_cell else _LINE.match(whole)
    if found is None:
        return None
    typed = scan_typed(whole[found.end() :], cell=in_cell)
    if len(typed.raw) > len(before):
        return None  # a quote that was opened on an earlier line
    closed = bool(typed.quote) and after.startswith(typed.quote)
    return msgspec.structs.replace(typed, closed=closed, braced=after.startswith("}"))


def scan_typed(text: str, *, cell: bool = False) -> Typed:
    """Return the words of a line that may end anywhere."""
    scanner = _Scanner(text, strict=False)
    words: list[str] = []
    for _, pieces in scanner.words(words, cell=cell):
        words.append("".join(piece.typed for piece in pieces))
    value = words.pop() if scanner.in_word else ""
    raw = text[scanner.start :]
    return Typed(words=tuple(words), value=value, raw=raw, quote=scanner.quote, kind=scanner.kind, cell=cell)


def _continued(lines: list[str], line: int) -> list[str]:
    """Return the lines that end in a backslash and so go on in `line`; IPython puts a blank in its place."""
    start = line
    while start > 0 and lines[start - 1].rstrip().endswith("\\"):
        start -= 1
    return [f"{one.rstrip()[:-1]} " for one in lines[start:line]]


class _Scanner:
    """Reads words from left to right. Where it is `strict`, what is not whole is a mistake; else it is taken so far."""

    def __init__(self, text: str, *, strict: bool) -> None:
        self.text = text
        self._strict = strict
        self._at = 0
        self.start = 0
        """Where the word began that is read, or comes next."""
        self.in_word = False
        """Whether the text ended in a word."""
        self.quote: Quote = ""
        """The quote that was open where the text ended."""
        self.kind: Kind = "word"
        """What the text ended in."""

    def words(self, known: Sequence[str], *, cell: bool) -> Iterator[tuple[Slot, list[Piece]]]:
        """Read each word, with what it may be by the grammar; `known` has the words before it."""
        while self._find_word():
            what = slot_after(known, cell=cell)
            pieces = self._word(plain=what == "verbatim")
            if pieces or self.kind != "end":
                self.in_word = self._at >= len(self.text) and self.kind != "end"
                yield what, pieces

    def _find_word(self) -> bool:
        """Go to the next word; tell whether there is one."""
        if self.in_word or self.kind == "end":
            return False
        while self._at < len(self.text) and self.text[self._at] in _BLANKS:
            self._at += 1
        self.start = self._at
        if self.text.startswith("#", self._at):
            self.kind = "comment"
        return self._at < len(self.text) and self.kind == "word"

    def _word(self, *, plain: bool) -> list[Piece]:
        """Read a word; where it is `plain`, `$` and `{` are characters like others."""
        pieces: list[Piece] = []
        while self._at < len(self.text) and self.text[self._at] not in _BLANKS:
            character = self.text[self._at]
            if character == ";" and self._ends_line():
                self.kind = "end"
                self._at = self.start = len(self.text)
            elif character == "'":
                pieces.append(self._single_quoted())
            elif character == '"':
                pieces += self._double_quoted(plain=plain)
            else:
                pieces.append(self._piece(plain=plain))
        return pieces

    def _ends_line(self) -> bool:
        rest = self.text[self._at + 1 :].lstrip()
        return not rest or rest.startswith("#")

    def _single_quoted(self) -> Piece:
        end = self.text.find("'", self._at + 1)
        if end < 0:
            self._unclosed("'", self._at)
            end = len(self.text)
        piece = Piece("text", self.text[self._at + 1 : end])
        self._at = end + 1
        return piece

    def _double_quoted(self, *, plain: bool) -> list[Piece]:
        start, pieces = self._at, [Piece("text", "")]
        self._at += 1
        while self._at < len(self.text) and self.text[self._at] != '"':
            keep = self.text[self._at] == "\\" and self.text[self._at + 1 : self._at + 2] not in _ESCAPED
            pieces.append(self._take() if keep else self._piece(plain=plain))
        if self._at >= len(self.text):
            self._unclosed('"', start)
        self._at += 1
        return pieces

    def _unclosed(self, quote: Quote, start: int) -> None:
        self._mistake(f"No closing quotation mark: {quote} of {self.text[start:].strip()}")
        self.quote = quote

    def _piece(self, *, plain: bool) -> Piece:
        character = self.text[self._at]
        if character == "\\":
            self._at += 1
            if self._at == len(self.text):
                self._mistake("There is nothing after the backslash at the end of the line.")
            return self._take()
        if plain or character not in "${}":
            return self._take()
        if character * 2 == self.text[self._at : self._at + 2]:
            self._at += 1
            return self._take()
        return self._variable() if character == "$" else self._expression()

    def _take(self, length: int = 1) -> Piece:
        self._at += length
        return Piece("text", self.text[self._at - length : self._at])

    def _variable(self) -> Piece:
        found = _NAME.match(self.text, self._at)
        name = (found[1] or found[2]) if found else ""
        if found and name.isidentifier():
            self._at = found.end()
            return Piece("python", name, found[0])
        self._mistake(f"{self._rest()}: $ wants the name of a variable after it; a plain one is $$ or '$'.")
        return self._take(2 if self.text.startswith("${", self._at) else 1)

    def _expression(self) -> Piece:
        """Read `{…}` up to the first brace that makes what stands between them an expression."""
        end = self.text.find("}", self._at)
        while self.text[self._at] == "{" and end > 0:
            inner = self.text[self._at + 1 : end].strip()
            if _is_expression(inner):
                return self._python(inner, end + 1)
            end = self.text.find("}", end + 1)
        self._mistake(f"{self._rest()}: braces go round a Python expression; a plain one is {{{{ or }}}} or '{{'.")
        if self.text[self._at] == "{":
            self.kind = "python"
            return self._take(len(self.text) - self._at)
        return self._take()

    def _python(self, text: str, end: int) -> Piece:
        piece = Piece("python", text, self.text[self._at : end])
        self._at = end
        return piece

    def _rest(self) -> str:
        return self.text[self._at :].split()[0]

    def _mistake(self, said: str) -> None:
        """Refuse a line that is run; one that is typed may go on so that it is none."""
        if self._strict:
            raise UsageError(said)


def _is_expression(text: str) -> bool:
    with warnings.catch_warnings(), contextlib.suppress(SyntaxError, ValueError):
        warnings.simplefilter("ignore")  # what is run is warned of when it is run
        ast.parse(text, mode="eval")
        return True
    return False
