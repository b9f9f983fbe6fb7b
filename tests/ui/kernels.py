"""Other versions of ipykernel: when a kernel hears a page has changed between them more than once."""

from __future__ import annotations

import sys
from pathlib import Path

NAMES = ("ipykernel-6.30.1", "ipykernel-7.3.0")
"""One of those that hear nothing while a cell runs, as the newest does, and one that hears on another thread."""


def kernels() -> dict[str, Path]:
    """Return the folder of each of them, which `make test` has made: here is no network."""
    folders = {name: Path(sys.prefix) / "kernels" / name for name in NAMES}
    missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
    assert not missing, f"to make them: make {' '.join(f'.venv/kernels/{name}' for name in NAMES)}"
    return folders
