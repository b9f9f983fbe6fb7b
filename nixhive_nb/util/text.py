"""Text for people: without terminal control, with sizes and durations that can be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# ECMA-48: CSI sequences, OSC and other strings up to their end, and single escapes. A string that has none ends with
# its line: what comes after it is not to be hidden.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# What is left of the control characters, but for tab and newline; those that turn the direction of text; and halves of
# characters, as of a file name that is no UTF-8, which nothing can print or save.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WITHOUT: dict[int, str | None] = dict.fromkeys(range(0xD800, 0xE000), "\ufffd") | dict.fromkeys((
    *(*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)),
    *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
))  # fmt: skip
_ASCII_CONTROLS = bytes(number for number in range(0x80) if number in _WITHOUT)
_PIECE = 2**20
"""So much of a text is cleaned at once: where each character is a control character, that takes many times as much."""
_LOOK = 2**16
"""So much of a text is looked at once: more needs memory that is new each time, which takes longer than to look."""
_BEGINNINGS = "\x1b\x90\x98\x9b\x9d\x9e\x9f\r"
_NEAR = 4096
"""How far before the end of a part an escape may begin."""
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP = 1000
_MINUTE = 60


def strip_control(text: str) -> str:
    """Return text from elsewhere without terminal control; newlines and tabs stay, a carriage return ends a line."""
    if _is_clean(text):
        return text
    newline = "\n" if "\n" in text else " "
    stripped = ""  # lengthened in its place: there may be a lot of it, and a list of parts would be a copy more
    for part in _parts(text):
        stripped += _plain(part, newline)
    return stripped


def strip_lines(lines: str) -> str:
    """Return lines, with newlines between them, each as `strip_control` returns it alone."""
    return lines if _is_clean(lines) else "\n".join(map(strip_control, lines.split("\n")))


def _is_clean(text: str) -> bool:
    # An escape begins with one of the control characters.
    return text.isprintable() or _is_plain(text) or not _CONTROLS.search(text)


def _is_plain(text: str) -> bool:
    """Return whether a text is ASCII without control characters, found faster than by looking at each."""
    if not text.isascii():
        return False
    for start in range(0, len(text), _LOOK):
        piece = text[start : start + _LOOK].encode()
        if len(piece.translate(None, _ASCII_CONTROLS)) < len(piece):
            return False
    return True


def _plain(text: str, newline: str) -> str:
    return _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", newline).translate(_WITHOUT)


def _parts(text: str) -> Iterator[str]:
    """Yield a text in parts, at the end of a line where there is one, else before an escape: no part ends in one."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            begun = max(text.rfind(sign, end - _NEAR, end) for sign in _BEGINNINGS)
            end = (text.rfind("\n", start, end) + 1) or (begun if begun > start else end)
        yield text[start:end]
        start = end


def line_count(text: str) -> int:
    """Return how many lines a text has; the last one may lack its newline."""
    return text.count("\n") + bool(text and not text.endswith("\n"))


def size_text(size: int | None) -> str:
    """Return bytes as `61.4 MB`, decimal as on the labels of links and disks; empty for None."""
    if size is None:
        return ""
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if value < _STEP - 0.05 or unit == _UNITS[-1]:
            break
        value /= _STEP
    return f"{size} B" if unit == _UNITS[0] else f"{value:.1f} {unit}"


def count_text(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things: `1 host`, `1,204 hosts`; `plural` where an `s` does not make it."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def seconds_text(seconds: float | None) -> str:
    """Return a duration as `2.1 s`, `1 min 04 s` or `2 h 05 min`; empty for None."""
    if seconds is None:
        return ""
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, left = divmod(minutes, _MINUTE)
    return f"{hours} h {left:02} min" if hours else f"{minutes} min {rest:02} s"


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns line up."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)
