"""A network of morph: a file whose machines are NixOS configurations with options `deployment`.

A machine is one system and one instance of its name. Source: the README of morph and its examples.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from nixhive_nb.deployment.inventory import Check, Instance, Inventory, System
from nixhive_nb.deployment.names import hostname_problem, name_problem
from nixhive_nb.deployment.nix_errors import explain
from nixhive_nb.deployment.sources import flakes
from nixhive_nb.deployment.sources.counting import run_counting
from nixhive_nb.deployment.sources.heeding import Heeding
from nixhive_nb.deployment.sources.kinds import OfFile
from nixhive_nb.deployment.sources.source import Read, said_lines
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nixhive_nb.deployment.sources.formats import Format
    from nixhive_nb.deployment.ways import SshOptions

_EXPRESSION = Path(__file__).parent / "morph.nix"
_NETWORK = ("pkgs", "lib", "evalConfig", "specialArgs", "description", "ordering", "nixConfig")
"""What of `network` means here what it means there."""
_SECONDS = {"period": 2.0, "timeout": 5.0}
"""The defaults of a health check, as morph has them."""


class Machine(msgspec.Struct, frozen=True, rename="camel"):
    """What a machine says of its deployment."""

    target_host: str
    target_port: int | None = None
    target_user: str = ""
    build_only: bool = False
    substitute_on_destination: bool = False
    tags: tuple[str, ...] = ()
    health_checks: dict[str, list[dict[str, Any]]] = {}
    secrets: tuple[str, ...] = ()
    pre_deploy_checks: int = 0


class Network(msgspec.Struct, frozen=True, rename="camel"):
    """What `morph.nix` gives."""

    nodes: dict[str, Machine]
    ordering: tuple[str, ...] = ()
    nix_config: dict[str, Any] = {}
    known: tuple[str, ...] = ()


class MorphSource(OfFile):
    """A file with a network of morph."""

    format: Format = "morph"

    def inventory(self, name: str, *, show_trace: bool) -> Read:
        """Evaluate what machines say of their deployment. Raises `DeploymentError`."""
        finished = run_counting([*self._command(), "-vv"])
        if finished.status:
            raise DeploymentError(explain(finished.stderr, show_trace=show_trace), log=said_lines(finished.stderr))
        try:
            network = msgspec.json.decode(finished.stdout, type=Network)
        except msgspec.ValidationError as error:
            raise DeploymentError(f"{name} is not as morph has it: {error}.") from None
        return Read(inventory=_NetworkReader(network).inventory(name), said=finished.stderr)

    def toplevels(self, inventory: Inventory, systems: Sequence[str]) -> list[str]:
        """Return the command that instantiates the systems of machines."""
        del inventory
        return [*self._command(), "--argstr", "names", json.dumps(list(systems))]

    def jobs(self, systems: Sequence[str]) -> list[str]:
        """Return the words with which `nix-eval-jobs` instantiates machines."""
        file = ["--arg", "file", flakes.nix_path(self.path)]
        return flakes.file_jobs(_EXPRESSION, systems, [*self._how.option_words(), *file])

    def _command(self) -> list[str]:
        words = ["--eval", "--strict", "--json", "--read-write-mode", "--show-trace", *self._how.option_words()]
        return ["nix-instantiate", *words, str(_EXPRESSION), "--arg", "file", flakes.nix_path(self.path)]


class _NetworkReader:
    """One pass over the machines, which notes what is wrong with them, and what becomes of all that they say."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.heeding = Heeding()
        self.problems: list[str] = []
        # Where it is not set either, morph leaves the login to ssh, and so do we.
        self.user = os.environ.get("SSH_USER", "")

    def inventory(self, source: str) -> Inventory:
        """Return the inventory. Raises `DeploymentError` with a line for each mistake."""
        network = self.network
        instances = {name: self._instance(name, machine) for name, machine in sorted(network.nodes.items())}
        self._heed_network()
        if self.problems:
            raise DeploymentError("\n".join(self.problems))
        return Inventory(
            source=source,
            systems={name: System(name=name, platform="") for name in instances},
            instances={name: one for name, one in instances.items() if one is not None},
            build_flags=tuple(self._flags()),
            warnings=() if instances else (f"{source} has no machines.",),
            format="morph",
            heeded=self.heeding.heeded,
        )

    def _instance(self, name: str, machine: Machine) -> Instance | None:
        if machine.build_only:
            self.heeding.honoured("deployment.buildOnly", name, "a system that no instance runs")
            return None
        wrong = name_problem(name)
        if wrong:
            self.problems.append(f"machine {name}: it cannot be the name of an instance: {wrong}.")
        self._heed(name, machine)
        checks = tuple(self._checks(name, machine))
        return Instance(name=name, system=name, tags=machine.tags, ssh=self._ssh(name, machine), checks=checks)

    def _ssh(self, name: str, machine: Machine) -> SshOptions:
        wrong = hostname_problem(machine.target_host)
        if wrong:
            self.problems.append(f"machine {name}: `deployment.targetHost` is {machine.target_host!r}: {wrong}.")
        user = machine.target_user or self.user
        said = {"Hostname": machine.target_host, "Port": machine.target_port or "", "User": user}
        return tuple((keyword, (str(value),)) for keyword, value in said.items() if value)

    def _checks(self, name: str, machine: Machine) -> Iterator[Check]:
        for number, one in enumerate(machine.health_checks.get("cmd", []), start=1):
            command = tuple(map(str, one.get("cmd", ())))
            if not command:
                self.problems.append(f"machine {name}: health check {number} of `cmd` has no command.")
            yield Check(name=f"cmd-{number}", kind="command", command=command, **_times(one))
        for number, one in enumerate(machine.health_checks.get("http", []), start=1):
            url = _url(one, machine.target_host)
            if url is None:
                self.problems.append(f"machine {name}: health check {number} of `http` makes no URL.")
                continue
            for key in ("headers", "insecureSSL"):
                if one.get(key):
                    self.heeding.ignored(f"deployment.healthChecks.http.{key}", "a check has no such option", name)
            yield Check(name=f"http-{number}", kind="http", url=url, here=True, **_times(one))

    def _heed(self, name: str, machine: Machine) -> None:
        heed = self.heeding
        heed.honoured("deployment.targetHost", name)
        if machine.target_port:
            heed.honoured("deployment.targetPort", name)
        if machine.target_user:
            heed.honoured("deployment.targetUser", name)
        elif self.user:
            heed.honoured("SSH_USER", name)
        if machine.tags:
            heed.honoured("deployment.tags", name)
        if any(machine.health_checks.values()):
            heed.differently("deployment.healthChecks", "they are checks: a host goes back where they fail", name)
        if machine.pre_deploy_checks:
            heed.ignored("deployment.preDeployChecks", "nothing is checked before a deploy", name)
        if machine.secrets:
            heed.ignored("deployment.secrets", f"send them by other means: {', '.join(machine.secrets)}", name)
        if machine.substitute_on_destination:
            heed.honoured("deployment.substituteOnDestination", name)

    def _heed_network(self) -> None:
        heed, network = self.heeding, self.network
        for attribute in network.known:
            if attribute in _NETWORK:
                if attribute != "ordering":
                    heed.honoured(f"network.{attribute}")
            else:
                heed.ignored(f"network.{attribute}", _WHY.get(attribute, "it is not known"))
        if network.ordering:
            waves = " ".join(f"'@({tag})'" for tag in network.ordering)
            heed.differently("network.ordering.tags", f"type `deploy {waves} '*'`: each pattern is a wave")

    def _flags(self) -> Iterator[str]:
        for name, value in self.network.nix_config.items():
            if not isinstance(value, str):
                self.problems.append(f"`network.nixConfig.{name}` is not a string.")
            yield from ("--option", name, str(value))


_WHY = {
    "buildShell": "nothing is built in a shell of its own",
    "runCommand": "each system is built as it is",
}


def _times(check: Mapping[str, Any]) -> dict[str, Any]:
    """Return the period, the time limit and the description of a health check."""
    times = {key: float(check.get(key) or usual) for key, usual in _SECONDS.items()}
    return {**times, "description": " ".join(str(check.get("description") or "").split())}


def _url(check: Mapping[str, Any], host: str) -> str | None:
    """Return the URL of a health check; morph asks it from the operator's machine. None where there is none."""
    scheme, port = str(check.get("scheme") or "http"), check.get("port") or 80
    where = str(check.get("host") or host)
    where = f"[{where}]" if ":" in where else where
    path = str(check.get("path") or "/")
    url = f"{scheme}://{where}:{port}/{path.removeprefix('/')}"
    try:
        return url if scheme in ("http", "https") and urlsplit(url).port else None
    except ValueError:
        return None
