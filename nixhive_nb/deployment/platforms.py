"""Whether this machine can build for the platforms of a deployment."""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixhive_nb.deployment.nix_errors import explain
from nixhive_nb.deployment.stores import shown_store
from nixhive_nb.errors import DeploymentError, NixError
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nixhive_nb.deployment.inventory import Inventory

_log = logging.getLogger(__name__)

_COMMANDS = (("show-config",), ("config", "show"))
"""How Nix is asked: every version so far knows the first, which is an old name of the second since Nix 2.20."""
_NOT_KNOWN = "is not a recognised command"


def check_platforms(inventory: Inventory, systems: Iterable[str]) -> None:
    """Make sure that the named systems can be built: by this machine, or by a builder that is configured.

    What a builder can build, Nix alone knows: any builder is taken for able. Flags of the deployment
    (`nix.build.flags`) count like settings of Nix. Raises `DeploymentError`, one line for each system.
    """
    known = {name: inventory.systems[name].platform for name in systems}
    wanted = {name: platform for name, platform in known.items() if platform}
    if set(wanted.values()) <= {inventory.machine}:  # as nearly always: Nix need not be asked for all its settings
        return
    flags = _settings_in(inventory.build_flags)
    settings = nix_settings()
    able = own_platforms(inventory)
    if (
        set(wanted.values()) <= able
        or "store" in flags
        or _has_builder(flags.get("builders", settings.get("builders", "")))
    ):
        return
    lines = [
        f"System {name} is for {platform}, and this machine builds {', '.join(sorted(able))}."
        for name, platform in wanted.items()
        if platform not in able
    ]
    advice = 'Name a builder in `nix.build.flags` ([ "--builders" "ssh://HOST PLATFORM" ]) or in /etc/nix/machines.'
    raise DeploymentError("\n".join([*lines, advice]))


def build_places(inventory: Inventory, platforms: Iterable[str]) -> dict[str, str]:
    """Return where each platform is built: `here`, `builder URI`, or `store URI` of a flag; empty where nowhere.

    Raises `NixError` and `MissingProgram` as `nix_settings`.
    """
    flags, settings = _settings_in(inventory.build_flags), nix_settings()
    able = own_platforms(inventory)
    builders = flags.get("builders", settings.get("builders", ""))
    remote = {platform: uri for uri, platform in _built_by(builders, str(settings.get("system", "")))}
    elsewhere = f"store {shown_store(flags['store'])}" if "store" in flags else ""

    def place(platform: str) -> str:
        if elsewhere or platform in able:
            return elsewhere or "here"
        return f"builder {shown_store(remote[platform])}" if platform in remote else ""

    return {platform: place(platform) for platform in platforms}


def own_platforms(inventory: Inventory) -> set[str]:
    """Return the platforms that this machine builds itself. Raises as `nix_settings`."""
    return _platforms(nix_settings()) | _platforms(_settings_in(inventory.build_flags))


def _built_by(builders: str, system: str) -> Iterator[tuple[str, str]]:
    """Yield each builder of a value of the setting `builders` with each platform that it is said to build."""
    for entry in builders.replace("\n", ";").split(";"):
        words = entry.split()
        if words and words[0].startswith("@"):
            yield from _built_by(_machines(words[0][1:]), system)
        elif words:
            named = words[1] if len(words) > 1 and words[1] != "-" else system
            yield from ((words[0], platform) for platform in named.split(","))


@functools.cache
def nix_settings() -> dict[str, Any]:
    """Return the settings of Nix on this machine by name; read once in a process (`nix_settings.cache_clear()`).

    Raises `NixError` when Nix does not tell them, and `MissingProgram`.
    """
    said = ""
    for command in _COMMANDS:
        finished = process.run(["nix", "--extra-experimental-features", "nix-command", *command, "--json"])
        if finished.status == 0:
            return {name: setting["value"] for name, setting in json.loads(finished.stdout).items()}
        if not said or _NOT_KNOWN in said:
            said = finished.stderr
    raise NixError(f"Nix does not tell its settings: {explain(said)}")


def _settings_in(flags: Iterable[str]) -> dict[str, str]:
    """Return the settings among command line flags: `--NAME VALUE` and `--option NAME VALUE`."""
    words = list(flags)
    settings = {}
    for index, word in enumerate(words):
        values = words[index + 1 : index + 3]
        if word == "--option" and len(values) > 1:
            settings[values[0]] = values[1]
        elif word.startswith("--") and values:
            settings[word[2:]] = values[0]
    return settings


def _platforms(settings: Mapping[str, Any]) -> set[str]:
    extra = settings.get("extra-platforms", [])
    return {*filter(None, [settings.get("system")]), *(extra.split() if isinstance(extra, str) else extra)}


def _has_builder(builders: str) -> bool:
    """Return whether a value of the setting `builders` names one, there or in a file that it refers to (`@FILE`)."""
    entries = [entry.strip() for entry in builders.replace("\n", ";").split(";")]
    return any(_has_builder(_machines(entry[1:])) if entry.startswith("@") else entry for entry in entries)


def _machines(file: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        _log.debug("cannot read %s", file, exc_info=True)
        return ""
    return ";".join(line.partition("#")[0] for line in lines if not line.startswith("@"))
