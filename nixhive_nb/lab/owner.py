"""The owner's side of the watch over a fleet: see `keeper`, which is the other side.

The owner holds one end of a pipe and never writes to it. When the owner ends, even by SIGKILL, the pipe closes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

# Most fleets are taken down by their owner, and Python is started for none of these. Whatever ends the owner's session
# must not end the one who cleans up after it: what is ignored here is so in Python.
_WATCH = """\
trap '' INT TERM HUP
while read -r _; do :; done
[ ! -e "$1" ] || { shift; exec "$@"; }
"""


class Keeper(msgspec.Struct, frozen=True):
    """The owner's side: the process that watches, and the pipe's end that must stay open."""

    process: subprocess.Popen[bytes]
    lifeline: int

    def dismiss(self) -> None:
        """End the watch. A fleet that is still there is taken down by the keeper."""
        os.close(self.lifeline)
        self.process.wait()


def employ(record: Path, token: str) -> Keeper:
    """Start the keeper of the fleet that has this record, which is there as long as there is something to take down."""
    watched, lifeline = os.pipe()
    package = Path(__file__).resolve().parents[2]
    keeper = (sys.executable, "-m", "nixhive_nb.lab.keeper")
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "nixhive-keeper", str(record), *keeper, str(record.parent), token],
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
