"""The control groups of hosts with systemd: one for each, by which all of its processes are found and ended.

A group's name has the fleet's token in it, because many worlds with a /run of their own may share the groups of one
machine. Its folder outlives its processes, however they end.

Where a machine has hierarchies of version 1 as well, `systemd-nspawn` makes a group of that name in the one of systemd.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.lab.model import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

_PREFIX = "nixhive-lab"
FLEET = "user.nixhive_lab"
"""An attribute of each group: the folder of its fleet. `.ci/run` and the tests look for what is left by it."""

_SECONDS_NEW = 120.0
"""How long a group may stay empty: much longer than a host needs to start."""

_SECONDS_OF_LATE_ONES = 10.0
"""How long a group that is to go may get new processes."""

POWER, BOX = "power", "box"
"""The parts of a host's group: what starts the host again after a reboot, and the host itself."""


def name_of(token: str, host: str) -> str:
    """Return the name of a host's group, and of its container."""
    return f"{_PREFIX}-{token}-{host}"


def hierarchy() -> Path | None:
    """Where the groups of version 2 are mounted; None where they are not."""
    return next(_hierarchies("cgroup2"), None)


def _hierarchies(kind: str) -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4]))
        if after.startswith(f"{kind} ") and (place / "cgroup.procs").exists():
            yield place


def make(name: str, fleet: Path) -> Path:
    """Make the group of a host, empty, or find it."""
    top = hierarchy()
    if top is None:
        raise LabError("No cgroup2 file system is mounted here.")
    group = top / name
    for part in (POWER, BOX):
        (group / part).mkdir(parents=True, exist_ok=True)
    os.utime(group)  # It is new again: see `sweep`.
    try:
        os.setxattr(group, FLEET, os.fsencode(fleet))
    except OSError:
        _log.debug("%s cannot be marked", group, exc_info=True)
    return group


def sweep() -> None:
    """Remove groups that fleets left which are gone: those with nobody in them, unless somebody is about to come."""
    for group in _groups(f"{_PREFIX}-*"):
        # Somebody else may be at it, or its owner is.
        try:
            if _is_empty(group) and time.time() - group.stat().st_mtime > _SECONDS_NEW:
                _remove(group)
        except OSError:
            _log.debug("%s cannot be removed", group, exc_info=True)
    for group in older(f"{_PREFIX}-*"):
        # What has no group of version 2 is of a host that is gone.
        try:
            if not _groups(group.name):
                _remove(group)
        except OSError:
            _log.debug("%s cannot be removed", group, exc_info=True)


def older(pattern: str) -> list[Path]:
    """Return the groups of version 1 whose names match."""
    return sorted(group for top in _hierarchies("cgroup") for group in top.glob(pattern))


def end(token: str) -> None:
    """Kill all hosts with systemd of a fleet, wait until they are gone, and remove their groups."""
    for group in _groups(name_of(token, "*")):
        deadline = time.monotonic() + _SECONDS_OF_LATE_ONES
        while not _ended(group, deadline):
            pass


def _ended(group: Path, deadline: float) -> bool:
    """Kill all that is in a group and remove it; False where somebody came in meanwhile, and it is to be done again."""
    try:
        if group.exists():
            (group / "cgroup.kill").write_text("1")
            _await_empty(group)
            _remove(group)
        for other in older(group.name):
            _remove(other)
    except OSError as error:
        # A host that was being started when its fleet was given up enters it by itself.
        if error.errno == errno.EBUSY and time.monotonic() < deadline:
            return False
        if group.exists() or older(group.name):
            raise
        _log.debug("%s was swept meanwhile", group, exc_info=True)
    return True


def _groups(pattern: str) -> list[Path]:
    top = hierarchy()
    return [] if top is None else sorted(top.glob(pattern))


def _is_empty(group: Path) -> bool:
    return "populated 0" in (group / "cgroup.events").read_text()


def _await_empty(group: Path, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    with (group / "cgroup.events").open() as events:
        waiter = select.poll()
        waiter.register(events, select.POLLPRI)
        while "populated 0" not in events.read():
            if time.monotonic() > deadline:
                raise LabError(f"The processes in {group} do not end, though they were killed.")
            waiter.poll(1000)
            events.seek(0)


def _remove(group: Path) -> None:
    """Remove an empty group, what is below it first."""
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            _log.debug("%s went by itself", folder, exc_info=True)
