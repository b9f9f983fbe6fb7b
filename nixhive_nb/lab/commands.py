"""Running the machine's programs, and finding and ending the processes of a host."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.lab.model import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_log = logging.getLogger(__name__)

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for. An ordinary user's PATH often lacks the sbin folders."""


def run(
    argv: Sequence[str], *, text: str | None = None, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run a program to its end and give what it printed; a failure is a LabError with the program's own words."""
    done = subprocess.run(
        argv,
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        env={"PATH": SYSTEM_PATH, "LC_ALL": "C", **(env or {})},
        cwd=cwd,
        close_fds=False,  # It holds the fleet's lock as long as it works: see `fleet.locked`.
        check=False,
    )
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(argv)} ended with exit code {done.returncode}: {words}")
    return done.stdout


def processes_in(inodes: Iterable[int]) -> dict[int, set[int]]:
    """Return the processes inside each of these network namespaces, which are named by their inode."""
    found: dict[int, set[int]] = {inode: set() for inode in inodes}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (inode := _network_of(pid := int(entry.name))) in found:
            found[inode].add(pid)
    return found


def is_in(pid: int, inode: int) -> bool:
    """Whether a process is there, and in this network namespace."""
    return _network_of(pid) == inode


def _network_of(pid: int) -> int:
    """Return the inode of a process's network namespace, 0 when it has ended: that is as good as never there."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError as error:
        _log.debug("process %s cannot be looked at: %s", pid, error)
        return 0


def is_first(pid: int) -> bool:
    """Whether the process is the first one of a PID namespace below ours, that is: a host's init."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError as error:
        _log.debug("process %s cannot be looked at: %s", pid, error)
        return False
    for line in lines:
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] == "1"
    return False


def kill_all(inodes: Iterable[int], seconds: float = 10.0) -> None:
    """Kill every process in these network namespaces and wait until they are gone."""
    wanted = frozenset(inodes)
    while pids := frozenset[int]().union(*processes_in(wanted).values()):
        with contextlib.ExitStack() as stack:
            handles = [handle for pid in pids if (handle := _open_process(pid, wanted, stack)) is not None]
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            if not all(wait_for_end(handle, seconds) for handle in handles):
                raise LabError("A process of the practice fleet does not end, though it was killed.")


def _open_process(pid: int, inodes: frozenset[int], stack: contextlib.ExitStack) -> int | None:
    """Return a handle on a process that is in one of the namespaces: its number may have passed on since the look."""
    try:
        handle = os.pidfd_open(pid)
        stack.callback(os.close, handle)
        return handle if _network_of(pid) in inodes else None
    except OSError as error:
        _log.debug("process %s cannot be looked at: %s", pid, error)
        return None


def wait_for_end(handle: int, seconds: float) -> bool:
    """Wait until the process that a handle is on has ended, and tell whether it did in time."""
    waiter = select.poll()
    waiter.register(handle, select.POLLIN)
    return bool(waiter.poll(seconds * 1000))
