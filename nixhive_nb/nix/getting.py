"""A host that gets a path without us: from where, how far it is, and why it did not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.nix import fetching
from nixhive_nb.nix.stillness import Stillness, why_stalled
from nixhive_nb.plan.events import Result
from nixhive_nb.util.said import one_line
from nixhive_nb.util.text import seconds_text, strip_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.nix.build import Built
    from nixhive_nb.plan.protocol import Tell

_MOST_WORDS = 300
_COPYING = re.compile(r"copying path '([^']+)' from")
_FROM_NOWHERE = re.compile(
    r"don't know how to build these paths|no substituter that can build it|does not exist and cannot be created"
)
_FAILED = re.compile(r"error: build of '.*' failed")
_OF_A_STORE = re.compile(
    r"(?:warning|error): (?:error: )?(?=.*(?:unable to |cannot |don't know how to |disabl|not appear to be|"
    r"is for Nix stores|not signed|lacks a |valid signature))(.*)"
)
"""What Nix, 2.8 and newer ones, warns of where it does not take something from a store."""
_FOUND_NOWHERE = "its Nix found it in no store that it reads from"


class TakenContent:
    """Counts the content that a host says it takes from elsewhere.

    Nix first lists the paths that will be fetched, then names each as it begins with it. Within a path the bytes that
    the host has moved tell how far it is.
    """

    def __init__(self, built: Built, tell: Tell, host: str) -> None:
        """`host` is the one that takes it."""
        self._sizes = built.sizes
        self._tell = tell
        self._stillness = Stillness(tell, host)
        self._listed: dict[str, int] = {}
        self._bytes = self._before = 0
        self.paths: list[str] = []
        self._begun: set[str] = set()
        self._moved = self._told = 0
        self.rooted = False
        """Whether the path is kept there."""
        self.why = ""
        """Why the host ended it, where it moved nothing."""

    @property
    def stalled(self) -> bool:
        """Whether the host ended it."""
        return bool(self.why)

    def heard(self, line: str) -> None:
        """Take in a line that the host says."""
        match fetching.read(line):
            case fetching.Rooted():
                self.rooted = True
            case fetching.Moves() as moves:
                self._stillness.see(moves.still if moves.bytes is not None else 0, moves.process)
                self._within(moves.bytes or 0)
            case fetching.Stalled() as stalled:
                self.why = (
                    f"it took longer than {seconds_text(stalled.seconds)}"
                    if stalled.late
                    else why_stalled(stalled.seconds)
                )
            case _:
                self._said(line)

    def _within(self, bytes_: int) -> None:
        self._bytes = bytes_
        if self.paths:
            within = self._sizes.get(self.paths[-1], 0)
            self._say(max(0, within - (bytes_ - self._before)))

    def _said(self, line: str) -> None:
        found = _COPYING.search(line)
        if found:
            # What else it says matters only if nothing else helps, and then it is in the warning.
            self._tell.line(strip_control(line))
            self._say()  # those before it are there
            # It may name any path, any number of times: each of the system counts once.
            if not self.paths or (found[1] in self._sizes and found[1] not in self._begun):
                self.paths.append(found[1])
                self._begun.add(found[1])
                self._before = self._bytes
        elif not self.paths and line.startswith("  ") and line.strip() in self._sizes:
            self._listed[line.strip()] = self._sizes[line.strip()]

    def end(self) -> None:
        """Say that all of it is there."""
        if self.paths:
            self._say()

    def _say(self, lacks: int = 0) -> None:
        for path in self.paths[self._told :]:
            self._moved += self._sizes.get(path, 0)
        self._told = len(self.paths)
        self._tell.progress(self._moved - lacks, sum(self._listed.values()) or sum(self._sizes.values()))


class Got(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a host came by a path without us, and how."""

    taken: TakenContent | None = None
    """What it said of what it took; None where it did not get it."""
    is_rooted: bool
    """Whether the path is kept there."""
    is_dead: bool = False
    """Whether a store that it reads from stands still or cannot be reached: a copy that asks it again would end."""
    source: str = ""
    """The store that it was told to take it from; empty: its own substituters."""
    tried: tuple[str, ...] = ()
    """From where it did not come, each with why."""

    def how(self, usual: str) -> str:
        """Return where it came from."""
        return f"from {self.source}" if self.source else usual

    def warning(self) -> str:
        """Return what has to be told of the stores that it did not come from; empty where it came from the first."""
        return f"{not_taken(self.tried)}: it came from {self.source}" if self.source else ""


def not_taken(tried: Sequence[str]) -> str:
    """Return from where something did not come, each of which says why."""
    return f"did not take it from {', nor from '.join(tried)}" if tried else "did not take it from a relay"


def fetched(built: Built, taken: TakenContent, how: str) -> Result:
    """Return the result for a host that has a path now without us."""
    taken.end()
    if taken.paths:
        return Result(path=built.path, how=how, size=built.size)
    return Result(outcome="unchanged", path=built.path, how="present", size=built.size)


def last_words(stderr: str) -> str:
    """Return the last thing that was said, in short."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return one_line(lines[-1], _MOST_WORDS) if lines else "it said nothing"


def why_not_taken(stderr: str) -> str:
    """Return why Nix did not get a path from a store, in short.

    That is the last thing that it said; or where this is only that it has the path from nowhere, what it said of a
    store before, if anything.
    """
    lines = strip_control(stderr).splitlines()
    is_nowhere = any(_FROM_NOWHERE.search(line) for line in lines)
    if not is_nowhere and not _FAILED.match(last_words(stderr)):
        return last_words(stderr)
    causes = [found[1] for line in lines if not _FROM_NOWHERE.search(line) and (found := _OF_A_STORE.search(line))]
    if causes:
        return one_line(causes[-1], _MOST_WORDS)
    return _FOUND_NOWHERE if is_nowhere else last_words(stderr)
