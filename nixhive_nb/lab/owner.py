"""The owner's side of the watch over a fleet: see `keeper`, which is the other side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec


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
    package = Path(__file__).resolve().parents[2]
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
