"""A deployment in another format, written as one in ours: a `hive.nix`, or the output `nixhive` of its flake.

Instances are written out. Systems stay where they are, so that each is the derivation that it was: of a flake they are
its `nixosConfigurations`, as far as these are the same, and of a file they are made of the modules that are there.
"""

from __future__ import annotations

import json
import logging
import os
import re
from typing import TYPE_CHECKING, Any

from nixhive_nb.deployment.elevating import KINDS
from nixhive_nb.deployment.sources import flakes
from nixhive_nb.deployment.sources.flake import CONFIGURATIONS, DATA, FlakeSource
from nixhive_nb.deployment.sources.formats import GIVES_SSH_THE_ADDRESS
from nixhive_nb.deployment.sources.where import FlakePlace
from nixhive_nb.deployment.ways import option
from nixhive_nb.errors import OptionError
from nixhive_nb.util import process
from nixhive_nb.util.said import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Check, Heeded, Instance, Inventory
    from nixhive_nb.deployment.sources.source import Evaluation, Source

_log = logging.getLogger(__name__)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_KEYWORDS = frozenset(("assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"))
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._+/-]+")
_WIDTH = 100
_LONGEST = 500


def converted(source: Source, inventory: Inventory, how: Evaluation, folder: Path) -> str:
    """Return the text of a deployment in our format. `folder` is where it is to lie.

    Of a flake with other systems than its `nixosConfigurations`, the systems are evaluated, to see which are the same.
    Raises `OptionError` for a deployment that is in our format, and `DeploymentError`.
    """
    if source.format == "hive" or (source.format == "flake" and not inventory.heeded):
        raise OptionError(f"{inventory.source} is in our format already: there is nothing to convert.")
    place = getattr(source, "place", None)
    if isinstance(place, FlakePlace):
        lines = _flake(source, inventory, how, place)
    else:
        lines = [*_head(source, inventory), *_FILES[source.format](source, inventory, folder)]
    return "\n".join([*lines, ""])


def _flake(source: Source, inventory: Inventory, how: Evaluation, place: FlakePlace) -> list[str]:
    known = {name: name for name in inventory.systems}
    if source.format != "flake":
        known = _same_configurations(source, inventory, place, how)
    strange = [name for name in inventory.systems if name not in known]
    return [
        _title(source, inventory),
        f"# It is an output of the flake: write it to {DATA}.nix beside flake.nix, and among the outputs",
        f"#     {DATA} = import ./{DATA}.nix;",
        *_ssh_names(inventory),
        *_not_said(inventory.heeded),
        *_missing_configurations(source, strange),
        "{",
        *_indented(_attributes({"systems": builds} if (builds := _builds(inventory, known)) else {})),
        *_indented(_data(inventory, known)),
        "}",
    ]


def _missing_configurations(source: Source, strange: Sequence[str]) -> Iterator[str]:
    if not strange:
        return
    yield "#"
    yield f"# None of the {CONFIGURATIONS} has the derivation of these systems. Add them to the outputs:"
    if source.format == "colmena":
        yield "# (where there is no colmenaHive: colmenaHive = colmena.lib.makeHive self.outputs.colmena)"
    for name in strange:
        where = f"{CONFIGURATIONS}.{_name(name)}"
        if source.format == "colmena":
            yield f"#     {where} = self.colmenaHive.nodes.{_name(name)};"
        else:
            yield f"#     {where} = …;  # what its profile `system` is made of"


def _same_configurations(source: Source, inventory: Inventory, place: FlakePlace, how: Evaluation) -> dict[str, str]:
    """Return by system the configuration with the same derivation: that of its name, else the first."""
    names = list(inventory.systems)
    try:
        there, _ = flakes.evaluated(place, CONFIGURATIONS, "builtins.attrNames", how)
    except flakes.OutputMissing:
        _log.debug("%s has no %s", place.named, CONFIGURATIONS)
        return {}
    flake = FlakeSource(place, how)
    wanted = _derivations(source, inventory, names)
    own = _derivations(flake, inventory, [name for name in names if name in there])
    found = {name: name for name, derivation in own.items() if wanted.get(name) == derivation}
    left = [name for name in names if name in wanted and name not in found]
    if left:
        own |= _derivations(flake, inventory, [name for name in there if name not in own])
        by_derivation = {derivation: name for name, derivation in sorted(own.items(), reverse=True)}
        found |= {name: by_derivation[wanted[name]] for name in left if wanted[name] in by_derivation}
    return found


def _derivations(source: Source, inventory: Inventory, names: Sequence[str]) -> dict[str, str]:
    """Return the derivations of systems; those that cannot be evaluated are left out."""
    if not names:
        return {}
    finished = process.run(source.toplevels(inventory, names))
    if finished.status == 0:
        return {name: paths["derivation"] for name, paths in json.loads(finished.stdout).items()}
    if len(names) == 1:
        _log.warning("%s cannot be evaluated: %s", names[0], source.explained(finished.stderr))
        return {}
    return {name: path for one in names for name, path in _derivations(source, inventory, [one]).items()}


def _morph(source: Source, inventory: Inventory, folder: Path) -> list[str]:
    foreign = any(one.attribute == "network.evalConfig" for one in inventory.heeded)
    said = ["# `network.evalConfig` is not taken: systems are evaluated by that of `paths.nixpkgs`."] if foreign else []
    return [
        *said,
        "let",
        f"  file = {_path(source.path, folder)};",
        "  inherit (import file) network;",
        "",
        *_indented(_own("kind_of")),
        *_indented(_own("morph")),
        "in",
        "{",
        "  paths = if network ? pkgs then { nixpkgs = network.pkgs.path; } else { };",
        "  # Each is evaluated with the modules that it has there.",
        "  systems = builtins.mapAttrs",
        "    (_: arguments: {",
        "      configuration = { };",
        "      system = network.pkgs.stdenv.hostPlatform.system or builtins.currentSystem;",
        "      evalConfigArgs = arguments;",
        "    })",
        "    (morph { inherit file; kindOf = kind_of; arguments = true; });",
        *_indented(_data(inventory)),
        "}",
    ]


def _colmena(source: Source, inventory: Inventory, folder: Path) -> list[str]:
    builds = _builds(inventory)
    return [
        "let",
        f"  file = {_path(source.path, folder)};",
        "  hive = colmena { kindOf = kind_of; } (import file);",
        *_indented(_attributes({"builds": builds} if builds else {})),
        "",
        *_indented(_own("kind_of")),
        *_indented(_own("colmena")),
        "in",
        "{",
        "  # Each is evaluated with the modules that it has there.",
        "  systems = builtins.mapAttrs",
        "    (name: arguments: {",
        "      configuration = { };",
        "      inherit (arguments) system;",
        "      paths = hive.paths.${name};",
        "      evalConfigArgs = arguments;",
        *(["    } // builds.${name} or { })"] if builds else ["    })"]),
        "    hive.arguments;",
        *_indented(_data(inventory)),
        "}",
    ]


_FILES: dict[str, Callable[[Source, Inventory, Path], list[str]]] = {"colmena": _colmena, "morph": _morph}
"""What makes a file of a file, by its format."""


def _own(name: str) -> list[str]:
    """Return one of our expressions as a binding, below what is said at its head."""
    lines = flakes.own_file(name).read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return [*lines[:begin], f"{name} =", *_indented([*lines[begin:-1], f"{lines[-1]};"])]


def _title(source: Source, inventory: Inventory) -> str:
    name = one_line(inventory.source, _LONGEST)
    return f"# What `nix-hive convert` made of {name}, which is read as {source.format}."


def _head(source: Source, inventory: Inventory) -> list[str]:
    return [_title(source, inventory), *_ssh_names(inventory), *_not_said(inventory.heeded)]


def _ssh_names(inventory: Inventory) -> Iterator[str]:
    """Yield a comment where a `Host` of the user's own may be for the address of an instance."""
    addressed = any(option(one.ssh, "Hostname") for one in inventory.instances.values())
    if addressed and inventory.format in GIVES_SSH_THE_ADDRESS:
        yield "# ssh is given the names of instances now: a `Host` of yours that was for an address has to name those."


def _not_said(heeded: Iterable[Heeded]) -> Iterator[str]:
    """Yield comments for what means something else here, or nothing."""
    rest = [one for one in heeded if one.how != "honoured"]
    if rest:
        yield "#"
    for one in rest:
        whose = f" of {', '.join(one.of)}" if one.of else ""
        why = f" ({one.what})" if one.what else ""
        yield f"# {one_line(f'{one.attribute}{whose}: {one.how}{why}', _LONGEST)}"


def _data(inventory: Inventory, configurations: Mapping[str, str] | None = None) -> list[str]:
    """Return attributes of a deployment, all but `systems` and `paths`, as lines."""
    known = configurations or {}
    instances = {name: _instance(one, known.get(one.system, one.system)) for name, one in inventory.instances.items()}
    said: dict[str, Any] = {"instances": instances}
    if inventory.build_flags:
        said["nix"] = {"build": {"flags": inventory.build_flags}}
    if inventory.signing_key:
        said["signing"] = {"keyFile": inventory.signing_key}
    if inventory.refuse:
        said["refuse"] = inventory.refuse
    return _attributes(said)


def _builds(inventory: Inventory, configurations: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """Return where systems are built that are not built here; of one configuration, where all that it is say so."""
    places: dict[str, set[str]] = {}
    for name, system in inventory.systems.items():
        places.setdefault((configurations or {}).get(name, name), set()).add(system.build)
    return {name: {"build": where} for name, said in places.items() if len(said) == 1 and (where := next(iter(said)))}


def _instance(one: Instance, system: str) -> dict[str, Any]:
    said = {
        "system": system,
        "store": one.store,
        "tags": one.tags,
        "ssh": {name: values[0] if len(values) == 1 else values for name, values in one.ssh},
        "hostKeys": one.host_keys,
        "hostCAs": one.host_cas,
        "checks": {check.name: _check(check) for check in one.checks},
        "elevate": one.elevate[0] if len(one.elevate) == 1 and one.elevate[0] in KINDS else one.elevate,
        "carrier": one.carrier if one.carrier != "auto" else "",
    }
    return {name: value for name, value in said.items() if value}


def _check(check: Check) -> dict[str, Any]:
    forms: dict[str, dict[str, Any]] = {
        "command": {"command": check.command},
        "http": {"http": check.url, "expect": check.expect},
        "tcp": {"tcp": check.port},
        "units": {"units": True},
    }
    place = {"from": "here"} if check.here else {}
    hold = {"for": check.hold} if check.hold else {}
    about = {"description": check.description} if check.description else {}
    return {**forms[check.kind], **place, "period": check.period, "timeout": check.timeout, **hold, **about}


def _attributes(said: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in said.items():
        first, *rest = _value(value)
        lines += [f"{_name(name)} = {first}", *rest]
        lines[-1] += ";"
    return lines


def _value(value: Any) -> list[str]:  # noqa: ANN401 - of any depth
    """Return a value in Nix's language, as lines."""
    if isinstance(value, dict):
        inner = _attributes(value)
        line = " ".join(["{", *inner, "}"])
        is_short = len(line) <= _WIDTH and all(not isinstance(one, dict) for one in value.values())
        return [line] if is_short else ["{", *_indented(inner), "}"]
    if isinstance(value, tuple | list):
        inner = [line for item in value for line in _value(item)]
        line = " ".join(["[", *inner, "]"])
        return [line] if len(line) <= _WIDTH else ["[", *_indented(inner), "]"]
    if isinstance(value, str):
        return [flakes.nix_string(value)]
    if isinstance(value, float):
        return [str(int(value)) if value.is_integer() else f"{value:.9f}".rstrip("0")]
    return [json.dumps(value)]


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) and name not in _KEYWORDS else flakes.nix_string(name)


def _path(file: Path, folder: Path) -> str:
    """Return a path as it is written in a file of a folder."""
    relative = os.path.relpath(file, folder)
    if relative == ".":
        return "./."
    if _PLAIN_PATH.fullmatch(relative):
        return relative if relative.startswith("../") else f"./{relative}"
    return f"./. + {flakes.nix_string(f'/{relative}')}"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]
