"""What a process, this one or another, has open: threads, files, sockets, programs, memory. Nothing here is timed."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_GLANCE = 0.1
_SETTLES = 20.0
_ALIKE = 3
"""Looks in a row that find the same, after which nothing is about to end."""
_AFTER_THE_NAME = 2


class Counts(msgspec.Struct, frozen=True):
    """What a process has open at one moment. `memory` is in bytes, and alone may differ between two like moments."""

    threads: int
    descriptors: int
    sockets: int
    children: int
    memory: int

    def with_most(self, other: Counts) -> Counts:
        """Return the most of either, each for itself."""
        return Counts(*map(max, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))

    def grown(self, other: Counts) -> dict[str, int]:
        """Return what there is more of in another one; memory is left out."""
        names = (name for name in self.__struct_fields__ if name != "memory")
        more = {name: getattr(other, name) - getattr(self, name) for name in names}
        return {name: number for name, number in more.items() if number > 0}

    def __str__(self) -> str:
        """Return it as a line."""
        parts = [f"{getattr(self, name)} {name}" for name in self.__struct_fields__ if name != "memory"]
        return f"{', '.join(parts)}, {self.memory / 1e6:.0f} MB"


class Stage(msgspec.Struct, frozen=True):
    """One piece of work, and what was open before, at the peak and after it."""

    name: str
    seconds: float
    before: Counts
    peak: Counts
    after: Counts
    said: str


class Soaked(msgspec.Struct, frozen=True):
    """A soak as it was: what `build/benchmarks/soak.json` holds. `broken` is what was not as it should be."""

    date: str
    commit: str
    hosts: int
    groups: int
    relays: int
    load: float
    stages: tuple[Stage, ...]
    broken: tuple[str, ...]


def count(process: int = 0) -> Counts:
    """Count what a process has now, by default this one. Programs that programs of it started are counted, too."""
    process = process or os.getpid()
    own = Path(f"/proc/{process}")
    links = list(_links(own))
    return Counts(
        threads=sum(1 for _ in (own / "task").iterdir()),
        descriptors=len(links),
        sockets=sum(link.startswith("socket:") for link in links),
        children=len(descendants(process)),
        memory=int((own / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    )


def _links(process: Path) -> Iterator[str]:
    for handle in list((process / "fd").iterdir()):
        with contextlib.suppress(OSError):  # closed by now, as the one that the folder was read by
            yield str(handle.readlink())


def descendants(process: int) -> set[int]:
    """Return the programs that a process has started, and those that these have, as far as they run."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, words = status.read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        state, parent = words.split()[:_AFTER_THE_NAME]
        if state not in "ZX":
            parents.setdefault(int(parent), []).append(int(name.split()[0]))
    found: set[int] = set()
    left = [process]
    while left:
        new = parents.get(left.pop(), [])
        found.update(new)
        left += new
    return found


def names() -> dict[str, int]:
    """Return how many threads of this process have which name, numbers apart: paramiko's have no other."""
    return dict(Counter(re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "N", one.name) for one in threading.enumerate()))


def settled(wanted: Counts | None = None, process: int = 0) -> Counts:
    """Count when nothing ends any more, and there is no more than is wanted; or after some seconds at the latest.

    What is ended, a thread or a program, needs a moment to be gone.
    """
    ends = time.monotonic() + _SETTLES
    found, alike = count(process), 0
    while time.monotonic() < ends and (alike < _ALIKE or (wanted is not None and wanted.grown(found))):
        time.sleep(_GLANCE)
        last, found = found, count(process)
        alike = alike + 1 if not last.grown(found) and not found.grown(last) else 0
    return found


class Peak:
    """The most of everything while a block runs, and the names of threads when there were most.

    The thread that looks is not counted. Names are known of this process alone.
    """

    def __init__(self, process: int = 0) -> None:
        self._process = process
        self.names: dict[str, int] = {}
        self.counts = count(process)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        done = False
        while not done:
            done = self._done.wait(_GLANCE)  # and once more at the end
            now = count(self._process)
            if not self._process:
                now = msgspec.structs.replace(now, threads=now.threads - 1)
                if now.threads > self.counts.threads:
                    self.names = names()
            self.counts = self.counts.with_most(now)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
