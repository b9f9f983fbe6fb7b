"""The revision of a deployment: the commit that its folder is at, and whether something there is not committed.

Git and Jujutsu are asked themselves, and change nothing. Where a Git repository is beside a Jujutsu one, Git answers,
as it does for Nix: the commit is the parent of the working copy then, which is dirty where that holds a change.

Sources: git-status(1), porcelain format version 2; git-merge-base(1); Jujutsu's templates and revsets.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from nixhive_nb.deployment.revision import COMMIT, Revision
from nixhive_nb.errors import HiveError
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_log = logging.getLogger(__name__)

_SECONDS = 30.0
"""How long Git may look at a folder: a large one on a slow disk takes some time."""
_STORE = "/nix/store/"
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
_ENTRY_FIELDS = {"1": 8, "2": 9, "u": 10}
"""How many blanks stand before the path, by the kind of an entry."""
_JJ = 'commit_id ++ "\\n" ++ if(empty, "empty", "changed") ++ "\\n" ++ parents.map(|one| one.commit_id()).join(" ")'


def revision_of(deployment: Path, ours: Collection[str] = ()) -> Revision | None:
    """Return the revision of the folder of a deployment; None where that is in no repository, or it cannot be read.

    `ours` are files and folders of ours, which do not count.
    """
    folder = _folder(deployment)
    found = _repository(folder)
    if found is None:
        return None
    kind, root = found
    try:
        return _of_git(folder, root, ours) if kind == "git" else _of_jj(root)
    except (HiveError, OSError) as error:
        _log.info("the revision of %s is not known: %s", folder, error)
        return None


def is_in_history(deployment: Path, commit: str, of: str) -> bool | None:
    """Return whether a commit is the other one, or came before it; None where the repository does not know it."""
    folder = _folder(deployment)
    found = _repository(folder)
    if found is None or not (COMMIT.fullmatch(commit) and COMMIT.fullmatch(of)):
        return None
    kind, root = found
    try:
        if kind == "jj":
            ended = _jj(root, "log", "-r", f"{commit} & ::{of}", "--no-graph", "-T", "commit_id")
            return bool(ended.stdout.strip()) if ended.status == 0 else None
        ended = git(folder, "merge-base", "--is-ancestor", commit, of)
    except (HiveError, OSError) as error:
        _log.info("%s: it is not known whether %s came before %s: %s", folder, commit, of, error)
        return None
    return {0: True, 1: False}.get(ended.status)


def _folder(deployment: Path) -> Path:
    real = deployment.resolve()
    return real if real.is_dir() else real.parent


def _repository(folder: Path) -> tuple[Literal["git", "jj"], Path] | None:
    """Return what the folder is in, and where that begins. Nothing is started where it is in none."""
    for one in (folder, *folder.parents):
        if (one / ".git").exists():
            return "git", one
        if (one / ".jj").is_dir():
            return "jj", one
    return None


def _of_git(folder: Path, root: Path, ours: Collection[str]) -> Revision:
    ended = git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=all", "-z")
    if ended.status != 0:
        raise HiveError(f"git: {ended.stderr.strip().splitlines()[:1]}")
    commit, dirty = "", False
    entries = iter(ended.stdout.split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if entry.startswith("# branch.oid "):
            told = entry.rpartition(" ")[2]
            commit = told if COMMIT.fullmatch(told) else ""
        elif kind in _ENTRY_FIELDS:
            dirty = dirty or _counts(entry.split(" ", _ENTRY_FIELDS[kind])[-1])
            if kind == "2":  # the name that it had before is an entry of its own
                next(entries, "")
        elif kind == "?":
            dirty = dirty or _is_new(root, rest, ours)
    return Revision(commit=commit, dirty=dirty)


def _of_jj(root: Path) -> Revision:
    ended = _jj(root, "log", "-r", "@", "--no-graph", "-T", _JJ)
    told = [*ended.stdout.split("\n"), "", "", ""]
    if ended.status != 0 or not COMMIT.fullmatch(told[0]):
        raise HiveError(f"jj: {ended.stderr.strip().splitlines()[:1]}")
    own, state, parents = told[0], told[1], told[2].split()
    # Of a working copy with several parents no other commit has all that it holds.
    commit = parents[0] if len(parents) == 1 and set(parents[0]) != {"0"} else own
    return Revision(commit=commit, dirty=state != "empty")


def _counts(path: str) -> bool:
    """Return whether a change of a file could change the deployment."""
    return not path.endswith(".ipynb")


def _is_new(root: Path, path: str, ours: Collection[str]) -> bool:
    """Return whether an untracked file could be a part of the deployment: what Git has is another matter."""
    name = PurePosixPath(path)
    if any(part.startswith(".") or part == "__pycache__" for part in name.parts) or path.endswith((".ipynb", "~")):
        return False
    whole = os.path.join(root, path)  # noqa: PTH118 - as the names of our files are written
    if any(whole == one or whole.startswith(f"{one}/") for one in _real(ours)):
        return False
    return not (os.path.islink(whole) and os.readlink(whole).startswith(_STORE))  # noqa: PTH114, PTH115 - as above


def _real(paths: Collection[str]) -> Iterator[str]:
    for path in paths:
        folder, name = os.path.split(path)
        yield os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - as above


def git(folder: Path, *words: str) -> process.Finished:
    """Ask Git about a folder; nothing that the repository names is started. Raises `HiveError`."""
    # Whatever the repository itself names to be started is not: looking at it must be safe.
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    return process.run(["git", "-C", str(folder), *safe, *words], env=_QUIET, timeout=_SECONDS)


def is_unknown_to_git(file: Path) -> bool:
    """Return whether a file or folder lies in a Git repository that knows nothing of it; False where none tells."""
    try:
        listed = git(file.parent, "ls-files", "-z", "--", file.name)
    except HiveError as error:
        _log.debug("whether Git knows %s: %s", file, error)
        return False
    return listed.status == 0 and not listed.stdout


def _jj(root: Path, *words: str) -> process.Finished:
    return process.run(["jj", "-R", str(root), "--no-pager", "--color", "never", *words], timeout=_SECONDS)
