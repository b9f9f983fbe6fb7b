"""How many nodes of a deployment are read, in a cell."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from nixhive_nb.deployment.sources.counting import counted_to
from nixhive_nb.notebook.private import in_kernel
from nixhive_nb.util import html
from nixhive_nb.util.text import seconds_text
from nixhive_nb.view.counting import PAUSE, NodeCount, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.notebook.display import Live

_BETWEEN = 0.5
"""Seconds between two updates of the output."""


class _InCell:
    """Hears of nodes that are read, and shows it in one output, which in the end says how long it took."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._due = self._begun + PAUSE
        self._live: Live | None = None
        self._total = 0

    def __call__(self, done: int, total: int) -> None:
        """Take that so many are read."""
        self._total = total
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _BETWEEN
            self._show(words_of(done, total))

    def close(self) -> None:
        """Say how it ended, where it was shown."""
        if self._live is not None:
            self._show(f"Read the deployment, {self._total} nodes: {seconds_text(time.monotonic() - self._begun)}")

    def _show(self, words: str) -> None:
        from nixhive_nb.notebook.display import Bundle, Live  # noqa: PLC0415 - what only a slow reading needs

        class Words(Bundle):
            def text(self) -> str:
                return words

            def html(self) -> str:
                return html.note(html.escaped(words))

        if self._live is None:
            self._live = Live(Words())
        else:
            self._live.update(Words())


@contextlib.contextmanager
def reading_shown() -> Iterator[None]:
    """Show in this block how many nodes of a deployment are read: in the cell, or in the terminal of IPython."""
    count = _InCell() if in_kernel() else NodeCount()
    with contextlib.closing(count), counted_to(count):
        yield
