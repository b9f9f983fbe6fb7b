"""Where a deployment is: a file, a folder, or a flake by its reference. Nothing is evaluated."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from nixhive_nb.deployment.places import DEFAULT_CONFIG
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAKE = "flake.nix"
_URL = re.compile(r"(?:flake|path|github|gitlab|sourcehut|(?:git|hg|file|tarball)(?:\+[a-z]+)?|https?):[^\\]*")
"""The beginnings of a flake reference; see the manual of `nix flake`."""
_LOCAL = re.compile(r"(path:|git\+file:(?://)?)?((?:/|\./|\.\./|~/|\.{1,2}(?=\?|$))[^?]*)(?:\?(.*))?")
"""A reference to what is on this machine: how it is read, its path, what is said of it."""
_SAID = re.compile(r"\?\w+=")
_OF_A_COMMIT = ("ref", "rev")
_PLAIN = "/+@~=,:;!$&'()*"
"""What stands in the path of a reference as it is. Nix 2.8 does not read it where it is written otherwise."""


class FlakePlace(msgspec.Struct, frozen=True, kw_only=True):
    """A flake, and perhaps one of its outputs."""

    reference: str
    """As Nix takes it; absolute where it is on this machine."""
    attribute: str = ""
    """The output that was named; empty for none."""
    directory: Path | None = None
    """The folder of `flake.nix`; None where it is elsewhere."""

    @classmethod
    def local(cls, directory: Path) -> FlakePlace:
        """Return the flake in a folder. Raises `DeploymentError` for a name that no reference can have."""
        real = _as_nix_reads(directory)
        if re.search(r"[?#%]", str(real)):
            raise DeploymentError(
                f"{real} holds one of ? # %, which Nix reads as signs in the reference of a flake. Rename the "
                "folder, or give its reference yourself: path:… with these written as %3F, %23, %25."
            )
        return cls(reference=str(real), directory=real)

    @classmethod
    def of(cls, text: str) -> FlakePlace:
        """Read `FLAKE#OUTPUT`. Raises `DeploymentError` where that is on this machine, and has no flake."""
        reference, _, attribute = text.partition("#")
        reference = f".{reference}" if reference.partition("?")[0] == "" else reference
        found = _LOCAL.fullmatch(reference)
        if found is None and not Path(reference).is_dir():
            return cls(reference=reference, attribute=attribute)
        scheme, path, said = found.groups() if found else (None, reference, None)
        top = Path(os.path.abspath(Path(unquote(path) if scheme else path).expanduser()))  # noqa: PTH100 - without `..`
        top = top.parent if top.name == FLAKE and top.is_file() else top
        words = dict(parse_qsl(said or ""))
        folder = top / words.get("dir", "")
        is_plain = not scheme and words.keys() <= {"dir"}
        if (folder / FLAKE).exists():
            place = cls.local(folder) if is_plain else cls(reference=_absolute(scheme, top, said), directory=folder)
            return msgspec.structs.replace(place, attribute=attribute)
        if not words.keys().isdisjoint(_OF_A_COMMIT):  # what is in the folder now is not what it means
            return cls(reference=_absolute(scheme, top, said), attribute=attribute)
        advice = "Name a flake with -c: a folder that holds one."
        above = deployment_above(folder, (FLAKE,), f"#{attribute}" if attribute else "")
        raise DeploymentError(f"There is no {FLAKE} in {folder}. {above or advice}")

    @property
    def named(self) -> str:
        """The reference as `FlakePlace.of` takes it."""
        return f"{self.reference}#{self.attribute}"

    @property
    def path(self) -> Path:
        """A path that stands for it: that of its folder, where it has one here."""
        attribute = f"#{self.attribute}" if self.attribute else ""
        if self.directory is None:
            return Path(f"/{self.reference}{attribute}")
        return Path(f"{self.directory}{attribute}")


def _absolute(scheme: str | None, folder: Path, said: str | None) -> str:
    real = os.path.realpath(folder)
    return f"{scheme}{quote(real, safe=_PLAIN)}{f'?{said}' if said else ''}" if scheme else f"{real}?{said}"


def _as_nix_reads(directory: Path) -> Path:
    """Return the folder in which Nix finds a flake: it does not follow a link to one, nor one that leads out of it.

    Of a `flake.nix` that is such a link, that where it leads, as `nixos-rebuild` does.
    """
    real = directory.resolve()
    root = next((one for one in (real, *real.parents) if os.path.exists(one / ".git")), real)  # noqa: PTH110 - as below
    target = (real / FLAKE).resolve()
    return real if target.is_relative_to(root) or target.name != FLAKE else target.parent


def deployment_above(folder: Path, names: Sequence[str] = (DEFAULT_CONFIG, FLAKE), output: str = "") -> str:
    """Return what to type for a deployment of these names in a folder above this one; empty for none."""
    for one in folder.parents:
        for name in names:
            if os.path.isfile(one / name):  # noqa: PTH113 - pathlib fails where a folder may not be looked into
                return f"There is a {name} above, in {one}: -c {shlex.quote(f'{os.path.relpath(one)}{output}')}"
    return ""


def usual_config() -> str:
    """Return the deployment that is meant where none is named: `hive.nix`, or the flake of the current folder."""
    return "." if not os.path.lexists(DEFAULT_CONFIG) and os.path.lexists(FLAKE) else DEFAULT_CONFIG


def is_reference(path: str | Path) -> bool:
    """Return whether that names a flake by a URL, or one of its outputs (`.#prod`), and no file or folder."""
    text = str(path)
    is_one = "#" in text or _URL.fullmatch(text) or (_SAID.search(text) and _LOCAL.fullmatch(text))
    return bool(is_one) and not os.path.lexists(text)


def deployment_path(path: str | Path) -> Path:
    """Return the path that stands for a deployment, as it is named; nobody has looked whether it is there.

    Raises `RuntimeError` for the home folder of nobody, and `DeploymentError` for a reference to no flake.
    """
    return FlakePlace.of(str(path)).path if is_reference(path) else Path(path).expanduser()
