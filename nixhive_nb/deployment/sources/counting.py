"""How far the reading of a deployment is, of formats whose nodes are configurations: hundreds take minutes."""

from __future__ import annotations

import contextlib
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nixhive_nb.util.process import Finished

_READ = re.compile(r"trace: nix-hive: read one of (\d+)$", re.MULTILINE)
"""What our expressions have Nix say of each node that they have read."""
_LINES = re.compile(rf"{_READ.pattern}\n?", re.MULTILINE)
_listener: ContextVar[Callable[[int, int], None] | None] = ContextVar("counting", default=None)


@contextlib.contextmanager
def counted_to(listener: Callable[[int, int], None]) -> Iterator[None]:
    """Have a listener told, in this block, how many nodes are read of how many."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def run_counting(argv: Sequence[str]) -> Finished:
    """Run a program of Nix, and tell whoever listens of nodes that are read; what it wrote is without these lines."""
    import msgspec  # noqa: PLC0415 - a help has a listener, and runs nothing

    from nixhive_nb.util import process  # noqa: PLC0415 - the same

    listener, done = _listener.get(), 0

    def heard(line: str) -> None:
        nonlocal done
        found = _READ.match(line)
        if found and listener is not None:
            done += 1
            listener(done, int(found[1]))

    finished = process.run(argv, on_stderr=heard)
    return msgspec.structs.replace(finished, stderr=_LINES.sub("", finished.stderr))
