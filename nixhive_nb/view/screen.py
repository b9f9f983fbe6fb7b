"""What a text is shown on: how wide it is, and whether it has colours."""

from __future__ import annotations

import logging
import os
import sys

import msgspec

from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)

_USUAL = 80
_NARROWEST = 40
"""No view is made for less: what is narrower breaks lines as it likes."""


class Screen(msgspec.Struct, frozen=True):
    """A terminal, or what is none."""

    width: int | None = None
    """Characters in a line; None where that has no end, as in a file."""
    colour: bool = False


ENDLESS = Screen()
"""A file, a pipe, a notebook."""


def screen_of(*, error: bool = False) -> Screen:
    """Return what standard output (or error) leads to, as it is now.

    A pipe has no width, and so all that it is given. Colours are for a terminal that has some, unless `NO_COLOR` says
    otherwise; `FORCE_COLOR` has them anywhere.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        terminal = stream is not None and stream.isatty()
    except ValueError:  # it is closed
        terminal = False
    return Screen(width=_width(stream.fileno()) if terminal else None, colour=_has_colour(terminal=terminal))


def _has_colour(*, terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (
        terminal and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    )


def _width(number: int) -> int:
    told = os.environ.get("COLUMNS", "")
    found = int(told) if told.isdecimal() else 0
    with swallowed(_log, "how wide the terminal is", OSError):
        found = found or os.get_terminal_size(number).columns
    return max(_NARROWEST, found or _USUAL)
