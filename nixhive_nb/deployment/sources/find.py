"""Which format a deployment has, by where it is and what lies there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.deployment.places import DEFAULT_CONFIG
from nixhive_nb.deployment.sources.colmena import ColmenaFlakeSource, ColmenaSource
from nixhive_nb.deployment.sources.deploy_rs import DeployRsSource
from nixhive_nb.deployment.sources.flake import FlakeSource
from nixhive_nb.deployment.sources.hive import HiveSource
from nixhive_nb.deployment.sources.morph import MorphSource
from nixhive_nb.deployment.sources.where import FLAKE, FlakePlace, deployment_above, is_reference
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nixhive_nb.deployment.sources.formats import Format
    from nixhive_nb.deployment.sources.source import Evaluation, Source

_ADVICE = "Name a deployment with -c: a file, a folder that holds default.nix, hive.nix or flake.nix, or a flake."
_IN_FOLDER = ("default.nix", "hive.nix", FLAKE)
"""What makes a folder a deployment, the first that is there."""
_OF_FILES: tuple[Format, ...] = ("hive", "colmena", "morph")
_OF_FLAKES: tuple[Format, ...] = ("flake", "colmena", "deploy-rs")
"""The formats that a file can have, and a flake."""


def named_source(path: str | Path, how: Evaluation) -> Source:
    """Return the deployment that is named. Raises `DeploymentError` where there is none, or none in that format.

    A file that is not in our format is found out when it is read.
    """
    if is_reference(path):
        _check_format(path, how, "a flake", _OF_FLAKES)
        return _of_flake(FlakePlace.of(str(path)), how)
    place = _there(path)
    if place.is_dir():
        return _in_folder(place, path, how)
    if place.name == FLAKE:
        _check_format(path, how, "a flake", _OF_FLAKES)
        return _of_flake(FlakePlace.local(place.parent), how)
    _check_format(path, how, "a file", _OF_FILES)
    return _of_file(place, how)


def _in_folder(folder: Path, named: str | Path, how: Evaluation) -> Source:
    wanted = [name for name in _IN_FOLDER if how.format in (None, *(_OF_FLAKES if name == FLAKE else _OF_FILES))]
    found = [name for name in wanted if (folder / name).exists()]
    if not found:
        *more, last = wanted
        what = f"none of {', '.join(more)} and {last}" if more else f"no {last}"
        of_format = f", and so nothing in the format {how.format}" if how.format else ""
        above = "" if how.format else deployment_above(folder)
        raise DeploymentError(f"The folder {named} holds {what}{of_format}. {above or _ADVICE}")
    if found[0] == FLAKE:
        return _of_flake(FlakePlace.local(folder), how)
    return _of_file(folder if found[0] == "default.nix" else folder / found[0], how)


def _check_format(path: str | Path, how: Evaluation, what: str, formats: Sequence[Format]) -> None:
    if how.format not in (None, *formats):
        raise DeploymentError(f"{path} is {what}, which cannot be in the format {how.format}: {', '.join(formats)}.")


def _of_file(place: Path, how: Evaluation) -> Source:
    formats: dict[str, Callable[[Path, Evaluation], Source]] = {"colmena": ColmenaSource, "morph": MorphSource}
    return formats.get(how.format or "", HiveSource)(place, how)


def _of_flake(place: FlakePlace, how: Evaluation) -> Source:
    formats: dict[str, Callable[[FlakePlace, Evaluation], Source]] = {
        "colmena": ColmenaFlakeSource,
        "deploy-rs": DeployRsSource,
    }
    return formats.get(how.format or "", FlakeSource)(place, how)


def _there(path: str | Path) -> Path:
    """Return the absolute path of a file or folder that is there."""
    try:
        given = Path(path).expanduser()
    except RuntimeError:
        raise DeploymentError(f"{path}: nobody of that name has a home folder here. {_ADVICE}") from None
    if not given.exists():
        where = "" if given.is_absolute() else f" in {Path.cwd()}"
        above = deployment_above(Path.cwd()) if str(path) == DEFAULT_CONFIG else ""
        advice = above or _ADVICE
        if re.match("[A-Za-z]:[^/]", str(path)):
            advice = rf"Backslashes are read as signs: put the path into quotes, as in 'C:\Users\me\fleet'. {advice}"
        raise DeploymentError(f"There is no {path}{where}. {advice}")
    return Path(os.path.abspath(given))  # noqa: PTH100 - without `..`, as Nix has it, but with the symlinks
