"""Which format a deployment has, by where it is and what lies there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.deployment.sources.deploy_rs import DeployRsSource
from nixhive_nb.deployment.sources.flake import FlakeSource
from nixhive_nb.deployment.sources.hive import HiveSource
from nixhive_nb.deployment.sources.morph import MorphSource
from nixhive_nb.deployment.sources.where import FLAKE, FlakePlace, is_reference
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from nixhive_nb.deployment.sources.source import Evaluation, Source

_ADVICE = "Name a deployment with -c: a file, a folder that holds default.nix, hive.nix or flake.nix, or a flake."
_IN_FOLDER = ("default.nix", "hive.nix", FLAKE)
"""What makes a folder a deployment, the first that is there."""


def named_source(path: str | Path, how: Evaluation) -> Source:
    """Return the deployment that is named. Raises `DeploymentError` where there is none, or none in that format.

    A file that is not in our format is found out when it is read.
    """
    if is_reference(path):
        return _of_flake(FlakePlace.of(str(path)), how)
    place = _there(path)
    if place.is_dir():
        return _in_folder(place, path, how)
    if place.name == FLAKE or how.format in ("flake", "deploy-rs"):
        return _of_flake(FlakePlace.local(place.parent), how)
    return _of_file(place, how)


def _in_folder(folder: Path, named: str | Path, how: Evaluation) -> Source:
    found = [name for name in _IN_FOLDER if (folder / name).exists()]
    if how.format in ("flake", "deploy-rs"):
        found = [name for name in found if name == FLAKE]
    if not found:
        wanted = FLAKE if how.format in ("flake", "deploy-rs") else "none of default.nix, hive.nix and flake.nix"
        raise DeploymentError(f"The folder {named} holds {'no ' if wanted == FLAKE else ''}{wanted}. {_ADVICE}")
    if found[0] == FLAKE:
        return _of_flake(FlakePlace.local(folder), how)
    return _of_file(folder if found[0] == "default.nix" else folder / found[0], how)


def _of_file(place: Path, how: Evaluation) -> Source:
    return MorphSource(place, how) if how.format == "morph" else HiveSource(place, how)


def _of_flake(place: FlakePlace, how: Evaluation) -> Source:
    return DeployRsSource(place, how) if how.format == "deploy-rs" else FlakeSource(place, how)


def _there(path: str | Path) -> Path:
    """Return the absolute path of a file or folder that is there."""
    try:
        given = Path(path).expanduser()
    except RuntimeError:
        raise DeploymentError(f"{path}: nobody of that name has a home folder here. {_ADVICE}") from None
    if not given.exists():
        where = "" if given.is_absolute() else f" in {Path.cwd()}"
        advice = _ADVICE
        if re.match("[A-Za-z]:[^/]", str(path)):
            advice = rf"Backslashes are read as signs: put the path into quotes, as in 'C:\Users\me\fleet'. {advice}"
        raise DeploymentError(f"There is no {path}{where}. {advice}")
    return Path(os.path.abspath(given))  # noqa: PTH100 - without `..`, as Nix has it, but with the symlinks
