"""Ways to hosts that are not there: `HostLinks` over a function that answers."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace


class Links:
    """Hosts that answer as `run(instance, command, *, seconds, on_line, stdin)` does."""

    def __init__(self, run):
        self._run = run

    def kept(self, instance):
        return SimpleNamespace(run=partial(self._run, instance))
