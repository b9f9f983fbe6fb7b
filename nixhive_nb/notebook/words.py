"""The line after `%hive` → arguments: quotes as in a shell, `$name` and `{expression}` from the notebook.

    portico '*' "web-*"      quotes keep blanks together; glob characters need none
    $name  ${name}           a variable of the notebook
    {hosts[:3]}              a Python expression
    $$  {{  }}               a plain $ { }; so do '…' (nothing in it is expanded) and a backslash
    # …                      a comment, when it begins a word
    ;                        at the end: show nothing

A variable that stands alone may hold several values, which become several arguments. Inside a longer word it must be
text or a number. What cannot be expanded is a mistake of the user's, and never a target.
"""

from __future__ import annotations

import ast
import numbers
import os
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pandas as pd
from IPython.core.error import UsageError

from nixhive_nb.notebook.picker import Picker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Slot = Literal["one", "many", "verbatim"]
"""What the next word may be: one value, several, or text in which nothing is expanded."""

_NAME = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_BLANKS = " \t\r\n"


class Piece(msgspec.Struct, frozen=True):
    """A part of a word: plain text, or Python to be evaluated. `source` is how the user wrote it."""

    kind: Literal["text", "python"]
    text: str
    source: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line in its words, each a list of pieces; `quiet` when it ended in `;`."""

    words: tuple[tuple[str, ...], ...]
    """The values of each word: one, but for a variable that held several."""
    quiet: bool = False

    @property
    def argv(self) -> list[str]:
        """All values, one after the other."""
        return [value for word in self.words for value in word]


def read_line(line: str, names: Mapping[str, Any], slot: Callable[[Sequence[str]], Slot]) -> Line:
    """Split a line and expand its words. `slot` says what may come after the arguments so far.

    Raises `UsageError`, one line that names the word or variable at fault.
    """
    reader = _Reader(line)
    words: list[tuple[str, ...]] = []
    argv: list[str] = []
    while reader.find_word():
        what = slot(argv)
        pieces = reader.word(plain=what == "verbatim")
        if not pieces and reader.quiet:
            break
        values = _expand(pieces, names, several=what == "many")
        words.append(values)
        argv += values
    return Line(words=tuple(words), quiet=reader.quiet)


class _Reader:
    """Reads words from left to right."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.at = 0
        self.quiet = False

    def find_word(self) -> bool:
        """Go to the next word; tell whether there is one."""
        while self.at < len(self.line) and self.line[self.at] in _BLANKS:
            self.at += 1
        return self.at < len(self.line) and self.line[self.at] != "#"

    def word(self, *, plain: bool) -> list[Piece]:
        """Read a word; where it is `plain`, `$` and `{` are characters like others."""
        pieces: list[Piece] = []
        while self.at < len(self.line) and self.line[self.at] not in _BLANKS:
            character = self.line[self.at]
            if character == ";" and self._ends_line():
                self.quiet = True
                self.at = len(self.line)
            elif character == "'":
                pieces.append(Piece("text", self._until_quote()))
            elif character == '"':
                pieces += self._double_quoted(plain=plain)
            else:
                pieces.append(self._piece(plain=plain))
        return pieces

    def _ends_line(self) -> bool:
        rest = self.line[self.at + 1 :].lstrip()
        return not rest or rest.startswith("#")

    def _until_quote(self) -> str:
        end = self.line.find("'", self.at + 1)
        if end < 0:
            raise self._unclosed("'")
        text, self.at = self.line[self.at + 1 : end], end + 1
        return text

    def _double_quoted(self, *, plain: bool) -> list[Piece]:
        start, pieces = self.at, [Piece("text", "")]
        self.at += 1
        while self.at < len(self.line) and self.line[self.at] != '"':
            # As in a shell: between double quotes a backslash is one, but before what it could be needed for.
            keep = self.line[self.at] == "\\" and self.line[self.at + 1 : self.at + 2] not in ('"', "\\", "$", "{", "}")
            pieces.append(self._take() if keep else self._piece(plain=plain))
        if self.at >= len(self.line):
            self.at = start
            raise self._unclosed('"')
        self.at += 1
        return pieces

    def _unclosed(self, quote: str) -> UsageError:
        return UsageError(f"No closing quotation mark: {quote} of {self.line[self.at :].strip()}")

    def _piece(self, *, plain: bool) -> Piece:
        if self.line[self.at] == "\\":
            self.at += 1
            if self.at == len(self.line):
                raise UsageError("There is nothing after the backslash at the end of the line.")
            return self._take()
        if plain or self.line[self.at] not in "${}":
            return self._take()
        if self.line[self.at] * 2 == self.line[self.at : self.at + 2]:
            self.at += 1
            return self._take()
        return self._variable() if self.line[self.at] == "$" else self._expression()

    def _take(self) -> Piece:
        self.at += 1
        return Piece("text", self.line[self.at - 1])

    def _variable(self) -> Piece:
        found = _NAME.match(self.line, self.at)
        name = (found[1] or found[2]) if found else ""
        if not found or not name.isidentifier():
            raise UsageError(f"{self._rest()}: $ wants the name of a variable after it; a plain one is $$ or '$'.")
        self.at = found.end()
        return Piece("python", name, found[0])

    def _expression(self) -> Piece:
        """Read `{…}` up to the first brace that makes what stands between them an expression."""
        end = self.line.find("}", self.at)
        while self.line[self.at] == "{" and end > 0:
            text = self.line[self.at + 1 : end].strip()
            if _is_expression(text):
                piece = Piece("python", text, self.line[self.at : end + 1])
                self.at = end + 1
                return piece
            end = self.line.find("}", end + 1)
        raise UsageError(f"{self._rest()}: braces go round a Python expression; a plain one is {{{{ or }}}} or '{{'.")

    def _rest(self) -> str:
        return self.line[self.at :].split()[0]


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True


def _expand(pieces: Sequence[Piece], names: Mapping[str, Any], *, several: bool) -> tuple[str, ...]:
    if len(pieces) == 1 and pieces[0].kind == "python":
        return _values(pieces[0], _value(pieces[0], names), several=several)
    return ("".join(_part(piece, names) for piece in pieces),)


def _part(piece: Piece, names: Mapping[str, Any]) -> str:
    if piece.kind == "text":
        return piece.text
    value = _value(piece, names)
    text = _text(value)
    if text is None:
        advice = f"For a part of it, write {{{piece.text}…}}."
        raise UsageError(f"{piece.source} is {_kind(value)}: in a longer word stand only text and numbers. {advice}")
    return text


def _value(piece: Piece, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any value of the notebook
    try:
        # What the user wrote into the user's own cell, as IPython does it for other magics.
        return eval(piece.text, dict(names))  # noqa: S307
    except NameError as error:
        name = error.name or piece.text
        raise UsageError(f"{piece.source}: there is no variable '{name}' in this notebook.") from None
    except Exception as error:  # noqa: BLE001 - whatever the expression raises
        raise UsageError(f"{piece.source}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def _values(piece: Piece, value: Any, *, several: bool) -> tuple[str, ...]:  # noqa: ANN401 - see above
    text = _text(value)
    if text is not None:
        return (_checked(piece, text),)
    if isinstance(value, (set, frozenset)):
        raise UsageError(f"{piece.source} is a set, which has no order: write {{sorted({piece.text})}}.")
    found = _several(value)
    if found is None:
        raise UsageError(f"{piece.source} is {_kind(value)}, which is neither text nor a list of names.")
    if not several:
        raise UsageError(f"{piece.source} is {_kind(value)}: only one value can stand here.")
    if not found and isinstance(value, Picker):
        raise UsageError(f"{piece.source}: nothing is picked, and no pattern would mean all. Nothing was done.")
    if not found:
        raise UsageError(f"{piece.source} is empty, and no pattern would mean all. Nothing was done.")
    texts = [_text(one) for one in found]
    for one, shown in zip(found, texts, strict=True):
        if shown is None:
            raise UsageError(f"{piece.source} holds {_kind(one)}, which is not text.")
    return tuple(_checked(piece, shown) for shown in texts if shown is not None)


def _several(value: object) -> list[Any] | None:
    """Return the values of what has an order; of a table that is its index, of a picker what is picked."""
    if isinstance(value, Picker):
        return list(value.take())
    if isinstance(value, pd.DataFrame):
        value = value.index
    if isinstance(value, (pd.Series, pd.Index)) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return list(value.tolist())
    return list(value) if isinstance(value, (list, tuple, type({}.keys()))) else None


def _text(value: object) -> str | None:
    """Return a value as an argument, None for one that has no obvious text."""
    if isinstance(value, bool) or value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, (str, numbers.Real)):
        return str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) and isinstance(os.fspath(value), str) else None


def _checked(piece: Piece, text: str) -> str:
    if not text.strip():
        raise UsageError(f"{piece.source} is empty text, which names nothing.")
    if text.startswith("-"):
        raise UsageError(f"{piece.source} is {text!r}: what begins with - would be read as an option.")
    return text


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"of type {type(value).__name__}"
