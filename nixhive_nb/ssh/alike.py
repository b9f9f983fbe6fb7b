"""Which hosts OpenSSH's configuration tells the same of, but for their names and addresses: one of them is asked.

`ssh -G` reads the blocks of all hosts for each host. Where the options of two hosts are the same, and no line of the
user's own files can tell them apart, what it says of one is true of the other.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from nixhive_nb.ssh.config import host_key_alias
from nixhive_nb.ssh.own_files import read_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Instance, Inventory

_TELLS_APART = ("match", "include", "hostname", "canonicalizehostname", "canonicaldomains", "canonicalizemaxdots")
"""What may lead to another value for another name, when it stands where we do not look closely."""
_TOKENS_IN = ("controlpath",)
"""What may hold %-words, since connections of ours never use it."""
_PLAIN_PATTERNS = re.compile(r"[^#\"\\,]*")
_ADDRESS = re.compile(r"[a-z0-9._:-]+", re.ASCII)
"""An address that stands in the answer of ssh as it stands in a block."""
_OWN = ("hostname", "hostkeyalias")


class Kin:
    """Hosts that are alike. Whoever holds the `lock` may ask for all of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answer = ""
        """What `ssh -G` says of one of them; empty as long as none was asked."""


class Alike:
    """Tells which instances are alike."""

    def __init__(self, inventory: Inventory, files: Sequence[Path]) -> None:
        """`files` are the configurations of the user and of the system."""
        self._instances = inventory.instances
        self._files = files
        self._lock = threading.Lock()
        self._hosts: list[str] | None = None
        self._is_read = False
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
            self._is_read = False

    def kin(self, name: str) -> Kin | None:
        """Return those that are like a host; None for one that has to be asked about itself."""
        instance = self._instances.get(name)
        if instance is None or not self._is_plain or not _is_literal(instance):
            return None
        with self._lock:
            if not self._is_read:
                self._hosts, self._is_read = _host_lines(self._files), True
            if self._hosts is None:
                return None
            # In their order, which is that in which keys are tried.
            rest = tuple((keyword.lower(), values) for keyword, values in instance.ssh if keyword.lower() not in _OWN)
            met = tuple(is_met(patterns, name) for patterns in self._hosts)
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


def _host_lines(files: Sequence[Path]) -> list[str] | None:
    """Return what the `Host` lines of these files name; None where more than these may tell two hosts apart."""
    options = read_options(files)
    if options is None:
        return None
    for keyword, value in options:
        if keyword == "match" and value.lower() == "all":
            continue
        if keyword in _TELLS_APART and keyword != "include":  # what that names is among them
            return None
        if "%" in value and keyword not in _TOKENS_IN:
            return None
        # Words behind a # or in quotes are other patterns to ssh than they seem to be here.
        if keyword == "host" and not _PLAIN_PATTERNS.fullmatch(value):
            return None
    return [value for keyword, value in options if keyword == "host"]


def is_met(patterns: str, name: str) -> bool:
    """Return whether a `Host` line is about a host: one of its patterns fits, and none with a `!` before it."""
    words = patterns.split()
    if any(_fits(word[1:], name) for word in words if word.startswith("!")):
        return False
    return any(_fits(word, name) for word in words if not word.startswith("!"))


def _fits(pattern: str, name: str) -> bool:
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), name))
