"""A small process that takes a fleet down when its owner is gone, however the owner went.

The owner holds one end of a pipe and never writes to it. When the owner ends, even by SIGKILL, the pipe closes.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from nixhive_nb.lab.fleet import take_down


def main() -> None:
    """Wait for the owner's end, then take down its fleet, if it is still the same one."""
    # Whatever ends the owner's session must not end the one who cleans up after it.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folder, token = Path(sys.argv[1]), sys.argv[2]
    while os.read(sys.stdin.fileno(), 1):
        pass
    take_down(folder, token)


if __name__ == "__main__":
    main()
