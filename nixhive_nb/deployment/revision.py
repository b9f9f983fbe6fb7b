"""A revision: the commit that the folder of a deployment was at, and whether something there was not committed.

`deployment/repository.py` asks Git or Jujutsu for it.
"""

from __future__ import annotations

import re

import msgspec

DIRTY = "-dirty"
"""Stands behind a commit where something was not committed, as Nix has it in `dirtyRev`."""
_SHORT = 12
COMMIT = re.compile(r"[0-9a-f]{7,64}", re.ASCII)


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment was at when a plan was made."""

    commit: str = ""
    """The whole hash; empty where nothing is committed yet."""
    dirty: bool = False
    """Whether something is not committed. Notebooks do not count: they change as they are run."""

    def __str__(self) -> str:
        return f"{self.commit}{DIRTY if self.dirty else ''}" if self.commit else "uncommitted"

    @property
    def short(self) -> str:
        """It in a few letters, for a table."""
        return short_revision(str(self))


def short_revision(text: str) -> str:
    """Return a revision as `Revision` writes it, or as a host says it, with the first 12 digits of a commit."""
    commit, dirty = text.removesuffix(DIRTY), text.endswith(DIRTY)
    shown = commit[:_SHORT] if COMMIT.fullmatch(commit) else text.removesuffix(DIRTY)
    return f"{shown}{DIRTY if dirty else ''}"


def is_of(said: str, wanted: str) -> bool:
    """Return whether a revision, empty for one that is not known, is meant: by its beginning, `dirty` or `unknown`."""
    if wanted == "unknown":
        return not said
    if wanted == "dirty":
        return said.endswith(DIRTY)
    return (
        bool(said)
        and (said == wanted or said.startswith(wanted.removesuffix(DIRTY)))
        and (said.endswith(DIRTY) or not wanted.endswith(DIRTY))
    )
