"""What Nix tells with `--log-format internal-json`: lines `@nix {…}` on its standard error.

The format is not documented; the numbers are those of `src/libutil/logging.hh` in Nix. Types that we do not know, and
lines that are no `@nix` line, are passed over or given as text. Ids are per process, so each process has a reader.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

PREFIX = "@nix "
COPY_PATH, BUILDS, BUILD = 100, 104, 105
BUILD_LINE, PROGRESS, POST_BUILD_LINE = 101, 105, 107
ERROR_LEVEL, INFO_LEVEL = 0, 3
KEPT_LINES = 20
_NAR_UNIT = 8
"""A path goes over in a NAR, whose length is a multiple of this; Nix does not count the padding at its end."""
_REASON = "Reason: "
MOST_ACTIVITIES = 50_000
"""How many paths and derivations one process is believed to work on."""
MOST_ERRORS, MOST_ERROR = 1000, 100_000
"""How many errors are kept, and how many characters of each."""
_MOST_BYTES = 2**50
"""No copy is larger than a petabyte."""


class _Line(msgspec.Struct, frozen=True):
    action: str
    id: int = -1
    type: int = -1
    level: int = INFO_LEVEL
    fields: list[Any] = []
    text: str = ""
    msg: str = ""
    raw_msg: str | None = None


def headline(error: str) -> str:
    """Return an error of Nix on one line: its first, and the reason, which Nix since 2.30 has on a line of its own."""
    first, *rest = error.splitlines() or [""]
    reason = next((line.strip().removeprefix(_REASON) for line in rest if line.strip().startswith(_REASON)), "")
    return f"{first.removesuffix('.')}: {reason.removesuffix('.')}" if reason else first


class NixLog:
    """Reads the log of one Nix process, and keeps count of what it copied and built."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        """`sizes` holds the bytes of each path that may be copied."""
        self._sizes = sizes or {}
        self._copying: dict[int, tuple[str, int]] = {}
        self._copied: dict[str, int] = {}
        self._builds: set[int] = set()
        self._derivations: dict[int, str] = {}
        self.build_lines: dict[str, deque[str]] = {}
        """The last lines of each builder, by derivation."""
        self.errors: list[str] = []
        """Messages at error level, whole."""
        self.built = (0, 0)
        """Derivations built, and to be built."""

    @property
    def bytes_copied(self) -> int:
        """Bytes of content that went over, of paths under way and of copies that broke off as far as Nix tells."""
        return sum(self._copied.values()) + sum(moved for _, moved in self._copying.values())

    @property
    def paths_copied(self) -> tuple[str, ...]:
        """The paths whose copy has ended; whole, if Nix ended well."""
        return tuple(self._copied)

    def feed(self, line: str) -> tuple[str, ...]:
        """Take one line of the log in; give the lines of text that a person may want to see."""
        if not line.startswith(PREFIX):
            return (strip_control(line),) if line.strip() else ()
        try:
            told = msgspec.json.decode(line[len(PREFIX) :], type=_Line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):  # the last for what nests too deep
            _log.debug("reading a line of Nix", exc_info=True)
            return ()
        read = {"start": self._start, "result": self._result, "stop": self._stop, "msg": self._message}
        return read[told.action](told) if told.action in read else ()

    def _start(self, told: _Line) -> tuple[str, ...]:
        subject = told.fields[0] if told.fields and isinstance(told.fields[0], str) else ""
        if len(self._copying) + len(self._derivations) + len(self._builds) > MOST_ACTIVITIES:
            return ()
        if told.type == COPY_PATH and subject:
            self._copying[told.id] = (subject, 0)
        elif told.type == BUILD and subject:
            self._derivations[told.id] = subject
            self.build_lines[subject] = deque(maxlen=KEPT_LINES)
        elif told.type == BUILDS:
            self._builds.add(told.id)
        else:
            return ()
        return (strip_control(told.text),) if told.text else ()

    def _result(self, told: _Line) -> tuple[str, ...]:
        if told.type in (BUILD_LINE, POST_BUILD_LINE):
            lines = tuple(strip_control(str(field)) for field in told.fields[:1])
            self.build_lines.get(self._derivations.get(told.id, ""), deque[str]()).extend(lines)
            return lines
        match told.fields:
            # The other side of a copy may write such lines as well: what no store can hold is passed over.
            case [int(done), int(expected), *_] if told.type == PROGRESS and _fit(done, expected):
                if told.id in self._copying:
                    padded = -(-done // _NAR_UNIT) * _NAR_UNIT
                    self._copying[told.id] = (self._copying[told.id][0], min(padded, max(done, expected)))
                elif told.id in self._builds:
                    self.built = (done, self._to_be_built(done, expected))
        return ()

    def _to_be_built(self, done: int, expected: int) -> int:
        """Get how many are to be built: a later Nix (2.34) counts one that has just been built twice for a moment."""
        before, wanted = self.built
        twice = before < done <= wanted and expected - wanted == done - before
        return wanted if twice else expected

    def _stop(self, told: _Line) -> tuple[str, ...]:
        path, moved = self._copying.pop(told.id, ("", 0))
        if path and len(self._copied) < MOST_ACTIVITIES:
            # A copy may break off. But Nix 2.8 tells nothing between the start and the end of one that goes over ssh.
            self._copied[path] = moved or self._sizes.get(path, 0)
        return ()

    def _message(self, told: _Line) -> tuple[str, ...]:
        text = strip_control(told.raw_msg or told.msg)
        if told.level == ERROR_LEVEL and text and len(self.errors) < MOST_ERRORS:
            self.errors.append(text[:MOST_ERROR])
        return tuple(text.splitlines()) if told.level < INFO_LEVEL else ()


def _fit(*numbers: int) -> bool:
    return all(0 <= number <= _MOST_BYTES for number in numbers)
