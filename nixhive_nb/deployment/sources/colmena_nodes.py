"""What an evaluated hive of colmena says of its nodes, turned into an `Inventory`: a system and an instance each.

Source: the reference of colmena's manual (https://colmena.cli.rs), "Deployment Options" and "Meta Options".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.deployment.elevating import elevate_problem
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.names import address_problem, hostname_problem, name_problem, port_problem
from nixhive_nb.deployment.sources.heeding import Heeding
from nixhive_nb.deployment.sources.shapes import of_type
from nixhive_nb.deployment.sources.ssh_words import ssh_options
from nixhive_nb.deployment.values import CONTROL, breaks_line, ssh_problem
from nixhive_nb.deployment.ways import hostname_of
from nixhive_nb.deployment.whole import look_at_whole
from nixhive_nb.errors import DeploymentError
from nixhive_nb.util.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.deployment.ways import SshOptions

_SUDO = ("sudo", "-H", "--")
"""What colmena puts before commands of a user other than root, unless a node says otherwise."""
_NAME, _DESCRIPTION = "hive", "A Colmena Hive"
"""What a hive is called that says nothing of it."""
_PASSED = {"meta.name", "meta.description", "meta.machinesFile", "meta.allowApplyAll"}
"""What has a line of its own, or none."""


class KeyData(msgspec.Struct, frozen=True, rename="camel"):
    """A secret of a node, without what it holds."""

    user: str
    group: str
    permissions: str
    path: str
    upload_at: str


class NodeData(msgspec.Struct, frozen=True, rename="camel"):
    """The `deployment` options of a node."""

    target_host: str | None
    target_port: int | None
    target_user: str | None
    tags: tuple[str, ...]
    ssh_options: tuple[str, ...]
    privilege_escalation_command: tuple[str, ...]
    build_on_target: bool
    replace_unknown_profiles: bool
    allow_local_deployment: bool
    keys: dict[str, KeyData]


class MetaData(msgspec.Struct, frozen=True, rename="camel"):
    """What a hive says of itself, as far as it matters to who deploys it."""

    name: str
    description: str
    allow_apply_all: bool
    machines_file: str | None


class HiveData(msgspec.Struct, frozen=True):
    """All that `colmena_read.nix` gives."""

    nodes: dict[str, NodeData]
    meta: MetaData
    said: tuple[str, ...] | None = None
    """What else the hive says; None where colmena's own evaluator was at work, which does not tell."""


def hive_inventory(answer: Any, source: str) -> Inventory:  # noqa: ANN401 - what JSON gave
    """Return the inventory of an evaluated hive. Raises `DeploymentError` with a line for each mistake."""
    try:
        data = of_type(answer, HiveData)
    except ValueError as error:
        raise DeploymentError(f"{source}: {error}.") from None
    reader = _HiveReader()
    heeding = reader.heeding
    for attribute in data.said or ():
        if attribute.replace("network.", "meta.") not in _PASSED:
            heeding.honoured(attribute)
    instances = {name: one for name, node in sorted(data.nodes.items()) if (one := reader.instance(name, node))}
    for name, node in sorted(data.nodes.items()):
        reader.heed(name, node, own=data.said is not None)
    problems, warnings = look_at_whole(instances)
    wrong = [*reader.problems, *(f"node {name}: {text}" for name, _, text in problems)]
    if wrong:
        raise DeploymentError("\n".join(wrong))
    return Inventory(
        source=source,
        systems={name: _system(name, node) for name, node in sorted(data.nodes.items())},
        instances=instances,
        build_flags=_build_flags(data.meta, heeding),
        refuse=_refused(data.meta, heeding),
        warnings=tuple(map(redact, [*warnings, *([] if data.nodes else [f"{source} has no nodes."])])),
        format="colmena",
        heeded=heeding.heeded,
    )


def _system(name: str, node: NodeData) -> System:
    return System(name=name, platform="", build="instance" if node.build_on_target else "")


def _build_flags(meta: MetaData, heeding: Heeding) -> tuple[str, ...]:
    if meta.machines_file is None:
        return ()
    if not meta.machines_file.startswith("/"):
        raise DeploymentError(f"`meta.machinesFile` is {meta.machines_file!r}, which is no absolute path.")
    heeding.honoured("meta.machinesFile", what=f"builds are given --builders @{meta.machines_file}")
    return ("--option", "builders", f"@{meta.machines_file}")


def _refused(meta: MetaData, heeding: Heeding) -> tuple[str, ...]:
    if meta.name != _NAME:
        heeding.ignored("meta.name", "it is shown nowhere")
    if meta.description not in ("", _DESCRIPTION):
        heeding.ignored("meta.description", "it is shown nowhere")
    heeding.differently(
        "StrictHostKeyChecking",
        "colmena accepts the key of a host that it never saw; here each has to stand in a known_hosts of ssh",
    )
    if meta.allow_apply_all:
        return ()
    heeding.honoured("meta.allowApplyAll", what="a deploy to all at once is refused: name the targets")
    return ("all",)


class _HiveReader:
    """One pass over the nodes, which notes what is wrong with them and goes on."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.heeding = Heeding()

    def instance(self, name: str, node: NodeData) -> Instance | None:
        """Return the instance of a node; None for one that has no address, and for one with a mistake."""
        if not name or CONTROL.search(name):
            self.problems.append(f"A node cannot be named {name!r}.")
            return None
        if node.target_host is None:
            return None
        wrong = list(_problems(name, node))
        options: SshOptions = ()
        try:
            options = ssh_options(node.ssh_options)
        except ValueError as error:
            wrong.append(f"`deployment.sshOptions`: {error}")
        if wrong:
            self.problems += [f"node {name}: {one}." for one in wrong]
            return None
        command = node.privilege_escalation_command
        elevate = () if command == _SUDO or elevate_problem(command) else command
        return Instance(name=name, system=name, tags=node.tags, ssh=_ssh(name, node, options), elevate=elevate)

    def heed(self, name: str, node: NodeData, *, own: bool) -> None:
        """Note what becomes of each option that a node sets."""
        self._way(name, node)
        if node.build_on_target:
            self.heeding.honoured(
                "deployment.buildOnTarget", name, 'as `build = "instance"`; --build-on goes before it'
            )
        if not node.replace_unknown_profiles:
            self.heeding.ignored(
                "deployment.replaceUnknownProfiles",
                "what a host runs is replaced; `--refuse older` keeps what is newer",
                name,
            )
        if node.allow_local_deployment:
            self.heeding.ignored(
                "deployment.allowLocalDeployment", "each is reached over ssh, this machine as well", name
            )
        if node.keys:
            differs = "; units wait for them, other ones than colmena's, so the derivation differs" if own else ""
            keys = ", ".join(
                f"{key.path} ({key.user}:{key.group} {key.permissions}, {key.upload_at})" for key in node.keys.values()
            )
            self.heeding.ignored("deployment.keys", f"send them yourself{differs}: {keys}", name)

    def _way(self, name: str, node: NodeData) -> None:
        heeding = self.heeding
        if node.target_host is None:
            heeding.honoured("deployment.targetHost", name, "null: built, never deployed")
        elif node.target_host != name:
            heeding.honoured(
                "deployment.targetHost", name, "a `Host` of your ssh configuration may name it, or the node"
            )
        if node.target_port is not None:
            heeding.honoured("deployment.targetPort", name)
        if node.target_user != "root":
            heeding.honoured(
                "deployment.targetUser", name, "null: as ssh is configured" if node.target_user is None else ""
            )
            self._privilege(name, node.privilege_escalation_command)
        if node.tags:
            heeding.honoured("deployment.tags", name, "as a target, @TAG is written TAG")
        if node.ssh_options:
            heeding.honoured("deployment.sshOptions", name)

    def _privilege(self, name: str, command: tuple[str, ...]) -> None:
        attribute = "deployment.privilegeEscalationCommand"
        if command == _SUDO:
            self.heeding.honoured(attribute, name)
        elif why := elevate_problem(command):
            said = " ".join(command) or "no command"
            self.heeding.ignored(attribute, f"{said}: {why}; sudo -n is used", name)
        else:
            self.heeding.differently(attribute, "without a question, as `elevate` of ours", name)


def _problems(name: str, node: NodeData) -> Iterator[str]:
    """Yield what is wrong with the address of a node and its tags."""
    target = hostname_of(node.target_host or "")
    wrong = name_problem(name)
    if wrong:
        yield f"an instance cannot be named so: {wrong}"
    elif wrong := address_problem(name) if target == name else hostname_problem(target):
        yield f"`deployment.targetHost` is {node.target_host!r}: {wrong}"
    if node.target_port is not None and (wrong := port_problem(str(node.target_port))):
        yield f"`deployment.targetPort`: {wrong}"
    user = node.target_user or ""
    if node.target_user is not None and (breaks_line(user) or ssh_problem("user", user)):
        yield f"`deployment.targetUser` is {user!r}, which is no login"
    yield from (f"the tag {tag!r} holds a control character" for tag in node.tags if CONTROL.search(tag))


def _ssh(name: str, node: NodeData, options: SshOptions) -> SshOptions:
    """Return the options of an instance. Words for ssh go before where the node says it is, as on a command line."""
    own = {
        "Hostname": None if node.target_host in (name, None) else hostname_of(node.target_host),
        "Port": None if node.target_port is None else str(node.target_port),
        "User": node.target_user,
    }
    taken = {keyword.lower() for keyword, _ in options}
    said = ((keyword, (value,)) for keyword, value in own.items() if value is not None)
    return tuple(sorted([*options, *(one for one in said if one[0].lower() not in taken)]))
