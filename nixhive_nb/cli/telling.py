"""What `nix-hive` says beside what was asked for: on standard error, without what could act on a terminal."""

from __future__ import annotations

from nixhive_nb.util import streams
from nixhive_nb.util.text import strip_control


def tell(text: str) -> None:
    """Print a word of progress."""
    streams.write(strip_control(text) + "\n", error=True)


def warn(text: str) -> None:
    """Print what is amiss without being a failure."""
    tell(f"warning: {text}")


def complain(text: str) -> None:
    """Print why a command failed."""
    tell(f"nix-hive: {text}")
