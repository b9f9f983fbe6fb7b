"""What others say (hosts, journals, state files), as far as it makes sense: numbers, moments, store paths, one line.

Each function returns what the text says, or that it is not known. What it returns fits into every table and calendar:
one host must not be able to break the table of a fleet.
"""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from nixhive_nb.util.text import strip_control

MOST_WHOLE = 2**63 - 1
"""The largest whole number that a column of a table holds."""
MOST_SECONDS = 1e11
"""Durations beyond some 3,000 years are not durations."""
MOST_LINE = 2000
"""How many characters of a reason, or another line from elsewhere, are kept."""
_LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
Whole = Annotated[int, msgspec.Meta(ge=-MOST_WHOLE, le=MOST_WHOLE)]
"""A whole number that a column of a table holds: what is read from a file is refused where it is no such number."""
Moment = Annotated[float, msgspec.Meta(ge=0, le=_LAST_MOMENT)]
"""Seconds since the epoch, within every calendar; in the same way."""
_WHOLE = re.compile(r"[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,19})?", re.ASCII)
_STORE_NAME = re.compile(r"[0-9a-z]{32}-[0-9A-Za-z+._?=-]{1,211}")
_IN_STORE = re.compile(r"/nix/store((?:/[0-9A-Za-z+._?=-]{1,255}){1,16})")
_BOOT_ID = re.compile(r"[!-~]{1,64}")


def whole(text: str) -> int | None:
    """Return the whole number from 0 to `MOST_WHOLE` that a text of ASCII digits says, None for any other text."""
    return clamped(int(text)) if _WHOLE.fullmatch(text) else None


def clamped(number: int | None) -> int | None:
    """Return a whole number that fits into a table, None for one that is too large on either side."""
    return number if number is not None and -MOST_WHOLE <= number <= MOST_WHOLE else None


def seconds(text: str) -> float | None:
    """Return the duration in seconds that a text of ASCII digits says, None for any other text."""
    found = float(text) if _DECIMAL.fullmatch(text) else math.inf
    return found if found <= MOST_SECONDS else None


def moment(text: str) -> float | None:
    """Return the seconds since the epoch that a text of ASCII digits says, None for any other text."""
    found = seconds(text)
    return found if found is not None and is_moment(found) else None


def is_moment(when: float) -> bool:
    """Return whether seconds since the epoch lie within the years 1970 to 9999, those of every calendar."""
    return 0 <= when <= _LAST_MOMENT  # not a number is neither


def host_path(text: str) -> str:
    """Return a path of a host's store, or one below it; empty for any other text."""
    found = _IN_STORE.fullmatch(text)
    return "" if found is None or {".", ".."} & set(found[1].split("/")) else text


def is_store_path(text: str) -> bool:
    """Return whether a text is a path of this machine's Nix store (`NIX_STORE_DIR` may say another than /nix/store)."""
    store = os.environ.get("NIX_STORE_DIR") or "/nix/store"
    folder, _, name = text.rpartition("/")
    return folder == store.rstrip("/") and _STORE_NAME.fullmatch(name) is not None


def boot_id(text: str) -> str:
    """Return the id of a boot of Linux; empty for any other text."""
    return text if _BOOT_ID.fullmatch(text) else ""


def one_line(text: str, most: int = MOST_LINE) -> str:
    """Return a text as one line without terminal control, cut after so many characters."""
    # Cut twice: there may be a gigabyte of it.
    line = " ".join(strip_control(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
