"""The user's own ssh configuration, as far as it must be read to know what it cannot change. OpenSSH reads the rest."""

from __future__ import annotations

import contextlib
import functools
import glob
import logging
import os
import pwd
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)
_KEYWORD = re.compile(r"([A-Za-z0-9]+)[\s=]+(.*)")
_NOT_PLAIN = re.compile(r"[#\"\\$%]")
"""What makes other names of an Include than those that stand there."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DEEPEST = 16
"""How deep ssh follows Include."""
_PLAIN_PATTERNS = re.compile(r"[^#\"\\,]*")
ANY = "*"
"""The block of a line that may be about any host."""


class Line(NamedTuple):
    """A line of a configuration."""

    keyword: str
    """In small letters."""
    value: str
    """The rest of the line."""
    block: str
    """What the `Host` line above it names: to no other host it says anything (`is_met`). `ANY` below a `Match`, too."""


def home() -> str:
    """Return the home folder that OpenSSH takes for `~` and `%d`: that of the user database, whatever HOME says."""
    with contextlib.suppress(KeyError):  # a container may have no entry for its user
        return pwd.getpwuid(os.getuid()).pw_dir
    return os.environ.get("HOME", "/")


def expanded(path: str) -> str:
    """Return a path whose leading `~` is replaced as OpenSSH does it."""
    if path.partition("/")[0] == "~":
        return f"{home()}{path[1:]}"
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib fails for a user whom nobody knows


def read_options(files: Iterable[Path]) -> list[Line] | None:
    """Return all lines; None where some cannot be read. What an Include names stands behind it.

    What stands in an included file below its own `Host` is only for these; below none, for those that the Include is
    for, as is what stands behind the Include.
    """
    return _read(files, ANY, 0)


def _read(files: Iterable[Path], outer: str, depth: int) -> list[Line] | None:
    found: list[Line] = []
    for file in files:
        block = outer
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
            if keyword in ("host", "match"):
                block = value if keyword == "host" and is_plain(value) else ANY
            found.append(Line(keyword, value, block))
            if keyword == "include":
                can_be_named = depth < _DEEPEST and not _NOT_PLAIN.search(value)
                more = _read(_included(value), block, depth + 1) if can_be_named else None
                if more is None:
                    return None
                found += more
    return found


def is_plain(patterns: str) -> bool:
    """Return whether a `Host` line names what it seems to: words behind a # or in quotes are others to ssh."""
    return bool(_PLAIN_PATTERNS.fullmatch(patterns))


def is_met(patterns: str, name: str) -> bool:
    """Return whether a `Host` line is about a host: one of its patterns fits, and none with a `!` before it."""
    fits, bars = _compiled(patterns)
    return bool(fits.fullmatch(name)) and not bars.fullmatch(name)


@functools.lru_cache(maxsize=1024)
def _compiled(patterns: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what fits one of the patterns of a `Host` line, and what fits one with a `!` before it."""
    words = patterns.split()
    fits = [word for word in words if not word.startswith("!")]
    bars = [word[1:] for word in words if word.startswith("!")]
    return _one_of(fits), _one_of(bars)


def _one_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(expression, patterns)) or r"(?!)")


def expression(pattern: str) -> str:
    """Return a pattern of ssh, in which `*` and `?` stand for others, as a regular expression."""
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def refused_by_ssh(file: Path, depth: int = 0) -> str:
    """Return why ssh would refuse a configuration or one that it includes, by its owner or mode; empty where not.

    It looks at those that are included, and ours includes the user's own.
    """
    try:
        found = file.stat()
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        _log.debug("looking at %s", file, exc_info=True)
        return ""
    if found.st_uid not in (0, os.getuid()):
        return f"{file} belongs to user {found.st_uid}, and ssh reads what is yours or root's: `chown` it"
    if found.st_mode & _OTHERS_WRITE:
        return f"others may write to {file}: `chmod go-w {file}`"
    lines = filter(None, map(_KEYWORD.match, map(str.strip, text.splitlines())))
    values = [line[2] for line in lines if line[1].lower() == "include" and not _NOT_PLAIN.search(line[2])]
    below = [path for value in values for path in _included(value)] if depth < _DEEPEST else []
    return next(filter(None, (refused_by_ssh(path, depth + 1) for path in below)), "")


def _included(value: str) -> list[Path]:
    found: list[Path] = []
    for word in value.split():
        # Of all that ssh reads, HOME counts for these alone: the C library looks for them.
        name = os.path.expanduser(word)  # noqa: PTH111 - pathlib fails where there is no home
        # ssh looks for a relative one in the folder of the user, or in that of the system.
        names = [name] if name.startswith("/") else [f"{os.path.expanduser('~')}/.ssh/{name}", f"/etc/ssh/{name}"]  # noqa: PTH111
        found += [Path(path) for pattern in names for path in glob.glob(pattern)]  # noqa: PTH207 - absolute patterns
    return found
