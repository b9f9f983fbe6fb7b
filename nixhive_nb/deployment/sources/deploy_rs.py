"""Nodes of deploy-rs: the output `deploy` of a flake.

A node is one system and one instance of its name. Its NixOS profile is activated by our own trial; other profiles are
left alone, and told. Source: the README of deploy-rs ("API") and its interface.json.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.deployment.elevating import elevate_problem
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.names import hostname_problem, name_problem
from nixhive_nb.deployment.sources import flakes
from nixhive_nb.deployment.sources.heeding import Heeding
from nixhive_nb.deployment.sources.kinds import OfFlake
from nixhive_nb.deployment.sources.shapes import each_of_type, of_type
from nixhive_nb.deployment.sources.source import Evaluation, Read
from nixhive_nb.deployment.sources.ssh_words import ssh_options
from nixhive_nb.deployment.ways import hostname_of
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.deployment.sources.formats import Format
    from nixhive_nb.deployment.sources.where import FlakePlace
    from nixhive_nb.deployment.ways import SshOptions

DEPLOY = "deploy"
_SYSTEM = "system"
"""What deploy-rs calls the profile of a NixOS system."""
_ROOT = "root"
_PROFILE = "/nix/var/nix/profiles/system"
_STRANGE = "deploy-rs does not know it either"


_SETTINGS: Mapping[str, Any] = {
    "activationTimeout": int,
    "autoRollback": bool,
    "confirmTimeout": int,
    "fastConnection": bool,
    "interactiveSudo": bool,
    "magicRollback": bool,
    "remoteBuild": bool,
    "sshOpts": list[str],
    "sshUser": str,
    "sudo": str,
    "tempPath": str,
    "user": str,
}
"""What a node may say of how it is deployed, and a profile, and the whole for all. What is null is not set."""
_Settings = msgspec.defstruct("_Settings", [(name, kind | None, None) for name, kind in _SETTINGS.items()])


class Profile(msgspec.Struct, frozen=True, rename={"profile_path": "profilePath"}):
    """A profile of a node, without what it holds."""

    settings: dict[str, Any] = {}
    profile_path: str | None = None
    strangers: tuple[str, ...] = ()


class DeployNode(msgspec.Struct, frozen=True, rename={"order": "profilesOrder"}):
    """A node of deploy-rs, without what its profiles hold."""

    hostname: str
    settings: dict[str, Any] = {}
    profiles: dict[str, Profile] = {}
    order: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()


class Deploy(msgspec.Struct, frozen=True):
    """What `deploy_rs.nix` gives."""

    nodes: dict[str, DeployNode]
    settings: dict[str, Any] = {}
    strangers: tuple[str, ...] = ()


class DeployRsSource(OfFlake):
    """A flake with nodes of deploy-rs."""

    format: Format = "deploy-rs"

    def __init__(self, place: FlakePlace, how: Evaluation) -> None:
        super().__init__(place, how)
        self._output = place.attribute.removesuffix(".nodes") or DEPLOY

    def inventory(self, name: str, *, show_trace: bool) -> Read:
        """Read nodes and settings; no configuration is evaluated. Raises `DeploymentError`."""
        del show_trace
        try:
            settings = flakes.nix_names(list(_SETTINGS))
            function = flakes.expression("deploy_rs", kindOf=flakes.expression("kind_of"), settings=settings)
            answer, said = flakes.evaluated(self.place, self._output, function, self._how)
        except flakes.OutputMissing:
            raise DeploymentError(f"The flake {name} has no output {self._output}.nodes of deploy-rs.") from None
        return Read(inventory=_DeployReader(_nodes_as_said(answer)).inventory(name), said=said)

    def toplevels(self, inventory: Inventory, systems: Sequence[str]) -> list[str]:
        """Return the command that instantiates the NixOS systems in the profiles of nodes."""
        del inventory
        return flakes.eval_command(self.place, self._output, _instantiating(systems), self._how)

    def jobs(self, systems: Sequence[str]) -> list[str]:
        """Return the words with which `nix-eval-jobs` instantiates the systems of nodes."""
        return flakes.jobs(self.place, self._output, _instantiating(systems), systems, self._how)


def _nodes_as_said(answer: Mapping[str, Any]) -> Deploy:
    """Return what `deploy_rs.nix` gives. Raises `DeploymentError` with a line for what is of a wrong type."""
    problems: list[str] = []
    floors = {"of deploy-rs": answer["settings"]}
    for name, node in answer["nodes"].items():
        floors[f"of node {name}"] = node["settings"]
        floors |= {f"of `profiles.{one}` of node {name}": said["settings"] for one, said in node["profiles"].items()}
    each_of_type(floors, _Settings, "settings", problems)
    nodes = each_of_type(answer["nodes"], DeployNode, "node", problems)
    if problems:
        raise DeploymentError("\n".join(problems))
    return msgspec.structs.replace(of_type({**answer, "nodes": {}}, Deploy), nodes=nodes)


def _instantiating(systems: Sequence[str]) -> str:
    names, profile = flakes.nix_names(systems), flakes.nix_string(_SYSTEM)
    return flakes.expression("deploy_rs_toplevels", names=names, profile=profile)


class _DeployReader:
    """One pass over the nodes, which notes what is wrong with them, and what becomes of all that they say."""

    def __init__(self, deploy: Deploy) -> None:
        self.deploy = deploy
        self.heeding = Heeding()
        self.problems: list[str] = []

    def inventory(self, source: str) -> Inventory:
        """Return the inventory. Raises `DeploymentError` with a line for each mistake."""
        instances = {name: self._instance(name, node) for name, node in sorted(self.deploy.nodes.items())}
        for stranger in self.deploy.strangers:
            self.heeding.ignored(stranger, _STRANGE)
        if self.problems:
            raise DeploymentError("\n".join(self.problems))
        empty = () if instances else (f"{source} has no nodes.",)
        return Inventory(
            source=source,
            systems={name: self._system(name) for name, one in instances.items() if one is not None},
            instances={name: one for name, one in instances.items() if one is not None},
            warnings=empty,
            format="deploy-rs",
            heeded=self.heeding.heeded,
        )

    def _instance(self, name: str, node: DeployNode) -> Instance | None:
        for other in node.profiles:
            if other != _SYSTEM:
                self.heeding.ignored(f"profiles.{other}", "only NixOS systems are deployed", name)
        for stranger in node.strangers:
            self.heeding.ignored(stranger, _STRANGE, name)
        if len(node.profiles) > 1 and node.order:
            self.heeding.ignored("profilesOrder", "only NixOS systems are deployed", name)
        wrong = name_problem(name)
        if wrong:
            self.problems.append(f"node {name}: it cannot be the name of an instance: {wrong}.")
        if _SYSTEM not in node.profiles:
            self.heeding.ignored("node", f"it has no profile `{_SYSTEM}`, and is no instance", name)
            return None
        system = node.profiles[_SYSTEM]
        if system.profile_path not in (None, _PROFILE):
            self.heeding.ignored("profilePath", f"a system is a generation of {_PROFILE}", name)
        for stranger in system.strangers:
            self.heeding.ignored(f"profiles.{_SYSTEM}.{stranger}", _STRANGE, name)
        said = self._settings(node)
        if said.get("remoteBuild"):
            self.heeding.honoured("remoteBuild", name, 'as `build = "instance"`; --build-on goes before it')
        self._heed(name, said)
        ssh, elevate = self._ssh(name, node.hostname, said), self._elevate(name, said)
        return Instance(name=name, system=name, ssh=ssh, elevate=elevate)

    def _system(self, name: str) -> System:
        there = self._settings(self.deploy.nodes[name]).get("remoteBuild")
        return System(name=name, platform="", build="instance" if there else "")

    def _settings(self, node: DeployNode) -> dict[str, Any]:
        """Return the settings of the NixOS profile: its own, those of its node, of all; words for ssh are joined."""
        floors = (node.profiles[_SYSTEM].settings, node.settings, self.deploy.settings)
        found: dict[str, Any] = {}
        for floor in floors:
            for key, value in floor.items():
                if value is not None and key != "sshOpts":
                    found.setdefault(key, value)
        words = [word for floor in floors for word in floor.get("sshOpts") or ()]
        return {**found, "sshOpts": words}

    def _ssh(self, name: str, hostname: str, said: Mapping[str, Any]) -> SshOptions:
        wrong = hostname_problem(hostname_of(hostname))
        if wrong:
            self.problems.append(f"node {name}: `hostname` is {hostname!r}: {wrong}.")
        self.heeding.honoured("hostname", name)
        try:
            options = dict(ssh_options([str(word) for word in said["sshOpts"]]))
        except ValueError as error:
            self.problems.append(f"node {name}: `sshOpts`: {error}.")
            options = {}
        if said["sshOpts"]:
            self.heeding.honoured("sshOpts", name, "as options of its Host block")
        # deploy-rs logs in as USER@HOST, the local user by default, whatever the configuration of ssh says.
        first = {"Hostname": (hostname_of(hostname),), "User": (str(said.get("sshUser") or getpass.getuser()),)}
        return tuple(sorted((first | {key: value for key, value in options.items() if key not in first}).items()))

    def _elevate(self, name: str, said: Mapping[str, Any]) -> tuple[str, ...]:
        """Return how root is become: the words of `sudo` without the `-u` at their end, behind which it puts a user."""
        if "sudo" not in said:
            return ()
        words = tuple(str(said["sudo"]).split())
        words = words[:-1] if words[-1:] == ("-u",) else words
        if why := elevate_problem(words):
            self.heeding.ignored("sudo", f"{said['sudo']}: {why}; sudo -n is used", name)
            return ()
        self.heeding.honoured("sudo", name, "as `elevate` of ours")
        return () if words == ("sudo",) else words

    def _heed(self, name: str, said: Mapping[str, Any]) -> None:
        heed = self.heeding
        login = said.get("sshUser") or getpass.getuser()
        if "sshUser" in said:
            heed.honoured("sshUser", name)
        if said.get("user", login) != _ROOT:
            heed.differently("user", "a NixOS system is activated by root", name)
        elif "user" in said:
            heed.honoured("user", name)
        for key, what in _DIFFERENT.items():
            if key in said and said[key] not in (_USUAL.get(key), None):
                heed.differently(key, what, name)
        for key, what in _IGNORED.items():
            if said.get(key) not in (None, False):
                heed.ignored(key, what, name)


_USUAL = {"autoRollback": True, "magicRollback": True, "fastConnection": False}
_DIFFERENT = {
    "magicRollback": "type `--no confirm` for a deploy without a trial",
    "autoRollback": "a host always goes back where an activation fails",
    "confirmTimeout": "type `--confirm SECONDS`",
    "activationTimeout": "type `--activation-timeout SECONDS`",
    "fastConnection": "a host gets from its own substituters what it can, else from here",
}
_IGNORED = {
    "interactiveSudo": "type `--ask-password`",
    "tempPath": "nothing of ours lies there",
}
