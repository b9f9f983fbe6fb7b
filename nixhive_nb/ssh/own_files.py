"""The user's own ssh configuration, as far as it must be read to know what it cannot change. OpenSSH reads the rest."""

from __future__ import annotations

import glob
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)
_KEYWORD = re.compile(r"([A-Za-z0-9]+)[\s=]+(.*)")
_NOT_PLAIN = re.compile(r"[#\"\\$%]")
"""What makes other names of an Include than those that stand there."""
_DEEPEST = 16
"""How deep ssh follows Include."""


def read_options(files: Iterable[Path], depth: int = 0) -> list[tuple[str, str]] | None:
    """Return all keywords, in small letters, with the rest of their lines; None where some cannot be read.

    What an Include names stands in its place, whatever block that is in.
    """
    found: list[tuple[str, str]] = []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            _log.debug("reading %s", file, exc_info=True)
            return None
        for text in filter(None, map(str.strip, lines)):
            if text.startswith("#"):
                continue
            line = _KEYWORD.match(text)
            if line is None:  # written in a way of ssh's that is not known here
                return None
            keyword, value = line[1].lower(), line[2]
            found.append((keyword, value))
            if keyword == "include":
                is_plain = depth < _DEEPEST and not _NOT_PLAIN.search(value)
                more = read_options(_included(value), depth + 1) if is_plain else None
                if more is None:
                    return None
                found += more
    return found


def _included(value: str) -> list[Path]:
    found: list[Path] = []
    for word in value.split():
        name = os.path.expanduser(word)  # noqa: PTH111 - pathlib fails where there is no home
        # ssh looks for a relative one in the folder of the user, or in that of the system.
        names = [name] if name.startswith("/") else [f"{os.path.expanduser('~')}/.ssh/{name}", f"/etc/ssh/{name}"]  # noqa: PTH111
        found += [Path(path) for pattern in names for path in glob.glob(pattern)]  # noqa: PTH207 - absolute patterns
    return found
