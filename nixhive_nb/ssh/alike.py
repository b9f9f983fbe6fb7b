"""Which hosts OpenSSH's configuration tells the same of, but for their names and addresses: one of them is asked.

`ssh -G` reads the blocks of all hosts for each host. Where the options of two hosts are the same, and no line of the
user's own files can tell them apart, what it says of one is true of the other.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, NamedTuple

from nixhive_nb.ssh.config import host_key_alias
from nixhive_nb.ssh.own_files import ANY, is_met, is_plain, read_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Instance, Inventory
    from nixhive_nb.ssh.own_files import Line

_TELLS_APART = ("hostname", "canonicalizehostname", "canonicaldomains", "canonicalizemaxdots")
"""What may lead to another value for another name, of the hosts that it is about."""
_TOKENS_IN = ("controlpath",)
"""What may hold %-words, since connections of ours never use it."""
_ADDRESS = re.compile(r"[a-z0-9._:-]+", re.ASCII)
"""An address that stands in the answer of ssh as it stands in a block."""
_OWN = ("hostname", "hostkeyalias")


class Kin:
    """Hosts that are alike. Whoever holds the `lock` may ask for all of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answer = ""
        """What `ssh -G` says of one of them; empty as long as none was asked."""


class _Blocks(NamedTuple):
    """What the `Host` lines of configurations name."""

    hosts: tuple[str, ...]
    apart: set[str]
    """Those whose hosts are asked about themselves."""


class Alike:
    """Tells which instances are alike."""

    def __init__(self, inventory: Inventory, files: Sequence[Path]) -> None:
        """`files` are the configurations of the user and of the system."""
        self._instances = inventory.instances
        self._files = files
        self._lock = threading.Lock()
        self._blocks: _Blocks | None = None
        self._kin: dict[object, Kin] = {}
        self._is_plain = all(
            keyword.lower() not in ("match", "host", "include") and not keyword.lower().startswith("canonical")
            for instance in inventory.instances.values()
            for keyword, _ in instance.ssh
        )

    def again(self) -> None:
        """Forget what was said: the user's files may have been changed."""
        with self._lock:
            self._kin = {}
            self._blocks = None

    def kin(self, name: str) -> Kin | None:
        """Return those that are like a host; None for one that has to be asked about itself."""
        instance = self._instances.get(name)
        if instance is None or not self._is_plain or not _is_literal(instance):
            return None
        with self._lock:
            if self._blocks is None:
                self._blocks = _blocks(self._files)
            if any(is_met(patterns, name) for patterns in self._blocks.apart):
                return None
            # In their order, which is that in which keys are tried.
            rest = tuple((keyword.lower(), values) for keyword, values in instance.ssh if keyword.lower() not in _OWN)
            met = tuple(is_met(patterns, name) for patterns in self._blocks.hosts)
            # Without an alias of its own a host has that of the user's files, or none: then no line speaks of it.
            # Those with authorities have a file of known hosts for just these keys.
            keys = (instance.host_cas, instance.host_keys) if instance.host_cas else bool(instance.host_keys)
            return self._kin.setdefault((rest, keys, bool(_alias(instance)), met), Kin())

    def said_of(self, name: str, answer: str) -> str:
        """Return what `ssh -G` would say of a host, from what it said of one that is like it."""
        instance = self._instances[name]
        own = {"host": name, "hostname": _address(instance)}
        if alias := _alias(instance):
            own["hostkeyalias"] = alias
        lines = (line.partition(" ") for line in answer.splitlines())
        return "\n".join(f"{keyword} {own.get(keyword, value)}" for keyword, _, value in lines)


def _is_literal(instance: Instance) -> bool:
    """Return whether the options of an instance say nothing that ssh makes of its name."""
    if not _ADDRESS.fullmatch(_address(instance)):
        return False
    # An alias in a block may stand there, or come of the keys: in the answer it must be one of both.
    if (values := _values(instance, "hostkeyalias")) and len(values) > 1:
        return False
    return not any("%" in value for _, values in instance.ssh for value in values)


def _address(instance: Instance) -> str:
    return next(iter(_values(instance, "hostname")), "")


def _alias(instance: Instance) -> str:
    is_keyed = instance.host_keys or instance.host_cas
    return host_key_alias(instance) if is_keyed else next(iter(_values(instance, "hostkeyalias")), "")


def _values(instance: Instance, keyword: str) -> list[str]:
    return [value for name, values in instance.ssh if name.lower() == keyword for value in values]


def _blocks(files: Sequence[Path]) -> _Blocks:
    """Return what the `Host` lines of these files name, and which of these may say something else of each host."""
    lines = read_options(files)
    if lines is None:
        return _Blocks((), {ANY})
    return _Blocks(
        tuple(line.value for line in lines if line.keyword == "host"), {line.block for line in lines if _tells(line)}
    )


def _tells(line: Line) -> bool:
    """Return whether a line may say something else of each host that it is about."""
    if line.keyword == "host":
        return not is_plain(line.value)
    if line.keyword == "match":
        return line.value.lower() != "all"
    return line.keyword in _TELLS_APART or ("%" in line.value and line.keyword not in _TOKENS_IN)
