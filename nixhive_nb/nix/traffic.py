"""Bytes that a program on this machine moves, as the kernel counts them: whether a copy goes on, or stands still.

Nix says nothing within a path, and the ssh under it hides how much of what it took has left. So three things are
counted: what the program itself reads and writes, what its children do, and what waits in their sockets.
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import Self

import msgspec

from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)

_NOISE = 1024
"""Bytes between two looks that are no progress of a child: ssh asks the other side now and then whether it is there."""
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes at one moment."""

    own: int
    """Read and written by the program itself."""
    children: dict[int, int] = {}
    """The same by each program that it started."""
    queued: int = 0
    """Waiting to be sent, or not yet acknowledged."""

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return what a program and its children have moved by now; None where that cannot be read."""
        own = _moved(pid)
        if own is None:
            return None
        children = _descendants(pid)
        moved = {child: bytes_ for child in children if (bytes_ := _moved(child)) is not None}
        return cls(own=own, children=moved, queued=_queued([pid, *children]))

    def is_past(self, before: Traffic) -> bool:
        """Return whether something has moved since then."""
        return (
            self.own != before.own
            or self.children.keys() != before.children.keys()
            or any(abs(bytes_ - before.children[pid]) > _NOISE for pid, bytes_ in self.children.items())
            or abs(self.queued - before.queued) > _NOISE
        )


def _moved(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/io").read_text()
    except OSError:  # it has ended, or is another user's
        _log.debug("what %s has moved", pid, exc_info=True)
        return None
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("rchar:", "wchar:")))


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with swallowed(_log, f"the children of {pid}", OSError):  # it has ended, perhaps as we look
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, file.read_text().split())
    return found


def _queued(pids: list[int]) -> int:
    sockets = {inode for pid in pids for inode in _sockets(pid)}
    if not sockets:
        return 0
    queued = 0
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pids[0]}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            _log.debug("the sockets of %s", pids[0], exc_info=True)
            continue
        for fields in map(str.split, lines):
            if fields[9] in sockets:
                queued += int(fields[4].partition(":")[0], 16)
    return queued


def _sockets(pid: int) -> list[str]:
    found = []
    with swallowed(_log, f"the sockets of {pid}", OSError):  # it has ended, or is another user's
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed by now
                if match := _SOCKET.fullmatch(str(file.readlink())):
                    found.append(match[1])
    return found
