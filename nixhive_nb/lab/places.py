"""Where the practice fleet keeps what outlives a command."""

from __future__ import annotations

import os
from pathlib import Path


def default_folder() -> Path:
    """Where a fleet lives when nobody says otherwise: one place per user."""
    return _state_folder() / "nixhive-lab"


def signing_folder() -> Path:
    """Where the signing key of all fleets of this user lives."""
    return _state_folder() / "nixhive-lab-signing"


def cache_folder() -> Path:
    """Where systems that hosts are made of are kept. Only root makes them: one place for the whole machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "nixhive_nb"


def _state_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state)
