"""The user's own ssh configuration, as far as it must be read to know what it cannot change. OpenSSH reads the rest."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import pwd
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)
_KEYWORD = re.compile(r"([A-Za-z0-9]+)[\s=]+(.*)")
_NOT_PLAIN = re.compile(r"[#\"\\$%]")
"""What makes other names of an Include than those that stand there."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DEEPEST = 16
"""How deep ssh follows Include."""


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
