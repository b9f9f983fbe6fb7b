"""A network of morph: a file whose machines are NixOS configurations with options `deployment`.

A machine is one system and one instance of its name. Source: the README of morph and its examples.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec

from nixhive_nb.deployment.inventory import Check, Instance, Inventory, System
from nixhive_nb.deployment.names import hostname_problem, name_problem
from nixhive_nb.deployment.nix_errors import explain
from nixhive_nb.deployment.sources import flakes
from nixhive_nb.deployment.sources.counting import run_counting
from nixhive_nb.deployment.sources.heeding import Heeding
from nixhive_nb.deployment.sources.kinds import OfFile
from nixhive_nb.deployment.sources.shapes import each_of_type, of_type
from nixhive_nb.deployment.sources.source import Read, said_lines
from nixhive_nb.deployment.ways import hostname_of
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nixhive_nb.deployment.sources.formats import Format
    from nixhive_nb.deployment.ways import SshOptions

_EXPRESSION = Path(__file__).parent / "morph.nix"
_NETWORK = ("pkgs", "lib", "evalConfig", "specialArgs", "description", "ordering", "nixConfig")
"""What of `network` means here what it means there."""
_PERIOD, _TIMEOUT = 2.0, 5.0
"""The seconds of a health check where it says none, as morph has them."""


_Seconds = Annotated[float, msgspec.Meta(gt=0)] | None


class CommandCheck(msgspec.Struct, frozen=True):
    """A health check by a command on the host. What is null is not set."""

    cmd: tuple[str, ...] = ()
    description: str | None = None
    period: _Seconds = None
    timeout: _Seconds = None


class HttpCheck(msgspec.Struct, frozen=True, rename={"insecure_ssl": "insecureSSL"}):
    """A health check by a request from the operator's machine. What is null is not set."""

    description: str | None = None
    headers: dict[str, Any] | None = None
    host: str | None = None
    insecure_ssl: bool | None = None
    path: str | None = None
    period: _Seconds = None
    port: int | None = None
    scheme: str | None = None
    timeout: _Seconds = None


class HealthChecks(msgspec.Struct, frozen=True):
    """The health checks of a machine."""

    cmd: tuple[CommandCheck, ...] = ()
    http: tuple[HttpCheck, ...] = ()


class Machine(msgspec.Struct, frozen=True, rename="camel"):
    """What a machine says of its deployment."""

    target_host: str
    target_port: int | None = None
    target_user: str = ""
    build_only: bool = False
    substitute_on_destination: bool = False
    tags: tuple[str, ...] = ()
    health_checks: HealthChecks = HealthChecks()
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
        network = _network(json.loads(finished.stdout))
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
        given = {"file": flakes.nix_path(self.path), "kindOf": flakes.expression("kind_of")}
        arguments = [word for name, value in given.items() for word in ("--arg", name, value)]
        return ["nix-instantiate", *words, str(_EXPRESSION), *arguments]


def _network(answer: Mapping[str, Any]) -> Network:
    """Return what `morph.nix` gives. Raises `DeploymentError` with a line for what is of a wrong type."""
    problems: list[str] = []
    nodes = each_of_type(answer["nodes"], Machine, "machine", problems)
    try:
        network = of_type({**answer, "nodes": {}}, Network)
    except ValueError as error:
        problems.append(f"network: {error}.")
    if problems:
        raise DeploymentError("\n".join(problems))
    return msgspec.structs.replace(network, nodes=nodes)


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
        wrong = hostname_problem(hostname_of(machine.target_host))
        if wrong:
            self.problems.append(f"machine {name}: `deployment.targetHost` is {machine.target_host!r}: {wrong}.")
        user = machine.target_user or self.user
        said = {"Hostname": hostname_of(machine.target_host), "Port": machine.target_port or "", "User": user}
        return tuple((keyword, (str(value),)) for keyword, value in said.items() if value)

    def _checks(self, name: str, machine: Machine) -> Iterator[Check]:
        for number, one in enumerate(machine.health_checks.cmd, start=1):
            if not one.cmd:
                self.problems.append(f"machine {name}: health check {number} of `cmd` has no command.")
            yield Check(name=f"cmd-{number}", kind="command", command=one.cmd, **_times(one))
        for number, request in enumerate(machine.health_checks.http, start=1):
            url = _url(request, machine.target_host)
            if url is None:
                self.problems.append(f"machine {name}: health check {number} of `http` makes no URL.")
                continue
            for key, value in (("headers", request.headers), ("insecureSSL", request.insecure_ssl)):
                if value:
                    self.heeding.ignored(f"deployment.healthChecks.http.{key}", "a check has no such option", name)
            yield Check(name=f"http-{number}", kind="http", url=url, here=True, **_times(request))

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
        if machine.health_checks != HealthChecks():
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


def _times(check: CommandCheck | HttpCheck) -> dict[str, Any]:
    """Return the period, the time limit and the description of a health check."""
    times = {"period": check.period or _PERIOD, "timeout": check.timeout or _TIMEOUT}
    return {**times, "description": " ".join((check.description or "").split())}


def _url(check: HttpCheck, host: str) -> str | None:
    """Return the URL of a health check; morph asks it from the operator's machine. None where there is none."""
    scheme, port = check.scheme or "http", check.port or 80
    where = check.host or host
    where = f"[{where}]" if ":" in where else where
    path = check.path or "/"
    url = f"{scheme}://{where}:{port}/{path.removeprefix('/')}"
    try:
        return url if scheme in ("http", "https") and urlsplit(url).port else None
    except ValueError:
        return None
