"""Which files of ours a deployment takes into the store with its own folder, as `"${./.}"` does."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def taken_along(sources: Iterable[str], deployment: Path, own: Iterable[Path]) -> tuple[Path, ...]:
    """Return those of our `own` files and folders that a copy of the deployment's folder holds, or would hold.

    `sources` are store paths. One of them is a copy of a folder where the deployment's file stands in it as there. A
    file of ours that is not there yet would be in it; one that is there and not in the copy is kept out by a filter.
    """
    folders = [Path(source) for source in sources if os.path.isdir(source)]  # noqa: PTH112 - thousands of them
    file = Path(os.path.realpath(deployment / "default.nix" if deployment.is_dir() else deployment))
    copies = list(_copies(folders, file))
    found = (path for path in own for root, copy in copies if _is_held(Path(os.path.realpath(path)), root, copy))
    return tuple(dict.fromkeys(found))


def _copies(folders: Iterable[Path], file: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the folder that was copied, and its copy."""
    for folder in folders:
        for root in file.parents:
            there = folder / file.relative_to(root)
            if there.is_file() and filecmp.cmp(there, file, shallow=False):
                yield root, folder


def _is_held(path: Path, root: Path, copy: Path) -> bool:
    if not path.is_relative_to(root):
        return False
    return not path.exists() or os.path.lexists(copy / path.relative_to(root))
