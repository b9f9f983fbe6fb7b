"""What `inventory.nix` gives, checked and turned into an `Inventory`.

Every mistake is collected, so that a person sees all of them at once, each with its file and line where Nix knows them.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.carrying import CARRIERS, carrier_of
from nixhive_nb.deployment.checks import merged, read_checks
from nixhive_nb.deployment.elevating import elevate_problem, text_problem
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.names import address_problem, name_problem, store_problem
from nixhive_nb.deployment.node import KINDS, Node, Plain
from nixhive_nb.deployment.plain import PlainReader
from nixhive_nb.deployment.refused import REFUSED
from nixhive_nb.deployment.stores import place_problem
from nixhive_nb.deployment.values import CONTROL, breaks_line, is_key_line, is_ssh_option, ssh_problem, ssh_text
from nixhive_nb.deployment.whole import look_at_whole
from nixhive_nb.errors import DeploymentError
from nixhive_nb.util.redaction import redact
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from nixhive_nb.deployment.carrying import Wanted
    from nixhive_nb.deployment.ways import SshOptions

_KNOWN = {
    "": ("paths", "systems", "instances", "nix", "signing", "refuse"),
    "system": ("configuration", "paths", "system", "evalConfigArgs", "build", "checks", "elevate"),
    "instance": ("system", "store", "tags", "ssh", "hostKeys", "hostCAs", "checks", "elevate", "carrier"),
    "nix": ("build",),
    "nix.build": ("flags",),
    "signing": ("keyFile",),
}
_KEY_FILES = {
    "hostKeys": "/etc/ssh/ssh_host_ed25519_key.pub on the host",
    "hostCAs": "the file with which host certificates are signed (`ssh-keygen -s FILE -h`), its `.pub`",
}
"""Where the keys of an attribute are found."""
_NOT_IN_PATHS = re.compile(r"[\s\x00-\x1f\x7f=]")


class Evaluated(msgspec.Struct, frozen=True):
    """All that `inventory.nix` gives."""

    platform: str
    deployment: Node
    required: tuple[str, ...] = ()
    """Arguments that the deployment, being a function, cannot do without."""
    names: tuple[str, ...] = ()
    """The names at its top."""
    network: tuple[str, ...] = ()
    """The names in its `network`, where another format has that."""
    nix: str = ""
    """The version of Nix."""


class PlacesWanted(Exception):  # noqa: N818 - named for what is to be done
    """Something is to be told of instances that came without their places: they have to be asked for."""


_NONE = Node("missing")


def read_inventory(answer: Evaluated, source: str, directory: Path) -> Inventory:
    """Return the inventory. `source` is the deployment as the user named it; files are named relative to `directory`.

    Raises `DeploymentError` with a line for each mistake; `PlacesWanted` instead, where the answer lacks places.
    """
    if answer.required:
        names = ", ".join(answer.required)
        raise DeploymentError(f"{source} is a function that needs {names}: give them defaults (`{names} ? …`).")
    if answer.deployment.type != "set":
        raise DeploymentError(f"{source} is {KINDS[answer.deployment.type]}, not an attribute set.")
    return _DeploymentReader(source, directory, answer.platform).inventory(answer.deployment)


class _DeploymentReader:
    """One pass over a deployment, which notes what is wrong with it and goes on."""

    def __init__(self, source: str, directory: Path, platform: str) -> None:
        self.source = source
        self.directory = directory
        self.platform = platform
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def inventory(self, top: Node) -> Inventory:
        self.warn_of_unknown(top, "", "")
        systems = {name: self.system(name, node) for name, node in self.table(top, "systems").items()}
        instances = self.table(top, "instances")
        plain = PlainReader(systems)
        has_plain = any(node.plain is not None for node in instances.values())
        found = Inventory(
            source=self.source,
            paths=self.paths(top, ""),
            systems=systems,
            instances={
                name: self.instance(name, node, systems)
                if node.plain is None
                else self.plain_instance(name, node, node.plain, plain, systems)
                for name, node in instances.items()
            },
            build_flags=self.build_flags(top),
            signing_key=self.signing_key(top),
            refuse=self.refuse(top),
        )
        problems, warnings = look_at_whole(found.instances)
        if has_plain and (problems or self.problems):
            raise PlacesWanted
        for name, option, text in problems:
            self.problem(_option_node(instances[name], option), text)
        if self.problems:
            # An unknown attribute is often the cause: `sytem`, and so no `system`.
            raise DeploymentError("\n".join([*self.problems, *self.warnings]))
        self.warnings += warnings
        self.warn_of_emptiness(found)
        return msgspec.structs.replace(found, warnings=tuple(map(redact, self.warnings)))

    def system(self, name: str, node: Node) -> System:
        of = f" of system {name}"
        if not name or CONTROL.search(name):
            self.problem(node, f"a system cannot be named {name!r}")
        members = self.members(node, f"system {name}")
        self.warn_of_unknown(node, of, "system")
        self.check_configuration(members.get("configuration", _NONE), name, node)
        platform = self.string(members, "system", of) or self.platform
        checks = read_checks(members.get("checks", _NONE), of, self.problem)
        return System(
            name=name,
            paths=self.paths(node, of),
            platform=platform,
            checks=checks,
            build=self.build_place(members, of),
            elevate=self.elevate(members, of),
        )

    def build_place(self, members: dict[str, Node], of: str) -> str:
        where = self.string(members, "build", of)
        wrong = place_problem(where) if where else ""
        if wrong:
            self.problem(members["build"], f"`build`{of} is {_shortened(redact(where))!r}: {wrong}")
        return where

    def instance(self, name: str, node: Node, systems: dict[str, System]) -> Instance:
        of = f" of instance {name}"
        has_address = any(option.lower() == "hostname" for option in node.members.get("ssh", _NONE).members)
        wrong = name_problem(name) or ("" if has_address else address_problem(name))
        if wrong:
            self.problem(node, f"an instance cannot be named {_shortened(name)!r}: {wrong}")
        members = self.members(node, f"instance {name}")
        self.warn_of_unknown(node, of, "instance")
        system = self.system_of(name, node, systems)
        of_system = systems[system].checks if system in systems else ()
        elevate_of_system = systems[system].elevate if system in systems else ()
        return Instance(
            name=name,
            system=system,
            store=self.store(members, of),
            tags=self.tags(members, of),
            ssh=self.ssh(node, name),
            host_keys=self.key_lines(members, "hostKeys", of),
            host_cas=self.key_lines(members, "hostCAs", of),
            checks=merged(of_system, members.get("checks", _NONE), of, self.problem),
            elevate=self.elevate(members, of) or elevate_of_system,
            carrier=self.carrier(members, of),
        )

    def plain_instance(
        self, name: str, node: Node, plain: Plain, reader: PlainReader, systems: dict[str, System]
    ) -> Instance:
        own = node.members.get("checks")
        of_system = systems[plain.system].checks if plain.system in systems else ()
        checks = None if own is None else merged(of_system, own, f" of instance {name}", self.problem)
        found = reader.instance(name, plain, checks)
        if found is None:
            raise PlacesWanted
        return found

    def check_configuration(self, node: Node, system: str, holder: Node) -> None:
        if node.type in ("lambda", "set", "path"):  # what NixOS takes as a module
            return
        if node.type == "missing":
            if holder.type == "set":
                self.problem(holder, f"system {system} has no `configuration`")
            return
        what = f"`configuration` of system {system} is {KINDS[node.type]}, not a module"
        self.problem(node, f"{what}; write a NixOS module: `{{ pkgs, ... }}: {{ … }}`")

    def system_of(self, instance: str, node: Node, systems: dict[str, System]) -> str:
        member = node.members.get("system", _NONE)
        if member.type == "missing":
            if node.type == "set":
                self.problem(node, f"instance {instance} has no `system`")
            return ""
        system = self.string(node.members, "system", f" of instance {instance}")
        if member.type == "string" and system not in systems:
            alike = near(system, systems)
            hint = f" Near: {', '.join(alike)}." if alike else ""
            self.problem(member, f"`system` of instance {instance} is '{system}', and no system has that name.{hint}")
        return system

    def ssh(self, node: Node, instance: str) -> SshOptions:
        options = []
        for name, value in self.table(node, "ssh", f" of instance {instance}").items():
            what = f"`ssh.{name}` of instance {instance}"
            if not is_ssh_option(name):
                self.problem(value, f"`ssh` of instance {instance} holds {name!r}, which is no option of a Host block")
                continue
            values = value.items if value.type == "list" else (value,)
            before = len(self.problems)
            written = tuple(self.ssh_value(item, value, what) for item in values)
            wrong = ((text, ssh_problem(name.lower(), text)) for text in written if len(self.problems) == before)
            for text, why in wrong:
                if why:
                    self.problem(value, f"{what} is {_shortened(text)!r}: {why}")
            if written:
                options.append((name, written))
        return tuple(options)

    def store(self, members: dict[str, Node], of: str) -> str:
        """Return the URL of a store, which may be missing. A wrong one is not shown: it may hold a password."""
        url = self.string(members, "store", of)
        wrong = store_problem(url)
        if wrong:
            self.problem(members["store"], f"`store`{of} cannot be reached by Nix: {wrong}")
        return url

    def ssh_value(self, node: Node, holder: Node, what: str) -> str:
        if node.type not in {"string", "int", "float", "bool"}:
            kinds = "a string, a number, a boolean or a list of these"
            self.problem(holder, f"{what} {_verb(node, holder)} {KINDS[node.type]}; write {kinds}")
            return ""
        text = ssh_text("" if node.value is None else node.value)
        if breaks_line(text):
            self.problem(holder, f"{what} holds a line break or another control character")
        return text

    def tags(self, members: dict[str, Node], of: str) -> tuple[str, ...]:
        found = self.strings(members, "tags", of, "tag")
        if any(CONTROL.search(tag) for tag in found):
            self.problem(members["tags"], f"`tags`{of} holds a tag with a line break or another control character")
        return found

    def key_lines(self, members: dict[str, Node], attribute: str, of: str) -> tuple[str, ...]:
        keys = tuple(key.strip() for key in self.strings(members, attribute, of, "key"))
        for key in keys:
            if not is_key_line(key):
                self.problem(
                    members[attribute],
                    f"`{attribute}`{of} holds {_shortened(key)!r}, which is not a public key; write the line of "
                    f"{_KEY_FILES[attribute]} (`ssh-ed25519 AAAA…`)",
                )
        return keys

    def elevate(self, members: dict[str, Node], of: str) -> tuple[str, ...]:
        """Return how a login becomes root; empty where that is not said."""
        node = members.get("elevate", _NONE)
        if node.type == "missing":
            return ()
        if node.type == "list":
            words = self.strings(members, "elevate", of, "word")
            wrong = elevate_problem(words) if all(item.type == "string" for item in node.items) else ""
        else:
            words = (str(node.value),) if node.type == "string" else ()
            wrong = text_problem(*words) if words else text_problem("")
        if wrong:
            what = _shortened(shlex.join(words)) if words else KINDS[node.type]
            self.problem(node, f"`elevate`{of} is {what}: {wrong}")
        return words

    def carrier(self, members: dict[str, Node], of: str) -> Wanted:
        """Return what carries the commands of an instance; `auto` where that is not said."""
        text = self.string(members, "carrier", of)
        node = members.get("carrier", _NONE)
        said = carrier_of(text) if node.type == "string" else "auto"
        if said is None:
            known = ", ".join(f'"{one}"' for one in CARRIERS)
            self.problem(node, f"`carrier`{of} is {_shortened(text)!r}; write {known}")
        return said or "auto"

    def signing_key(self, top: Node) -> str | None:
        node = self.group(top, "signing", "", "signing").get("keyFile", _NONE)
        what = "`keyFile` of `signing`"
        if node.type == "missing":
            return None
        if node.type == "path":
            self.problem(
                node, f"{what} is a path, which Nix may copy into the store, where everyone can read it; write a string"
            )
        elif node.type != "string" or not node.value:
            self.problem(node, f"{what} is {'empty' if node.value == '' else KINDS[node.type]}; write a file name")
        elif str(node.value).startswith("/nix/store/"):
            self.problem(node, f"{what} is in the store, where everyone can read it; keep the key elsewhere")
        return str(node.value)

    def refuse(self, top: Node) -> tuple[str, ...]:
        words = self.strings(top.members, "refuse", "", "word")
        for word in words:
            if word not in REFUSED:
                self.problem(
                    top.members["refuse"], f"`refuse` holds {_shortened(word)!r}; it may hold {', '.join(REFUSED)}"
                )
        return words

    def build_flags(self, top: Node) -> tuple[str, ...]:
        nix = self.group(top, "nix", "", "nix")
        holder = Node("set", members=nix)
        return self.strings(self.group(holder, "build", " of `nix`", "nix.build"), "flags", " of `nix.build`", "flag")

    def paths(self, holder: Node, of: str) -> tuple[str, ...]:
        found = []
        for name, node in self.table(holder, "paths", of).items():
            what = f"`paths.{name}`{of}"
            if not name or _NOT_IN_PATHS.search(name):
                self.problem(node, f"`paths`{of} cannot hold the name {name!r}")
            elif node.type not in {"string", "path"}:
                self.problem(node, f"{what} is {KINDS[node.type]}; write a path, a store path or a URL")
            elif not node.value:
                self.problem(node, f"{what} is empty; write a path, a store path or a URL")
            else:
                found.append(f"{name}={node.value}")
        return tuple(found)

    def string(self, members: dict[str, Node], name: str, of: str) -> str:
        """Return a string that may be missing; then it is empty."""
        node = members.get(name, _NONE)
        if node.type == "missing":
            return ""
        if node.type != "string":
            self.problem(node, f"`{name}`{of} is {KINDS[node.type]}, not a string")
        return str(node.value)

    def strings(self, members: dict[str, Node], name: str, of: str, noun: str) -> tuple[str, ...]:
        """Return a list of strings that may be missing; then it is empty."""
        node = members.get(name, _NONE)
        if node.type not in {"missing", "list"}:
            self.problem(node, f"`{name}`{of} is {KINDS[node.type]}; write a list of strings")
        for item in node.items:
            if item.type != "string":
                self.problem(node, f"`{name}`{of} holds a {noun} that is not a string but {KINDS[item.type]}")
        return tuple(str(item.value) for item in node.items)

    def table(self, holder: Node, name: str, of: str = "") -> dict[str, Node]:
        """Return the members of a set that may be missing; then there are none."""
        node = holder.members.get(name, _NONE)
        return {} if node.type == "missing" else dict(sorted(self.members(node, f"`{name}`{of}").items()))

    def group(self, holder: Node, name: str, of: str, level: str) -> dict[str, Node]:
        """Return the members of a set with known names."""
        self.warn_of_unknown(holder.members.get(name, _NONE), f" of `{level}`", level)
        return self.table(holder, name, of)

    def members(self, node: Node, what: str) -> dict[str, Node]:
        if node.type != "set":
            self.problem(node, f"{what} is {KINDS[node.type]}, not an attribute set")
        return node.members

    def warn_of_unknown(self, node: Node, of: str, level: str) -> None:
        for name, member in node.members.items():
            if name in _KNOWN[level]:
                continue
            place = self.place(member)
            what = f"`{name}`{of}" + (f" ({place})" if place else "")
            alike = near(name, _KNOWN[level])
            hint = f": did you mean `{alike[0]}`?" if alike else " is not known, and has no effect."
            self.warnings.append(what + hint)

    def warn_of_emptiness(self, found: Inventory) -> None:
        missing = [kind for kind in ("systems", "instances") if not getattr(found, kind)]
        if missing:
            self.warnings.append(f"{self.source} has no {' and no '.join(missing)}.")

    def problem(self, node: Node, text: str) -> None:
        place = self.place(node)
        end = "" if text.endswith((".", "?")) else "."
        self.problems.append(f"{place}: {text}{end}" if place else f"{text}{end}")

    def place(self, node: Node) -> str:
        """Return `FILE:LINE`, or nothing where Nix does not know it."""
        if node.at is None:
            return ""
        file, line = node.at
        for directory in (self.directory, self.directory.resolve()):
            if Path(file).is_relative_to(directory):
                return f"{Path(file).relative_to(directory)}:{line}"
        return f"{file}:{line}"


def _option_node(instance: Node, option: str) -> Node:
    """Return the node of the store or of an ssh option of an instance, or the nearest one that has a place."""
    if option == "store" and option in instance.members:
        return instance.members[option]
    options = instance.members.get("ssh", _NONE)
    found = next((node for name, node in options.members.items() if name.lower() == option.lower()), _NONE)
    return next((node for node in (found, options, instance) if node.at), instance)


def _verb(node: Node, holder: Node) -> str:
    return "is" if node is holder else "holds"


def _shortened(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
