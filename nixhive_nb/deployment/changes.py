"""The files that a deployment was read from, and whether one has changed since."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.util.log import log_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_log = logging.getLogger(__name__)

MOST_ENTRIES = 5_000
"""How many files and folders of a deployment's directory are watched."""

_STORE = "/nix/store/"
_NEVER_READ = ("__pycache__", "hive.state", "hive.state.lock")
_NEVER_READ_ENDS = (".ipynb", "~")

Mark = tuple[int, int, int] | None
"""Modification time in ns, size in bytes and number of a file; None when it is not there."""


class Watched(msgspec.Struct, frozen=True):
    """What the files and `NIX_PATH` were when a deployment was evaluated."""

    directory: str
    tree: dict[str, Mark]
    """The files below the directory."""
    complete: bool
    """Whether the tree holds all of them; otherwise it is cut at `MOST_ENTRIES`."""
    others: dict[str, Mark]
    """Files outside of the tree that Nix named."""
    nix_path: str | None
    own: frozenset[str] = frozenset()
    """Files and folders of ours, which are not looked at."""

    def changed(self) -> str | None:
        """Return the path of a file that changed, came or went since (`$NIX_PATH` for the variable), or None."""
        if os.environ.get("NIX_PATH") != self.nix_path:
            return "$NIX_PATH"
        now = look(Path(self.directory), self.own).tree
        names = sorted(self.tree.keys() | now.keys())
        in_tree = (name for name in names if self.tree.get(name) != now.get(name))
        elsewhere = (name for name, mark in self.others.items() if _mark(name) != mark)
        return next(in_tree, None) or next(elsewhere, None)

    def and_files(self, files: Iterable[str], stored: Iterable[str] = ()) -> Watched:
        """Watch these files too; those in the store never change and are left out, but for `stored`, which may go."""
        others = {file: _mark(file) for file in files if file not in self.tree and not file.startswith(_STORE)}
        others |= {path: _mark(path) for path in stored}
        return msgspec.structs.replace(self, others=others | self.others)  # as they were before the evaluation


def is_left_out(file: str, own: Collection[str]) -> bool:
    """Return whether a file is none that a deployment is read from: a notebook, say, or what is ours."""
    names = PurePath(file)
    is_own = any(str(one) in own for one in (names, *names.parents))
    return is_own or names.name in _NEVER_READ or names.name.endswith(_NEVER_READ_ENDS)


def look(directory: Path, own: Collection[str] = ()) -> Watched:
    """Return the present state of the files below a directory.

    Left out are hidden names, symlinks to the store or to folders, notebooks, what Python and this program write (its
    log as well), and what is `own` beside that.
    """
    entries = itertools.islice(_entries(str(directory), {*own, str(log_file())}), MOST_ENTRIES + 1)
    tree: dict[str, Mark] = {}
    complete = True
    for count, entry in enumerate(entries):
        complete = count < MOST_ENTRIES
        if complete and not entry.is_dir(follow_symlinks=False):
            tree[entry.path] = _mark_of(entry)
    nix_path = os.environ.get("NIX_PATH")
    return Watched(str(directory), tree, complete=complete, others={}, nix_path=nix_path, own=frozenset(own))


def _entries(directory: str, own: Collection[str]) -> Iterator[os.DirEntry[str]]:
    """Return what is below a directory, that which is nearer first, in order of name."""
    level = [directory]
    while level:
        below = []
        for folder in level:
            for entry in _children(folder):
                if entry.path in own:
                    continue
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
        level = below


def _children(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if _matters(entry)), key=lambda entry: entry.name)
    except OSError:
        _log.debug("cannot list %s", folder, exc_info=True)
        return []


def _matters(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or entry.name in _NEVER_READ or entry.name.endswith(_NEVER_READ_ENDS):
        return False
    if not entry.is_symlink():
        return entry.is_dir() or entry.is_file()
    return entry.is_file() and not str(Path(entry.path).readlink()).startswith(_STORE)


def _mark(path: str) -> Mark:
    return _mark_of(Path(path))


def _mark_of(file: Path | os.DirEntry[str]) -> Mark:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    except OSError:
        _log.debug("cannot look at %s", file, exc_info=True)
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
