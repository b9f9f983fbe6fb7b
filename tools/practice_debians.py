#!/usr/bin/env python3
"""Make what practice hosts with systemd are made of, so that tests, which have no network, find it.

usage: tools/practice_debians.py

Where it cannot be made the reason is said, and the tests that need it say so as well: that is no failure of this.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nixhive_nb.lab import LabError, debian, preflight
from nixhive_nb.lab.model import DEBIANS

if TYPE_CHECKING:
    from nixhive_nb.lab.model import Debian


def main() -> None:
    """Make all that are not there yet."""
    try:
        preflight.check(systemd=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(make, DEBIANS))
    except LabError as error:
        tell(f"No practice hosts with systemd, hence not their tests either: {error}")


def make(suite: Debian) -> None:
    """Make one, unless it is there."""
    with debian.held([suite], tell):
        pass


def tell(words: str) -> None:
    """Say it where a person sees it, in one piece: two are made at a time."""
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    main()
