"""Where a deployment is: a file, a folder, or a flake by its reference. Nothing is evaluated."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import msgspec

from nixhive_nb.deployment.places import DEFAULT_CONFIG
from nixhive_nb.errors import DeploymentError

FLAKE = "flake.nix"
_URL = re.compile(r"(?:flake|path|github|gitlab|sourcehut|(?:git|hg|file|tarball)(?:\+[a-z]+)?|https?):[^\\]*")
"""The beginnings of a flake reference; see the manual of `nix flake`."""
_LOCAL = re.compile(r"(?:path:|git\+file:(?://)?)?((?:/|\./|\.\./|~/|\.$|\.\.$)[^?]*)(?:\?.*)?")
"""A reference to what is on this machine."""


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
        if re.search(r"[?#%]", str(directory)):
            raise DeploymentError(
                f"{directory} holds one of ? # %, which Nix reads as signs in the reference of a flake. Rename the "
                "folder, or give its reference yourself: path:… with these written as %3F, %23, %25."
            )
        return cls(reference=str(directory), directory=directory)

    @classmethod
    def of(cls, text: str) -> FlakePlace:
        """Read `FLAKE#OUTPUT`."""
        reference, _, attribute = text.partition("#")
        reference = reference or "."
        found = _LOCAL.fullmatch(reference)
        if found is None and not Path(reference).is_dir():
            return cls(reference=reference, attribute=attribute)
        given = unquote(found[1]) if found else reference
        directory = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 - with the symlinks
        if (directory / FLAKE).exists():
            is_plain = ":" not in reference.partition("?")[0] and "?" not in reference
            plain = cls.local(directory).reference if is_plain else reference.replace(found[1] if found else "", given)
            return cls(reference=plain, attribute=attribute, directory=directory)
        raise DeploymentError(f"There is no {FLAKE} in {directory}. Name a flake with -c: a folder that holds one.")

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


def usual_config() -> str:
    """Return the deployment that is meant where none is named: `hive.nix`, or the flake of the current folder."""
    return "." if not os.path.lexists(DEFAULT_CONFIG) and os.path.lexists(FLAKE) else DEFAULT_CONFIG


def is_reference(path: str | Path) -> bool:
    """Return whether that names a flake by a URL, or one of its outputs (`.#prod`), and no file or folder."""
    text = str(path)
    return ("#" in text or _URL.fullmatch(text) is not None) and not os.path.lexists(text)


def deployment_path(path: str | Path) -> Path:
    """Return the path that stands for a deployment, as it is named; nobody has looked whether it is there.

    Raises `RuntimeError` for the home folder of nobody, and `DeploymentError` for a reference to no flake.
    """
    return FlakePlace.of(str(path)).path if is_reference(path) else Path(path).expanduser()
