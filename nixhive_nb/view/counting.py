"""How many nodes of a deployment are read, where that takes a while: in a terminal, and as words for a sign of life."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

PAUSE = 1.0
"""Seconds after which it is shown."""


class NodeCount:
    """Hears of nodes that are read. In a terminal a line says how many; it is gone when all are."""

    def __init__(self) -> None:
        self.words = ""
        """How many are read; empty before the first, and when all are."""
        self._begun = time.monotonic()
        self._line: Status | None = None

    def __call__(self, done: int, total: int) -> None:
        """Take that so many are read, and show it."""
        self.words = words_of(done, total) if done < total else ""
        if not self.words:
            self.close()
        elif self._line is not None:
            self._line.update(self.words)
        elif time.monotonic() - self._begun >= PAUSE and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - what only a slow reading needs

            self._line = Console(stderr=True).status(self.words)
            self._line.start()

    def close(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.stop()
            self._line = None


def words_of(done: int, total: int) -> str:
    """Return the count in words."""
    return f"reading the deployment: {done} of {total} nodes evaluated"
