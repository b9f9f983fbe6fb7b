"""Evaluating a deployment: from `hive.nix` to an `Inventory`, with one `nix-instantiate`."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.changes import MOST_ENTRIES, Watched, look
from nixhive_nb.deployment.inventory import Inventory
from nixhive_nb.deployment.nix_errors import OWN_EXPRESSIONS, explain
from nixhive_nb.deployment.platforms import check_platforms
from nixhive_nb.deployment.reading import Evaluated, PlacesWanted, read_inventory
from nixhive_nb.errors import DeploymentError
from nixhive_nb.util import process
from nixhive_nb.util.collecting import collected_seldom

_log = logging.getLogger(__name__)
if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Loaded", "check_platforms", "explain", "load", "toplevel_expression"]

_DONE = re.compile(r"evaluating file '|copied source '|instantiated '|performing daemon|adding path '|copying '")
"""What Nix says of its own work, at the level at which it names the files that it reads."""
_OF_INSTANCE = "nix-hive: instance "
"""What `inventory.nix` adds to an error in an instance. Without places it does not say which attribute has it."""
_EVALUATING = re.compile(r"evaluating file '(/.*)'")


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that was evaluated."""

    inventory: Inventory
    path: Path
    """The file or folder, absolute; for `-I deployment=PATH`."""
    log: tuple[str, ...]
    """What the evaluation said beside the result: warnings of Nix, `builtins.trace`."""
    watched: Watched

    def changed(self) -> str | None:
        """Return the path of the first watched file that changed, came or went since, or None. Nix is not started.

        See `load` for what is watched; `$NIX_PATH` stands for that variable.
        """
        return self.watched.changed()


def load(
    path: str | Path = "hive.nix", *, show_trace: bool = False, name: str | None = None, own: Collection[str] = ()
) -> Loaded:
    """Evaluate a deployment: a file, or a folder that holds `default.nix`.

    `Loaded.changed()` tells whether to do so again. It watches every Nix file that the evaluation imported, outside
    the store; every file below the folder of the deployment, since Nix does not tell what `builtins.readFile` and
    `builtins.readDir` read (at most 5,000 files and folders, without hidden names, symlinks to folders or to the store,
    notebooks, `__pycache__` and the state file); and `NIX_PATH`. It cannot see: other files that were read by
    `readFile` or `readDir` (outside that folder, or hidden), variables read by `builtins.getEnv`, what stands behind a
    URL that was fetched, and an updated channel.

    `name` is how the deployment is called in messages, by default as the path is given. `own` are files and folders of
    ours, which are not watched.

    Raises `DeploymentError` when there is no such file, when Nix cannot evaluate it (`FILE:LINE:COLUMN: message`;
    `show_trace` adds the stack of Nix), or when it says something that a deployment cannot say, with a line for each
    mistake; and `MissingProgram` without Nix.
    """
    target = _target(path)
    is_folder = target.is_dir()
    directory = target if is_folder else target.parent
    named = name or str(path)
    source = f"{named.rstrip('/')}/" if is_folder else named
    watched = look(directory, own)
    try:
        inventory, said = _evaluated(target, source, directory, show_trace=show_trace, places=False)
    except PlacesWanted:
        _log.debug("%s: evaluated again, to tell where it has a mistake", target)
        inventory, said = _evaluated(target, source, directory, show_trace=show_trace, places=True)
    _log.info("%s: %s systems, %s instances", target, len(inventory.systems), len(inventory.instances))
    if not watched.complete:
        warning = (
            f"{directory} holds more than {MOST_ENTRIES:,} files and folders, and only so many are watched: after a "
            "change to another one that is not a Nix file, load the deployment again."
        )
        inventory = msgspec.structs.replace(inventory, warnings=(*inventory.warnings, warning))
    return Loaded(
        inventory=inventory,
        path=target,
        log=_said(said),
        watched=watched.and_files(_EVALUATING.findall(said), _stored(inventory)),
    )


def _evaluated(target: Path, source: str, directory: Path, *, show_trace: bool, places: bool) -> tuple[Inventory, str]:
    """Return the inventory, and what Nix said beside it. Raises as `load`, and without `places` `PlacesWanted`."""
    finished = process.run(_command(target, places=places))
    if finished.status != 0:
        if not places and _OF_INSTANCE in finished.stderr:
            raise PlacesWanted
        _log.info("%s cannot be evaluated", target)
        raise DeploymentError(explain(finished.stderr, show_trace=show_trace), log=_said(finished.stderr))
    with collected_seldom():
        answer = msgspec.json.decode(finished.stdout, type=Evaluated)
        return read_inventory(answer, source, directory), finished.stderr


def _stored(inventory: Inventory) -> set[str]:
    """Return the include paths in the store. They may have been built, and may be collected: then all is read anew."""
    paths = [*inventory.paths, *(path for system in inventory.systems.values() for path in system.paths)]
    return {value for path in paths if (value := path.partition("=")[2]).startswith("/nix/store/")}


def toplevel_expression() -> Path:
    """Return the path of `toplevel.nix`, which instantiates systems that share their include paths.

    It is called so, and gives `{"www": {"result": …, "derivation": …}, …}`:

        nix-instantiate --eval --strict --json --read-write-mode -I nixpkgs=… -I deployment=DEPLOYMENT
          toplevel.nix --argstr names '["www", "portico"]'

    `Inventory.include_paths` gives the paths in the right order, and `Loaded.path` the deployment. `explain` shortens
    its errors; they name the system.
    """
    return OWN_EXPRESSIONS / "toplevel.nix"


def _command(target: Path, *, places: bool) -> list[str]:
    # -vv names each file that is evaluated (-v does from 2.8 on; other versions need more), --show-trace the places.
    # An evaluation is read-only by default: what it wants to be built or copied to the store would not be there.
    options = ["--eval", "--strict", "--json", "--read-write-mode", "-vv", "--show-trace"]
    includes = [word for path in readable_paths(target) for word in ("-I", path)]
    expression = [str(OWN_EXPRESSIONS / "inventory.nix"), "--arg", "places", "true" if places else "false"]
    # What may be read comes first: a deployment that is a link leads there.
    return ["nix-instantiate", *options, *includes, "-I", f"deployment={target}", *expression]


def readable_paths(deployment: Path) -> tuple[str, ...]:
    """Return include paths that nobody asks for: what lies there may be read where evaluation is restricted.

    Without `restrict-eval` they change nothing. They are our own expressions, and the folder of the deployment.
    """
    real = deployment.resolve()
    return (f"nixhive-own={OWN_EXPRESSIONS}", f"nixhive-deployment={real if real.is_dir() else real.parent}")


def _target(path: str | Path) -> Path:
    """Return the absolute path of a deployment that is there."""
    advice = "Name a deployment with -c: a file, or a folder that holds default.nix."
    try:
        given = Path(path).expanduser()
    except RuntimeError:
        raise DeploymentError(f"{path}: nobody of that name has a home folder here. {advice}") from None
    if not given.exists():
        where = "" if given.is_absolute() else f" in {Path.cwd()}"
        if re.match("[A-Za-z]:[^/]", str(path)):
            advice = rf"Backslashes are read as signs: put the path into quotes, as in 'C:\Users\me\fleet'. {advice}"
        raise DeploymentError(f"There is no {path}{where}. {advice}")
    if given.is_dir() and not (given / "default.nix").exists():
        hint = f"Did you mean -c {given / 'hive.nix'}?" if (given / "hive.nix").exists() else advice
        raise DeploymentError(f"The folder {path} holds no default.nix. {hint}")
    return Path(os.path.abspath(given))  # noqa: PTH100 - without `..`, as Nix has it, but with the symlinks


def _said(stderr: str) -> tuple[str, ...]:
    return tuple(line for line in stderr.splitlines() if line and not _DONE.match(line))
