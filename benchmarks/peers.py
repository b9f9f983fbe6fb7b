"""Install the programs of others that we are measured beside, into a folder of their own, outside of the tree.

    .venv/bin/python -m benchmarks.peers

They are no dependency of the project. It prints the folder, below ${XDG_CACHE_HOME:-/var/cache}/nixhive_nb. What cannot
be installed has a file there that says why, which the benchmark repeats.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PEERS = {"clush": "ClusterShell", "ansible": "ansible-core", "pyinfra": "pyinfra"}
"""The program, and the package that has it."""


def main() -> None:
    """Install what is missing, each for itself."""
    place = folder()
    if not (place / "bin" / "python").exists():
        venv.create(place, with_pip=True)
    for program, package in PEERS.items():
        why = place / f"{program}.why"
        if (place / "bin" / program).exists():
            continue
        argv = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if ended.returncode:
            why.write_text(f"pip could not install {package}: {(ended.stderr.splitlines() or [''])[-1][:200]}\n")
            print(why.read_text().strip(), file=sys.stderr)
    print(place)


def folder() -> Path:
    """Return where they are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "nixhive_nb" / "peers"


if __name__ == "__main__":
    main()
