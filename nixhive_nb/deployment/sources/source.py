"""What a format of deployments has to offer, and how evaluations are asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import msgspec

from nixhive_nb.deployment.inventory import Inventory
from nixhive_nb.deployment.sources.formats import FORMATS, Format
from nixhive_nb.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


EVALUATED = "trace: nix-hive: evaluated "
"""What Nix says of a system of ours as soon as it is evaluated; its name follows."""
_DONE = re.compile(r"evaluating file '|copied source '|instantiated '|performing daemon|adding path '|copying '")
"""What Nix says of its own work, at the level at which it names the files that it reads."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment is evaluated: what the user says beside where it is."""

    format: Format | None = None
    """None where it is to be found out."""
    impure: bool = False
    """For flakes: whether what stands outside of it (variables, `<nixpkgs>`) may be looked at."""
    override_inputs: tuple[tuple[str, str], ...] = ()
    """For flakes: inputs by name, and the flakes that take their place."""
    options: tuple[tuple[str, str], ...] = ()
    """Settings of Nix, for evaluations alone."""

    @classmethod
    def of(
        cls,
        *,
        format: str | None = None,  # noqa: A002 - the word of the option
        impure: bool = False,
        override_inputs: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Self:
        """Return what a user asks for. Raises `OptionError` for a format that there is not."""
        if format is not None and format not in FORMATS:
            raise OptionError(f"There is no format {format}: it is one of {', '.join(FORMATS)}.")
        return cls(
            format=format,
            impure=impure,
            override_inputs=tuple((override_inputs or {}).items()),
            options=tuple((options or {}).items()),
        )

    def option_words(self) -> list[str]:
        """Return the words that any program of Nix takes."""
        return [word for name, value in self.options for word in ("--option", name, value)]

    def flake_job_words(self) -> list[str]:
        """Return the words that `nix-eval-jobs` takes for a flake; it writes no lock file of itself."""
        overrides = [word for name, flake in self.override_inputs for word in ("--override-input", name, flake)]
        impure = ["--impure"] if self.impure else []
        features = ["--option", "extra-experimental-features", "nix-command flakes"]
        return [*features, "--option", "accept-flake-config", "false", *impure, *overrides, *self.option_words()]

    def flake_words(self) -> list[str]:
        """Return the words that `nix` takes for a flake. Its lock file is never written, its `nixConfig` never heeded.

        Sources: the manual of `nix eval`, "Options that change the interpretation of flakes".
        """
        overrides = [word for name, flake in self.override_inputs for word in ("--override-input", name, flake)]
        impure = ["--impure"] if self.impure else []
        own = ["--no-write-lock-file", "--option", "accept-flake-config", "false"]
        return [*own, *impure, *overrides, *self.option_words()]


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as a format read it."""

    inventory: Inventory
    said: str = ""
    """What Nix wrote on its standard error."""


class Source(Protocol):
    """A deployment in one format."""

    @property
    def format(self) -> Format:
        """The name of the format."""

    @property
    def path(self) -> Path:
        """Where it is, absolute; for what is elsewhere, a path that stands for it."""

    @property
    def named(self) -> str:
        """What `load` finds it by again, from whatever folder."""

    @property
    def directory(self) -> Path | None:
        """The folder whose files are watched; None for a deployment that is not on this machine."""

    def inventory(self, name: str, *, show_trace: bool) -> Read:
        """Evaluate all but the systems. `name` is how the user calls it. Raises `DeploymentError`."""

    def toplevels(self, inventory: Inventory, systems: Sequence[str]) -> list[str]:
        """Return the command that instantiates systems which share their include paths.

        It prints `{"NAME": {"result": …, "derivation": …}, …}`. Errors name the system in a frame `nix-hive: system
        NAME`. Of each that is evaluated Nix says `EVALUATED` and its name, on a line of its standard error.
        """

    def jobs(self, systems: Sequence[str]) -> list[str]:
        """Return the words with which `nix-eval-jobs` instantiates systems; none where one process does for all.

        Its jobs are `n000000`, `n000001` and so on, in the order of the systems: see `jobs.nix`.
        """

    def explained(self, said: str, *, show_trace: bool = False) -> str:
        """Return what Nix wrote when an evaluation failed, in short; see `nix_errors.explain`."""


@runtime_checkable
class Chooser(Protocol):
    """A format whose `inventory` finds out what `toplevels` needs."""

    chosen: tuple[str, ...]


def said_lines(stderr: str) -> tuple[str, ...]:
    """Return what an evaluation said beside its result: warnings of Nix, `builtins.trace`."""
    return tuple(line for line in stderr.splitlines() if line and not _DONE.match(line))
