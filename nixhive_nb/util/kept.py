"""What is kept of a stream that somebody else fills: bounded, however much comes. Sizes are bytes.

A stream is kept whole up to a limit. Of a longer one the beginning and the end are kept, and all of it may go to a
file, which has a limit of its own. Lines without an end are handed on in pieces.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import threading
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from nixhive_nb.util.files import private_opener
from nixhive_nb.util.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO

_log = logging.getLogger(__name__)

MEBIBYTE = 2**20
KEPT = 64 * MEBIBYTE
"""How much of what one host or program says is kept in memory, where nothing else is said."""
LOGGED = 1024 * MEBIBYTE
"""How long the log of one host may become, where nothing else is said."""
ANSWER = 4 * MEBIBYTE
"""How long the answer to a question of ours may be."""
TAIL = 65536
"""How much of the end of a longer stream is kept."""
MOST_LINE = 4 * MEBIBYTE
"""A line that is longer is handed on in pieces of so many characters."""
_PART = 65536
"""So many bytes are cut into lines at once: a piece of a line is no longer than that beyond its limit."""
_ESCAPING = "surrogateescape"
_ESCAPED = re.compile("[\udc80-\udcff]")


class Kept:
    """The bytes of one stream: all of them up to `most`, else the first of them and the last."""

    def __init__(self, most: int = KEPT, overflow: Callable[[bytes], str] | None = None) -> None:
        """Nothing is kept yet; `most` is at least 1.

        `overflow` takes all bytes of a stream that is too long, from its first on, and gives where they are.
        """
        self._most = most
        self._most_in_tail = min(TAIL, (most + 1) // 2)
        self._overflow = overflow
        self._head = _Head()
        self._tail: deque[bytes] = deque()
        self._in_tail = self._left_out = 0
        self._place = ""

    @property
    def is_cut(self) -> bool:
        """Whether something of it is not kept."""
        return self._left_out > 0

    def add(self, data: bytes) -> None:
        """Take some bytes."""
        held = self._head.size
        came = held + self._in_tail + self._left_out
        if came + len(data) > self._most and self._overflow is not None:
            if came <= self._most:  # all of it is here up to now
                for part in chain(self._head.parts(), self._tail):
                    self._overflow(part)
            self._place = self._overflow(data)
        room = self._most - self._most_in_tail - held
        if room:
            self._head.add(data[:room])
        rest = data[room:]
        if not rest:
            return
        self._tail.append(rest)
        self._in_tail += len(rest)
        while self._in_tail - len(self._tail[0]) >= self._most_in_tail:
            gone = len(self._tail.popleft())
            self._in_tail -= gone
            self._left_out += gone
        # No part of it is kept beyond that: how large the parts are is up to the host, and to how busy this machine is.
        excess = max(0, self._in_tail - self._most_in_tail)
        self._tail[0] = self._tail[0][excess:]
        self._in_tail -= excess
        self._left_out += excess

    def text(self) -> str:
        """Return what is kept; where something is left out, a line says how much, and where all of it is."""
        return self._head.text(*self._after_head())

    def ended(self) -> str:
        """Return the same once nothing more will be added."""
        return self._head.ended(*self._after_head())

    def _after_head(self) -> tuple[bytes, str]:
        # Other threads may be adding to it.
        tail, left_out = b"".join(tuple(self._tail)), self._left_out
        if not left_out:
            return tail, ""
        where = f": see {self._place}" if self._place else " and not kept"
        # In ASCII: one other character would double the memory of all of it.
        gap = f"\n... {size_text(left_out)} are left out here{where} ...\n"
        return b"", gap + tail.decode("utf-8", "replace")


class _Head:
    """Bytes as the text that they are: so there is one copy of them. What is no UTF-8 is escaped in it."""

    def __init__(self) -> None:
        self.size = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors=_ESCAPING)
        self._text = ""
        self._ended: str | None = None
        self._guard = threading.Lock()

    def add(self, data: bytes) -> None:
        """Take some bytes."""
        with self._guard:
            self._lengthen(self._decoder.decode(data))
            self.size += len(data)

    def parts(self) -> Iterator[bytes]:
        """Yield the bytes as they came, in parts."""
        for start in range(0, len(self._text), _PART):
            yield self._text[start : start + _PART].encode("utf-8", _ESCAPING)
        yield self._decoder.getstate()[0]

    def text(self, tail: bytes, more: str) -> str:
        """Return their text, with that of the `tail` and `more` after it."""
        with self._guard:
            return _replaced(self._text) + self._rest(tail, more) if self._ended is None else self._ended

    def ended(self, tail: bytes, more: str) -> str:
        """Return the same, once nothing is added any more: it takes the place of what is here."""
        with self._guard:
            if self._ended is None:
                self._text = _replaced(self._text)
                self._lengthen(self._rest(tail, more))
                self._ended, self._text = self._text, ""
            return self._ended

    def _rest(self, tail: bytes, more: str) -> str:
        return (self._decoder.getstate()[0] + tail).decode("utf-8", "replace") + more

    def _lengthen(self, more: str) -> None:
        # Python lengthens a text in its place where nothing else refers to it.
        text, self._text = self._text, ""
        text += more
        self._text = text


def _replaced(text: str) -> str:
    """Return a text with replacement characters for what is escaped in it."""
    if text.isascii() or not _ESCAPED.search(text):
        return text
    decode, replaced = codecs.getincrementaldecoder("utf-8")(errors="replace").decode, ""
    for start in range(0, len(text), _PART):
        replaced += decode(text[start : start + _PART].encode("utf-8", _ESCAPING))
    return replaced + decode(b"", final=True)


class Cutter:
    """Cuts bytes into lines of text; a line that is too long comes in pieces."""

    def __init__(self, *, most: int = MOST_LINE) -> None:
        self._most = most
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._open: list[str] = []
        self._length = 0

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[str]:
        """Take some bytes, and yield the lines that they end; at the `last` the rest too."""
        for lines in self.blocks(data, last=last):
            yield from lines.split("\n")

    def blocks(self, data: bytes, *, last: bool = False) -> Iterator[str]:
        """Take some bytes, and yield the lines that they end, several at once with newlines between them."""
        for start in range(0, len(data), _PART):
            yield from self._fed(data[start : start + _PART], last=False)
        if last:
            yield from self._fed(b"", last=True)

    def _fed(self, data: bytes, *, last: bool) -> Iterator[str]:
        lines, newline, rest = self._decoder.decode(data, final=last).rpartition("\n")
        if newline:
            yield self._lines(lines)
        if rest:
            self._open.append(rest)
            self._length += len(rest)
        if self._open and (last or self._length >= self._most):
            yield self._lines("")

    def _lines(self, end: str) -> str:
        lines = "".join([*self._open, end])
        self._open.clear()
        self._length = 0
        return lines.replace("\r\n", "\n").removesuffix("\r") if "\r" in lines else lines


class BoundedFile:
    """A file for us alone (0600) that takes up to `most` bytes, and says at its end that more came."""

    def __init__(self, path: Path, most: int = LOGGED) -> None:
        """Name the file, which is made with the first bytes."""
        self.path = path
        self._most = most
        self._left = most
        self._stream: IO[bytes] | None = None
        self._guard = threading.Lock()
        self._ended = False

    def add(self, data: bytes) -> str:
        """Write some bytes and return the path; empty once it cannot be written."""
        with self._guard:
            try:
                self._add(data)
            except OSError:
                _log.debug("writing %s", self.path, exc_info=True)
                self._end()
                return ""
        return str(self.path)

    def close(self) -> None:
        """End it."""
        with self._guard:
            self._end()

    def _add(self, data: bytes) -> None:
        if self._ended:
            return
        if self._stream is None:
            self._stream = open(self.path, "xb", opener=_private)  # noqa: SIM115 - `close` ends it
        self._stream.write(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            self._stream.write(full_note(self._most))
            self._end()

    def _end(self) -> None:
        self._ended = True
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def full_note(most: int) -> bytes:
    """Return the last line of a log that has reached its limit."""
    text = f"this log has reached its limit of {size_text(most)} (--max-log): what came after it is not kept"
    return f"\n… {text} …\n".encode()


def _private(name: str, flags: int) -> int:
    return private_opener(name, flags | os.O_NOFOLLOW)
