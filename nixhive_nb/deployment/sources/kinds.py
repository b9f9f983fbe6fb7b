"""What formats share by the kind of place that a deployment is at: a file, or an output of a flake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.deployment.nix_errors import explain
from nixhive_nb.deployment.sources import flakes

if TYPE_CHECKING:
    from pathlib import Path

    from nixhive_nb.deployment.sources.source import Evaluation
    from nixhive_nb.deployment.sources.where import FlakePlace


class OfFile:
    """A file, or a folder with `default.nix`, whatever its format."""

    def __init__(self, path: Path, how: Evaluation) -> None:
        """`path` is absolute."""
        self.path = path
        self._how = how

    @property
    def named(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def directory(self) -> Path:
        """The folder that it lies in, or is."""
        return self.path if self.path.is_dir() else self.path.parent

    def explained(self, said: str, *, show_trace: bool = False) -> str:
        """Return what Nix wrote when an evaluation failed, in short."""
        return explain(said, show_trace=show_trace)


class OfFlake:
    """An output of a flake, whatever its format."""

    def __init__(self, place: FlakePlace, how: Evaluation) -> None:
        self.place = place
        self._how = how

    @property
    def path(self) -> Path:
        """Where it is; for a flake elsewhere, a path that stands for it."""
        return self.place.path

    @property
    def named(self) -> str:
        """Its reference, with the output that was named."""
        return self.place.named

    @property
    def directory(self) -> Path | None:
        """The folder of `flake.nix`, where it is on this machine."""
        return self.place.directory

    def explained(self, said: str, *, show_trace: bool = False) -> str:
        """Return what Nix wrote when an evaluation failed, in short."""
        return flakes.explained(said, self.place, show_trace=show_trace)
