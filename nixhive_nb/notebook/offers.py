"""What a notebook alone may offer in a line: files, and its variables. All else is `commands.completing`."""

from __future__ import annotations

import inspect
import itertools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixhive_nb.commands.completing import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_log = logging.getLogger(__name__)

_MOST_FILES = 5000


def paths(value: str, suffix: str = "") -> Iterator[Offer]:
    """Return the folders, and the files whose names end so, that a path may go on with."""
    folder, slash, start = value.rpartition("/")
    for name, is_folder in sorted(_entries(folder + slash or ".")):
        if (is_folder or name.endswith(suffix)) and (start.startswith(".") or not name.startswith(".")):
            end = "/" if is_folder else ""
            yield Offer(f"{folder}{slash}{name}{end}", "folder" if is_folder else "file", goes_on=is_folder)


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return the names in a folder, and whether each is a folder; none where it cannot be read."""
    try:
        with os.scandir(Path(folder).expanduser()) as found:
            return [(entry.name, entry.is_dir()) for entry in itertools.islice(found, _MOST_FILES)]
    except (OSError, RuntimeError):  # the latter for the home folder of nobody
        _log.debug("cannot list %s", folder, exc_info=True)
        return []


def variables(names: Mapping[str, Any], hidden: Mapping[str, Any], mark: str, end: str = "") -> Iterator[Offer]:
    """Return the variables of a notebook, without those that are IPython's own.

    `mark` (`$`, `${`) stands before each, and `end` after it.
    """
    for name, value in sorted(names.items()):
        own = name.startswith("_") or (name in hidden and hidden[name] is value)
        if not own and not inspect.ismodule(value) and not inspect.isroutine(value) and not inspect.isclass(value):
            yield Offer(f"{mark}{name}{end}", "variable", f"variable of type {type(value).__name__}")
