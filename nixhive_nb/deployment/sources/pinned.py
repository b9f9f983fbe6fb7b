"""What a pure evaluation of a flake depends on: contents of files here, and whether all else is pinned.

Sources: the manual of `nix flake` ("Lock files") and `nix flake metadata`: of a repository of Git the evaluation sees
the files that its index names, as they are in the working tree, and the commit; of another folder all that is in it.
Inputs are pinned by the hash of what they hold, in the lock file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixhive_nb.deployment.repository import git
from nixhive_nb.deployment.sources.flakes import metadata
from nixhive_nb.errors import HiveError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from nixhive_nb.deployment.sources.source import Evaluation
    from nixhive_nb.deployment.sources.where import FlakePlace

_log = logging.getLogger(__name__)

_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")
_MOST_FILES = 20_000
_MOST_BYTES = 64 * 1024 * 1024
_SUBMODULE = "160000 "


class _Unknown(Exception):  # noqa: N818 - named for what is found
    """It cannot be told what an evaluation depends on, or there is too much of it."""


def contents(place: FlakePlace, own: Collection[str]) -> str | None:
    """Return a text that is another one whenever a pure evaluation of a flake may be, but for what `is_pinned` tells.

    None where that cannot be told. `own` are files and folders of ours, which are not looked at.
    """
    try:
        return _contents(place, own)
    except (_Unknown, HiveError, OSError, UnicodeError) as error:
        _log.debug("what %s depends on is not known: %s", place.reference, error, exc_info=True)
        return None


def tracked(place: FlakePlace) -> list[str]:
    """Return the files that an evaluation of a flake sees in its repository of Git, hidden ones and all."""
    root = _repository(place.directory) if place.directory is not None else None
    if root is None:
        return []
    try:
        listed = git(root, "ls-files", "-z")
    except (HiveError, OSError, UnicodeError) as error:
        _log.debug("the files of %s are not known: %s", root, error, exc_info=True)
        return []
    return [os.path.join(root, name) for name in listed.stdout.split("\0") if name][:_MOST_FILES]  # noqa: PTH118


def is_pinned(place: FlakePlace, how: Evaluation) -> bool:
    """Return whether a pure evaluation of a flake looks at nothing that may be another thing tomorrow.

    That is so where its lock file, as it is, pins each of its inputs by a hash; and where a flake that is elsewhere is
    named with its commit.
    """
    if how.impure or how.override_inputs or any(name == "pure-eval" for name, _ in how.options):
        return False
    try:
        told = metadata(place, how)
        found, kept = _inputs(told["locks"]), _inputs(_lock_of(told))
        is_there = place.directory is not None or str(told["locked"]["rev"]) in place.reference
        return is_there and found == kept and all(map(_is_locked, kept.values()))
    except (_Unknown, HiveError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        _log.debug("whether %s is pinned is not known: %s", place.reference, error, exc_info=True)
        return False


def _contents(place: FlakePlace, own: Collection[str]) -> str:
    directory = place.directory
    if directory is None:
        if not _COMMIT.search(place.reference):
            raise _Unknown("a flake that is elsewhere, named without its commit")
        return place.reference
    if place.reference != str(directory):
        raise _Unknown("what lies in the folder may not be what the reference means")
    root, real = _repository(directory), _repository(directory.resolve())
    if root is None and real is None:
        return _digest(_below(str(directory), frozenset(own)), [])
    if root is None or real is None or root.resolve() != real.resolve():
        raise _Unknown("links lead from one repository to another")
    return _of_git(root)


def _of_git(root: Path) -> str:
    index = git(root, "ls-files", "--stage", "-z")
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD")  # none before the first commit
    if index.status:
        raise _Unknown("Git does not tell its files")
    entries = [entry for entry in index.stdout.split("\0") if entry]
    if any(entry.startswith(_SUBMODULE) for entry in entries):
        raise _Unknown("submodules")
    files = (os.path.join(root, entry.partition("\t")[2]) for entry in entries)  # noqa: PTH118 - thousands
    return _digest(files, [head.stdout, index.stdout])


def _repository(directory: Path) -> Path | None:
    return next((one for one in (directory, *directory.parents) if (one / ".git").exists()), None)


def _below(directory: str, own: Collection[str]) -> Iterator[str]:
    for folder, folders, files in os.walk(directory, onerror=_raise):
        folders[:] = sorted(name for name in folders if os.path.join(folder, name) not in own)  # noqa: PTH118
        for name in (*folders, *sorted(files)):
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands
            if path not in own:
                yield path


def _raise(error: OSError) -> None:
    raise error


def _digest(files: Iterable[str], more: Iterable[str]) -> str:
    """Return a digest of what files, folders and links are. Raises `_Unknown` where that is too much to be read."""
    digest = hashlib.sha256("\0\0".join(more).encode())
    size = 0
    for count, file in enumerate(files):
        kind, content = _content(file)
        size += len(content)
        if count > _MOST_FILES or size > _MOST_BYTES:
            raise _Unknown("too many files, or too large ones")
        digest.update(f"\0{file}\0{kind}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _content(file: str) -> tuple[str, bytes]:
    try:
        found = os.lstat(file)
    except FileNotFoundError:
        return "gone", b""  # Git knows it still
    if stat.S_ISLNK(found.st_mode):
        return "link", os.fsencode(os.readlink(file))  # noqa: PTH115 - thousands
    if stat.S_ISDIR(found.st_mode):
        return "folder", b""
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
        raise _Unknown(file)
    return "program" if found.st_mode & stat.S_IXUSR else "file", Path(file).read_bytes()


def _is_locked(node: dict[str, Any]) -> bool:
    locked = node["locked"]
    # A relative path is part of the flake itself.
    return bool(locked.get("narHash")) or (locked["type"] == "path" and not locked["path"].startswith("/"))


def _inputs(lock: dict[str, Any]) -> dict[str, Any]:
    """Return what a lock says of inputs, without marks that only one version of Nix has."""
    return {
        name: {
            **{key: value for key, value in node.items() if key != "locked"},
            "locked": {key: value for key, value in node["locked"].items() if not key.startswith("__")},
        }
        for name, node in lock["nodes"].items()
        if name != lock["root"]
    }


def _lock_of(told: dict[str, Any]) -> dict[str, Any]:
    """Return the lock file as Nix sees it: it may lie in the folder, and be unknown to Git."""
    file = Path(told["path"], told["locked"].get("dir", ""), "flake.lock")
    if not file.parent.is_dir():
        raise _Unknown(str(file))
    if not file.exists():
        return {"nodes": {"root": {}}, "root": "root"}
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found
