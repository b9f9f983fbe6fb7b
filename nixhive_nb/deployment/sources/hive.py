"""Our own format, `hive.nix`: evaluated with one `nix-instantiate`."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.nix_errors import OWN_EXPRESSIONS, explain
from nixhive_nb.deployment.reading import Evaluated, PlacesWanted, read_inventory
from nixhive_nb.deployment.sources.kinds import OfFile
from nixhive_nb.deployment.sources.source import Read, said_lines
from nixhive_nb.deployment.sources.where import FLAKE
from nixhive_nb.errors import DeploymentError
from nixhive_nb.util import process
from nixhive_nb.util.collecting import collected_seldom
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.sources.formats import Format

_log = logging.getLogger(__name__)
_OF_INSTANCE = "nix-hive: instance "
"""What `inventory.nix` adds to an error in an instance. Without places it does not say which attribute has it."""
_OURS = ("paths", "systems", "instances", "nix", "signing", "refuse")
_THEIRS = ("meta", "network", "defaults")


class Foreign(Exception):  # noqa: N818 - named for what is found
    """A file that is in another format, as the names at its top say; or none, where a flake beside it is meant."""

    def __init__(self, format_: Format | None, flake: Path | None = None) -> None:
        super().__init__(format_)
        self.format = format_
        self.flake = flake


class HiveSource(OfFile):
    """A file, or a folder with `default.nix`, that names systems and instances."""

    format: Format = "hive"

    def inventory(self, name: str, *, show_trace: bool) -> Read:
        """Evaluate all but the systems. Raises `DeploymentError`, and `Foreign` for a file in another format."""
        source = f"{name.rstrip('/')}/" if self.path.is_dir() else name
        try:
            return self._read(source, show_trace=show_trace, places=False)
        except PlacesWanted:
            _log.debug("%s: evaluated again, to tell where it has a mistake", self.path)
            return self._read(source, show_trace=show_trace, places=True)

    def _read(self, source: str, *, places: bool, show_trace: bool = False) -> Read:
        finished = process.run(self._command(places=places))
        if finished.status != 0:
            if not places and _OF_INSTANCE in finished.stderr:
                raise PlacesWanted
            _log.info("%s cannot be evaluated", self.path)
            raise DeploymentError(explain(finished.stderr, show_trace=show_trace), log=said_lines(finished.stderr))
        with collected_seldom():
            answer = msgspec.json.decode(finished.stdout, type=Evaluated)
            self._pass_by(answer)
            if answer.required and (self.directory / FLAKE).exists():
                names = ", ".join(answer.required)
                raise DeploymentError(
                    f"{source} is a function that needs {names}: the flake beside it may be what calls it. Name one of "
                    "its outputs, as in -c .#colmena."
                )
            self._see_whose(answer, source)
            found = msgspec.structs.replace(
                read_inventory(answer, source, self.directory),
                # With an option it may be that of another machine.
                machine="" if self._how.option_words() else answer.platform,
                nix=answer.nix,
            )
            return Read(inventory=found, said=finished.stderr)

    def _pass_by(self, answer: Evaluated) -> None:
        """Raise `Foreign` for the `default.nix` of a folder that is no deployment, where a flake lies beside it.

        Many have one for those who do not use flakes yet. A `default.nix` that is named is what is meant.
        """
        flake = self.directory / FLAKE
        if self._how.format or not self.path.is_dir() or not flake.exists():
            return
        if answer.required or format_by_names(answer.names, answer.network) is None:
            raise Foreign(None, flake)

    def _see_whose(self, answer: Evaluated, source: str) -> None:
        """Raise `Foreign` for a file whose top is that of another format, and an error where that is unclear."""
        if self._how.format == "hive":
            return
        found = format_by_names(answer.names, answer.network)
        if found is None:
            known = ", ".join(answer.names[:5])
            raise DeploymentError(
                f"{source} may be in one of several formats: at its top it has {known}. Say which with --format: hive "
                "(ours), colmena or morph."
            )
        if found != "hive":
            raise Foreign(found)

    def toplevels(self, inventory: Inventory, systems: Sequence[str]) -> list[str]:
        """Return the command that instantiates systems which share their include paths. See `toplevel.nix`."""
        includes = (*inventory.include_paths(systems[0]), *readable_paths(self.path))
        return [
            "nix-instantiate",
            "--eval",
            "--strict",
            "--json",
            # An evaluation is read-only by default: the derivations would not be written.
            "--read-write-mode",
            *[word for path in includes for word in ("-I", path)],
            "-I",
            f"deployment={self.path}",
            str(toplevel_expression()),
            "--argstr",
            "names",
            json.dumps(list(systems)),
            # Without the trace Nix 2.8 does not say where a `throw` stands; what a person sees of it is cut to a line.
            "--show-trace",
            *self._how.option_words(),
        ]

    def jobs(self, systems: Sequence[str]) -> list[str]:
        """Return nothing: systems share their nixpkgs, and one process evaluates them sooner than several."""
        del systems
        return []

    def _command(self, *, places: bool) -> list[str]:
        # -vv names each file that is evaluated (-v does from 2.8 on; other versions need more), --show-trace the
        # places. An evaluation is read-only by default: what it wants to be built or copied to the store would not be
        # there.
        options = ["--eval", "--strict", "--json", "--read-write-mode", "-vv", "--show-trace"]
        includes = [word for path in readable_paths(self.path) for word in ("-I", path)]
        expression = [str(OWN_EXPRESSIONS / "inventory.nix"), "--arg", "places", "true" if places else "false"]
        # What may be read comes first: a deployment that is a link leads there.
        return [
            "nix-instantiate",
            *options,
            *self._how.option_words(),
            *includes,
            "-I",
            f"deployment={self.path}",
            *expression,
        ]


def format_by_names(names: Sequence[str], network: Sequence[str]) -> Format | None:
    """Return the format of a file by the names at its top, and those in its `network`; None where that is unclear.

    Ours has systems or instances. One without any name that is ours, `meta`, `network` or `defaults` may be a hive of
    colmena that has nodes alone: only a person can tell it from ours with a mistake.
    """
    ours = any(name in names for name in ("systems", "instances"))
    theirs = any(name in names for name in _THEIRS)
    if ours or not theirs:
        strange = bool(names) and not any(name in _OURS or near(name, _OURS) for name in names)
        return None if (ours and theirs) or strange else "hive"
    if "network" in names and "meta" not in names:
        return "colmena" if "nixpkgs" in network else "morph"
    return "colmena"


def toplevel_expression() -> Path:
    """Return the path of `toplevel.nix`, which instantiates systems that share their include paths.

    It is called so, and gives `{"www": {"result": …, "derivation": …}, …}`:

        nix-instantiate --eval --strict --json --read-write-mode -I nixpkgs=… -I deployment=DEPLOYMENT
          toplevel.nix --argstr names '["www", "portico"]'

    `Inventory.include_paths` gives the paths in the right order, and `Loaded.path` the deployment. `explain` shortens
    its errors; they name the system.
    """
    return OWN_EXPRESSIONS / "toplevel.nix"


def readable_paths(deployment: Path) -> tuple[str, ...]:
    """Return include paths that nobody asks for: what lies there may be read where evaluation is restricted.

    Without `restrict-eval` they change nothing. They are our own expressions, and the folder of the deployment.
    """
    real = deployment.resolve()
    return (f"nixhive-own={OWN_EXPRESSIONS}", f"nixhive-deployment={real if real.is_dir() else real.parent}")
