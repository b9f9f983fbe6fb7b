"""A flake with `nixosConfigurations`, and perhaps plain data beside them in an output `nixhive`.

`nixhive` has instances, which name a configuration each by `system` (by default that of their own name), and what else
`hive.nix` says of instances: tags, store, ssh, hostKeys, checks; `signing` and `refuse`, too. No configuration is
evaluated for it. Without it each configuration is an instance that is reached by its name.
"""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.inventory import Heeded, Instance, Inventory, System
from nixhive_nb.deployment.names import address_problem, name_problem
from nixhive_nb.deployment.nix_errors import OWN_EXPRESSIONS
from nixhive_nb.deployment.reading import Evaluated, read_inventory
from nixhive_nb.deployment.sources import flakes
from nixhive_nb.deployment.sources.hive import Foreign
from nixhive_nb.deployment.sources.kinds import OfFlake
from nixhive_nb.deployment.sources.source import Read
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.deployment.sources.formats import Format

_log = logging.getLogger(__name__)

DATA = "nixhive"
CONFIGURATIONS = "nixosConfigurations"
OTHERS: tuple[tuple[str, Format], ...] = (
    ("colmenaHive", "colmena"),
    ("colmena", "colmena"),
    ("deploy.nodes", "deploy-rs"),
)
"""Outputs in other formats, in the order in which they are looked for."""


class FlakeSource(OfFlake):
    """A flake whose systems are its `nixosConfigurations`."""

    format: Format = "flake"

    def inventory(self, name: str, *, show_trace: bool) -> Read:
        """Read the data, and the names of the configurations. Raises `DeploymentError`, and `Foreign` for a hive."""
        del show_trace
        output = self.place.attribute or DATA
        if self.place.attribute == CONFIGURATIONS:
            return self._by_name(name)
        try:
            shape, _ = flakes.evaluated(self.place, output, flakes.expression("flake_shape"), self._how)
        except flakes.OutputMissing:
            if self.place.attribute:
                raise DeploymentError(f"The flake {name} has no output {output}.{self._as_a_pattern(name)}") from None
            _log.debug("%s has no output %s", name, output)
            return self._other(name)
        if shape != "flake":
            if self._how.format is None and self.place.attribute and shape:
                raise Foreign(shape)
            advice = self._as_a_pattern(name) or " See docs/howto/flakes.md."
            raise DeploymentError(f"The output {output} of {name} is no inventory: it has no `instances`.{advice}")
        names = self._configurations(name)
        function = flakes.expression(
            "flake_data",
            names=flakes.nix_names(names),
            output=flakes.nix_string(output),
            configurations=flakes.nix_string(CONFIGURATIONS),
            inventory=f"({(OWN_EXPRESSIONS / 'inventory.nix').read_text(encoding='utf-8')})",
        )
        answer, said = flakes.evaluated(self.place, output, function, self._how)
        flakes.find_places(answer, self.place)
        inventory = read_inventory(msgspec.convert(answer, type=Evaluated), name, self.directory or self.path)
        return Read(inventory=msgspec.structs.replace(without_paths(inventory), format=self.format), said=said)

    def _as_a_pattern(self, name: str) -> str:
        """Return what to type where a configuration was named as `nixos-rebuild --flake` has it; empty for others."""
        wanted = self.place.attribute.removeprefix(f"{CONFIGURATIONS}.").strip('"')
        try:
            if not wanted or wanted not in self._configurations(name):
                return ""
        except DeploymentError as error:
            _log.debug("the configurations of %s: %s", name, error)
            return ""
        flake = name.partition("#")[0] or "."
        return (
            f" {wanted} is one of its {CONFIGURATIONS}, which are named as patterns: -c {shlex.quote(flake)} … {wanted}"
        )

    def _other(self, name: str) -> Read:
        """Read a flake without our data: as what else it has, or by the names of its configurations alone."""
        if self._how.format is None:
            for output, format_ in OTHERS:
                try:
                    flakes.evaluated(self.place, output, "_: true", self._how)
                except flakes.OutputMissing:
                    _log.debug("%s has no output %s", name, output)
                    continue
                raise Foreign(format_)
        return self._by_name(name)

    def _by_name(self, name: str) -> Read:
        names = self._configurations(name)
        wrong = [f"{one}: {problem}" for one in names if (problem := name_problem(one) or address_problem(one))]
        if wrong:
            raise DeploymentError(
                "\n".join(
                    [
                        f"These names in {CONFIGURATIONS} of {name} are no names of hosts:",
                        *(f"  {line}" for line in wrong),
                        f"Say what the instances are in an output `{DATA}`: docs/howto/flakes.md.",
                    ]
                )
            )
        inventory = Inventory(
            source=name,
            systems={one: System(name=one, platform="") for one in names},
            instances={one: Instance(name=one, system=one) for one in names},
            refuse=("all",),
            format=self.format,
            heeded=(
                Heeded(
                    attribute=CONFIGURATIONS,
                    how="honoured",
                    what=f"each is an instance that is reached by its name; an output `{DATA}` says more of them",
                ),
            ),
        )
        return Read(inventory=inventory)

    def _configurations(self, name: str) -> list[str]:
        try:
            kind_of = flakes.expression("kind_of")
            function = f"value: if builtins.isAttrs value then builtins.attrNames value else {kind_of} value"
            found, _ = flakes.evaluated(self.place, CONFIGURATIONS, function, self._how)
        except flakes.OutputMissing:
            known = ", ".join([DATA, *(output for output, _ in OTHERS), CONFIGURATIONS])
            raise DeploymentError(f"The flake {name} has no fleet: none of its outputs is {known}.") from None
        if isinstance(found, str):
            raise DeploymentError(f"`{CONFIGURATIONS}` of the flake {name} is {found}, not an attribute set.")
        return list(found)

    def toplevels(self, inventory: Inventory, systems: Sequence[str]) -> list[str]:
        """Return the command that instantiates systems: each as `nixos-rebuild --flake` does."""
        del inventory
        function = flakes.expression("flake_toplevels", names=flakes.nix_names(systems))
        return flakes.eval_command(self.place, CONFIGURATIONS, function, self._how)

    def jobs(self, systems: Sequence[str]) -> list[str]:
        """Return the words with which `nix-eval-jobs` instantiates systems."""
        function = flakes.expression("flake_toplevels", names=flakes.nix_names(systems))
        return flakes.jobs(self.place, CONFIGURATIONS, function, systems, self._how)


def without_paths(inventory: Inventory) -> Inventory:
    """Return an inventory of a flake without include paths, which its pure evaluation never looks at; that is said."""
    if not inventory.paths and not any(system.paths for system in inventory.systems.values()):
        return inventory
    said = "`paths` has no effect in a flake: name what is needed as its inputs."
    return msgspec.structs.replace(
        inventory,
        paths=(),
        systems={name: msgspec.structs.replace(one, paths=()) for name, one in inventory.systems.items()},
        warnings=(*inventory.warnings, said),
    )
