"""A small process that takes a fleet down when its owner is gone, however the owner went.

The owner holds one end of a pipe and never writes to it. When the owner ends, even by SIGKILL, the pipe closes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

import nixhive_nb


class Keeper(msgspec.Struct, frozen=True):
    """The owner's side: the process that watches, and the pipe's end that must stay open."""

    process: subprocess.Popen[bytes]
    lifeline: int

    def dismiss(self) -> None:
        """End the watch. A fleet that is still there is taken down by the keeper."""
        os.close(self.lifeline)
        self.process.wait()


def employ(folder: Path, token: str) -> Keeper:
    """Start the keeper of a fleet."""
    watched, lifeline = os.pipe()
    package = Path(nixhive_nb.__file__).parent.parent
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "nixhive_nb.lab.keeper", str(folder), token],
            stdin=watched,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(package)},
            cwd="/",
        )
    finally:
        os.close(watched)
    return Keeper(process, lifeline)


def main() -> None:
    """Wait for the owner's end, then take down its fleet, if it is still the same one."""
    # Whatever ends the owner's session must not end the one who cleans up after it.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folder, token = Path(sys.argv[1]), sys.argv[2]
    while os.read(sys.stdin.fileno(), 1):
        pass
    from nixhive_nb.lab.fleet import take_down  # noqa: PLC0415 - the watch has to begin before anything is loaded

    take_down(folder, token)


if __name__ == "__main__":
    main()
