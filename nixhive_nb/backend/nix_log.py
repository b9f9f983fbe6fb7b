"""What Nix tells with `--log-format internal-json`: lines `@nix {…}` on its standard error.

The format is not documented; the numbers are those of `src/libutil/logging.hh` in Nix. Types that we do not know, and
lines that are no `@nix` line, are passed over or given as text. Ids are per process, so each process has a reader.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from nixhive_nb.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "@nix "
COPY_PATH, BUILDS, BUILD = 100, 104, 105
BUILD_LINE, PROGRESS, POST_BUILD_LINE = 101, 105, 107
ERROR_LEVEL, INFO_LEVEL = 0, 3
KEPT_LINES = 20


class NixLog:
    """Reads the log of one Nix process, and keeps count of what it copied and built."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        """`sizes` holds the bytes of each path that may be copied."""
        self._sizes = sizes or {}
        self._copying: dict[int, tuple[str, int]] = {}
        self._builds: set[int] = set()
        self._copied: dict[str, int] = {}
        self._derivations: dict[int, str] = {}
        self.build_lines: dict[str, deque[str]] = {}
        """The last lines of each builder, by derivation."""
        self.errors: list[str] = []
        """Messages at error level, whole."""
        self.built = (0, 0)
        """Derivations built, and to be built."""

    @property
    def bytes_copied(self) -> int:
        """Bytes of content that went over, those of paths under way included as far as Nix tells."""
        return sum(self._copied.values()) + sum(moved for _, moved in self._copying.values())

    @property
    def paths_copied(self) -> tuple[str, ...]:
        """The paths that went over whole."""
        return tuple(self._copied)

    def feed(self, line: str) -> tuple[str, ...]:
        """Take one line of the log in; give the lines of text that a person may want to see."""
        if not line.startswith(PREFIX):
            return (strip_control(line),) if line.strip() else ()
        try:
            message = json.loads(line[len(PREFIX) :])
        except ValueError:
            return ()
        if not isinstance(message, dict):
            return ()
        match message.get("action"):
            case "start":
                return self._start(message)
            case "result":
                return self._result(message)
            case "stop":
                return self._stop(message)
            case "msg":
                return self._message(message)
        return ()

    def _start(self, message: dict[str, Any]) -> tuple[str, ...]:
        fields, number = message.get("fields") or [], message.get("id")
        kind = message.get("type")
        if not isinstance(number, int):
            return ()
        if kind == COPY_PATH and fields and isinstance(fields[0], str):
            self._copying[number] = (fields[0], 0)
        elif kind == BUILD and fields and isinstance(fields[0], str):
            self._derivations[number] = fields[0]
            self.build_lines[fields[0]] = deque(maxlen=KEPT_LINES)
        elif kind == BUILDS:
            self._builds.add(number)
        else:
            return ()
        text = strip_control(str(message.get("text") or ""))
        return (text,) if text else ()

    def _result(self, message: dict[str, Any]) -> tuple[str, ...]:
        fields, number = message.get("fields") or [], message.get("id", -1)
        kind = message.get("type")
        if kind in (BUILD_LINE, POST_BUILD_LINE):
            lines = tuple(strip_control(str(field)) for field in fields[:1])
            self.build_lines.get(self._derivations.get(number, ""), deque[str]()).extend(lines)
            return lines
        if kind == PROGRESS and len(fields) >= 2 and all(isinstance(field, int) for field in fields[:2]):  # noqa: PLR2004
            if number in self._copying:
                self._copying[number] = (self._copying[number][0], fields[0])
            elif number in self._builds:
                self.built = (fields[0], fields[1])
        return ()

    def _stop(self, message: dict[str, Any]) -> tuple[str, ...]:
        path, moved = self._copying.pop(message.get("id", -1), ("", 0))
        if path:
            # Nix 2.8 tells nothing between the start and the end of a path that goes over ssh.
            self._copied[path] = self._sizes.get(path, moved)
        return ()

    def _message(self, message: dict[str, Any]) -> tuple[str, ...]:
        level = message.get("level", INFO_LEVEL)
        text = strip_control(str(message.get("raw_msg") or message.get("msg") or ""))
        if level == ERROR_LEVEL and text:
            self.errors.append(text)
        return tuple(text.splitlines()) if level < INFO_LEVEL else ()
