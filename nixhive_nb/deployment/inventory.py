"""The values that a deployment evaluates to."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import msgspec

from nixhive_nb.deployment.carrying import Wanted
from nixhive_nb.deployment.stores import shown_store
from nixhive_nb.deployment.ways import SshOptions, own_jumps
from nixhive_nb.util.redaction import redact, redact_each


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """How to see that an instance does its work. Durations are seconds."""

    name: str
    kind: Literal["command", "http", "tcp", "units"]
    command: tuple[str, ...] = ()
    """For `command`: the program and its arguments, run on the instance."""
    url: str = ""
    expect: int = 200
    """For `http`: the status that the answer must have."""
    port: int = 0
    """For `tcp`: where something must listen."""
    here: bool = False
    """For `http` and `tcp`: connect from this machine; otherwise the instance connects."""
    period: float = 2.0
    """The pause between two tries."""
    timeout: float = 10.0
    """How long the check may be tried before it has failed."""
    hold: float = 0.0
    """How long it must go on to hold, from the try at which it does; in a deployment this is `for`."""
    description: str = ""


class System(msgspec.Struct, frozen=True, kw_only=True):
    """A NixOS configuration that instances run. It is built once, whatever their number."""

    name: str
    paths: tuple[str, ...] = ()
    """Include paths of this system alone, `NAME=VALUE`, in the order of their names."""
    platform: str
    """What the system is built for, such as `x86_64-linux`; empty where only its evaluation would tell."""
    checks: tuple[Check, ...] = ()
    build: str = ""
    """Where a push or a deploy builds it: `here` (also if empty), `instance`, `relay`, or the URL of a store."""
    elevate: tuple[str, ...] = ()
    """How logins of its instances become root, for those that do not say it."""


class Instance(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A host that runs a system."""

    name: str
    system: str
    store: str = ""
    """URL of the store that must have the system before the instance fetches it; empty for none."""
    tags: tuple[str, ...] = ()
    ssh: SshOptions = ()
    jumps: tuple[str, ...] | None = None
    """The hosts on the way to it, as OpenSSH reads the deployment and the user's own configuration; an instance among
    them by its name. None where that was not asked."""
    host_keys: tuple[str, ...] = ()
    """Public key lines (`ssh-ed25519 AAAA…`) that the host may show."""
    host_cas: tuple[str, ...] = ()
    """Public key lines of the authorities that may vouch for its key by a certificate."""
    checks: tuple[Check, ...] = ()
    """Those of its system and its own, by name; of two with one name its own is taken."""
    elevate: tuple[str, ...] = ()
    """How a login becomes root, its own words or those of its system: see `elevating`. Empty where nothing is said."""
    carrier: Wanted = "auto"
    """What carries its commands."""

    @cached_property
    def hops(self) -> tuple[str, ...]:
        """The hosts on the way to it, in the order in which they are passed.

        As OpenSSH was found to read it; where it was not asked, those that the deployment names for this instance.
        """
        # Each step on it counts against limits of these: a plan asks several times.
        return own_jumps(self.ssh) if self.jumps is None else self.jumps

    def __repr__(self) -> str:
        return redact(super().__repr__())


class Heeded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of something that a deployment in another format says."""

    attribute: str
    """As it is written there, such as `deployment.buildOnTarget`."""
    how: Literal["honoured", "honoured differently", "not honoured"]
    what: str = ""
    """What is done instead, or why nothing is; empty where nothing is to be said."""
    of: tuple[str, ...] = ()
    """The nodes that say it; empty for what is said of all at once."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluated deployment. Names are in alphabetical order in both mappings."""

    source: str
    """The path that was loaded, as the user wrote it."""
    systems: dict[str, System] = {}
    instances: dict[str, Instance] = {}
    paths: tuple[str, ...] = ()
    build_flags: tuple[str, ...] = ()
    signing_key: str | None = None
    """Path of the Nix secret key that closures are signed with before they leave."""
    refuse: tuple[str, ...] = ()
    """What a deploy is refused for: see `plan.guards`."""
    warnings: tuple[str, ...] = ()
    format: str = "hive"
    """The format that it was read from; see `sources`."""
    heeded: tuple[Heeded, ...] = ()
    """What became of each thing that a deployment in another format says."""
    machine: str = ""
    """The platform of this machine; empty where the evaluation has not told it."""
    nix: str = ""
    """The version of Nix on this machine; empty where the evaluation has not told it."""

    def __repr__(self) -> str:
        return redact(super().__repr__())

    def include_paths(self, system: str) -> tuple[str, ...]:
        """Return the `NAME=VALUE` include paths of a system, its own first: in Nix the first of a name wins."""
        return self.systems[system].paths + self.paths

    def ssh_text(self) -> str:
        """Return the `ssh_config` text of the deployment: a `Host` block per instance that has options."""
        blocks = []
        for instance in self.instances.values():
            if instance.ssh:
                lines = [f"  {name} {value}" for name, values in instance.ssh for value in values]
                blocks.append("\n".join([f"Host {instance.name}", *lines, ""]))
        return "".join(blocks)

    def to_json(self, results: dict[str, tuple[str, str]] | None = None) -> dict[str, Any]:
        """Return the inventory object that `build` prints, without secrets in the URLs of stores and in flags.

        `results` holds (result, derivation) by system, empty strings where unknown. Keys are those of Nix-Hive;
        `checks`, `hostKeys`, `hostCAs`, `elevate` and `carrier` of an instance, `signing` and `refuse` are ours, and
        there only where they are used.
        """
        known = results or {}
        document: dict[str, Any] = {
            "nix": {"build": {"flags": redact_each(self.build_flags)} if self.build_flags else {}},
            "paths": list(self.paths),
            "systems": {
                name: _system_json(system, *known.get(name, ("", ""))) for name, system in self.systems.items()
            },
            "ssh": self.ssh_text(),
            "instances": {name: _instance_json(instance) for name, instance in self.instances.items()},
        }
        if not self.paths:
            del document["paths"]
        if self.signing_key:
            document["signing"] = {"keyFile": self.signing_key}
        if self.refuse:
            document["refuse"] = list(self.refuse)
        return document


def _present(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - values of a JSON object
    return {name: value for name, value in fields.items() if value}


def _system_json(system: System, result: str, derivation: str) -> dict[str, Any]:
    return _present(paths=list(system.paths), build=system.build, result=result, derivation=derivation)


def _instance_json(instance: Instance) -> dict[str, Any]:
    return {
        "system": instance.system,
        **_present(
            store=shown_store(instance.store),
            tags=list(instance.tags),
            hostKeys=list(instance.host_keys),
            hostCAs=list(instance.host_cas),
            checks={check.name: _check_json(check) for check in instance.checks},
            elevate=redact_each(instance.elevate),
            carrier=instance.carrier if instance.carrier != "auto" else "",
        ),
    }


def _check_json(check: Check) -> dict[str, Any]:
    forms: dict[str, Any] = {
        "command": {"command": redact_each(check.command)},
        "http": {"http": redact(check.url), "expect": check.expect},
        "tcp": {"tcp": check.port},
        "units": {"units": True},
    }
    place = {"from": "here" if check.here else "instance"} if check.kind in ("http", "tcp") else {}
    times = {"period": check.period, "timeout": check.timeout, **_present(**{"for": check.hold})}
    return {**forms[check.kind], **place, **times, **_present(description=check.description)}
