"""Loading a deployment, in whichever format: to an `Inventory`, and what is watched for changes."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.cache import CachedRead, CachePlace
from nixhive_nb.deployment.changes import MOST_ENTRIES, Watched, is_left_out, look
from nixhive_nb.deployment.inventory import Inventory
from nixhive_nb.deployment.sources.find import named_source
from nixhive_nb.deployment.sources.flakes import path_inputs
from nixhive_nb.deployment.sources.hive import Foreign
from nixhive_nb.deployment.sources.kinds import OfFlake
from nixhive_nb.deployment.sources.pinned import tracked
from nixhive_nb.deployment.sources.source import Evaluation, Read, Source, said_lines

_log = logging.getLogger(__name__)
if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["Loaded", "load"]

_EVALUATING = re.compile(r"evaluating file '(/.*)'")


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that was evaluated."""

    inventory: Inventory
    source: Source
    """What instantiates its systems."""
    log: tuple[str, ...]
    """What the evaluation said beside the result: warnings of Nix, `builtins.trace`."""
    watched: Watched

    @property
    def path(self) -> Path:
        """The file or folder, absolute."""
        return self.source.path

    def changed(self) -> str | None:
        """Return the path of the first watched file that changed, came or went since, or None. Nix is not started.

        See `load` for what is watched; `$NIX_PATH` stands for that variable.
        """
        return self.watched.changed()


def load(
    path: str | Path = "hive.nix",
    *,
    how: Evaluation = Evaluation(),  # noqa: B008 - frozen
    show_trace: bool = False,
    name: str | None = None,
    own: Collection[str] = (),
    anew: bool = True,
) -> Loaded:
    """Evaluate a deployment: a file, a folder that holds `default.nix`, `hive.nix` or `flake.nix`, or a flake.

    `Loaded.changed()` tells whether to do so again. It watches every Nix file that the evaluation imported, outside
    the store; every file below the folder of the deployment, since Nix does not tell what `builtins.readFile` and
    `builtins.readDir` read (at most 5,000 files and folders, without hidden names, symlinks to folders or to the store,
    notebooks, `__pycache__` and the state file); and `NIX_PATH`. It cannot see: other files that were read by
    `readFile` or `readDir` (outside that folder, or hidden), variables read by `builtins.getEnv`, what stands behind a
    URL that was fetched, and an updated channel. Of a flake, the inputs that are folders here are watched by their
    `flake.nix`, and all files of its repository that Git knows.

    `name` is how the deployment is called in messages, by default as the path is given. `own` are files and folders of
    ours, which are not watched. Unless it is to be evaluated `anew`, what a flake evaluated to earlier is taken where
    nothing that its evaluation may look at has changed: see `cache`.

    Raises `DeploymentError` when there is no such file, when Nix cannot evaluate it (`FILE:LINE:COLUMN: message`;
    `show_trace` adds the stack of Nix), or when it says something that a deployment cannot say, with a line for each
    mistake; and `MissingProgram` without Nix.
    """
    source = named_source(path, how)
    watched = _look(source, own)
    kept = CachePlace(source, how, name or str(path), own)
    answer = None if anew else kept.answer()
    if answer is not None:
        source, read = answer.read(path, how)
    else:
        source, read = _read(source, path, how, name or str(path), show_trace=show_trace)
        kept.keep(CachedRead.of(source, read))
    inventory = read.inventory
    _log.info("%s: %s systems, %s instances", source.path, len(inventory.systems), len(inventory.instances))
    if not watched.complete:
        warning = (
            f"{source.directory} holds more than {MOST_ENTRIES:,} files and folders, and only so many are watched: "
            "after a change to another one that is not a Nix file, load the deployment again."
        )
        inventory = msgspec.structs.replace(inventory, warnings=(*inventory.warnings, warning))
    return Loaded(
        inventory=inventory,
        source=source,
        log=said_lines(read.said),
        watched=watched.and_files([*_EVALUATING.findall(read.said), *_inputs(source)], _stored(inventory)),
    )


def _inputs(source: Source) -> list[str]:
    return path_inputs(source.place) if isinstance(source, OfFlake) else []


def _read(source: Source, path: str | Path, how: Evaluation, name: str, *, show_trace: bool) -> tuple[Source, Read]:
    """Read a deployment. A file may turn out to be in another format, which its names tell."""
    try:
        return source, source.inventory(name, show_trace=show_trace)
    except Foreign as found:
        other = named_source(found.flake or path, msgspec.structs.replace(how, format=found.format))
    if other.format == "flake" and how.format is None:  # which may have outputs in other formats
        return _read(other, other.path, how, name, show_trace=show_trace)
    return other, other.inventory(name, show_trace=show_trace)


def _look(source: Source, own: Collection[str]) -> Watched:
    if source.directory is not None:
        files = tracked(source.place) if isinstance(source, OfFlake) else []
        return look(source.directory, own).and_files(file for file in files if not is_left_out(file, own))
    return Watched("", {}, complete=True, others={}, nix_path=os.environ.get("NIX_PATH"))


def _stored(inventory: Inventory) -> set[str]:
    """Return the include paths in the store. They may have been built, and may be collected: then all is read anew."""
    paths = [*inventory.paths, *(path for system in inventory.systems.values() for path in system.paths)]
    return {value for path in paths if (value := path.partition("=")[2]).startswith("/nix/store/")}
