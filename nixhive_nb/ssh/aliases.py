"""Addresses that are names in the user's own ssh configuration: `Host web` there, and a node whose `targetHost` is web.

The tools of these formats give ssh the address as it is, so that it reads the block of that name. We give it the name
of the node. So what such a block says is asked of ssh, and stands in the node's own block, behind what the node says.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.sources.formats import GIVES_SSH_THE_ADDRESS
from nixhive_nb.deployment.ways import expanded, hostname_of, option
from nixhive_nb.errors import HiveError
from nixhive_nb.ssh.config import default_user_files, include_lines
from nixhive_nb.ssh.own_files import is_met, read_options
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Instance, Inventory

_log = logging.getLogger(__name__)
_AT_ONCE = 8
_SECONDS = 20
_NOBODY = "nixhive-nobody.invalid"
"""A name that no block is for: what ssh says of it holds for all hosts."""
_FILES = ("identityfile", "certificatefile", "identityagent", "pkcs11provider", "securitykeyprovider")
"""Keywords with one file for a value, which may have blanks in its name."""
_WAYS = ("proxyjump", "proxycommand")
"""Of these ssh says nothing where there is none."""
_TAKEN = {
    *(*_FILES, *_WAYS, "hostname", "port", "user", "identitiesonly", "hostkeyalias", "userknownhostsfile"),
    *("globalknownhostsfile", "knownhostscommand", "stricthostkeychecking", "checkhostip", "verifyhostkeydns"),
    *("nohostauthenticationforlocalhost", "addressfamily", "bindaddress", "bindinterface", "connecttimeout"),
    *("connectionattempts", "ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "casignaturealgorithms"),
    *("pubkeyacceptedalgorithms", "preferredauthentications", "pubkeyauthentication", "passwordauthentication"),
    *("kbdinteractiveauthentication", "gssapiauthentication", "hostbasedauthentication", "requiredrsasize"),
    *("compression", "serveraliveinterval", "serveralivecountmax", "tcpkeepalive", "ipqos", "rekeylimit"),
    *("forwardagent", "enablesshkeysign"),
}
"""What decides how a host is reached, and who logs in there. The rest is between a person and their terminal."""


def with_aliases(inventory: Inventory, folder: Path, files: Sequence[Path] | None = None) -> Inventory:
    """Return a deployment whose instances have what the user's configuration says of their addresses.

    `files` are the configurations of the user and of the system; `folder` is for a file of ours.
    """
    files = default_user_files() if files is None else files
    met = _met(inventory, files)
    if not met:
        return inventory
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = folder / "aliases"
    config.write_text("\n".join([*include_lines(files), ""]), encoding="utf-8")
    names = [_NOBODY, *dict.fromkeys(met.values())]
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="hive-aliases") as pool:
        said = dict(zip(names, pool.map(lambda name: _said(config, name), names), strict=True))
    filled = {name: _filled(inventory.instances[name], said[alias], said[_NOBODY]) for name, alias in met.items()}
    return msgspec.structs.replace(inventory, instances={**inventory.instances, **filled})


def stamp(inventory: Inventory) -> tuple[object, ...]:
    """Return what changes with the user's files, of a deployment that they may be asked for."""
    if inventory.format not in GIVES_SSH_THE_ADDRESS:
        return ()
    found = (file.stat() for file in default_user_files())
    return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def _met(inventory: Inventory, files: Sequence[Path]) -> Mapping[str, str]:
    """Return the addresses, by instance, that blocks of the user's files are for, or may be."""
    if inventory.format not in GIVES_SSH_THE_ADDRESS or not files:
        return {}
    addresses = {name: expanded(option(one.ssh, "Hostname"), name) for name, one in inventory.instances.items()}
    addresses = {name: address for name, address in addresses.items() if address and address != name}
    lines = read_options(files)
    if lines is None or any(line.keyword == "match" and line.value.lower() != "all" for line in lines):
        return addresses
    blocks = [line.value for line in lines if line.keyword == "host"]
    return {name: address for name, address in addresses.items() if _is_named(address, blocks)}


def _is_named(address: str, blocks: Collection[str]) -> bool:
    return any(is_met(block, address) and not is_met(block, _NOBODY) for block in blocks)


def _said(config: Path, name: str) -> dict[str, list[str]]:
    """Return what ssh says of a host, by keyword; empty where it cannot read the files, which whoever connects sees."""
    try:
        done = process.run(["ssh", "-F", str(config), "-G", "--", name], timeout=_SECONDS)
    except HiveError:
        _log.debug("asking ssh about %s", name, exc_info=True)
        return {}
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines() if not done.status else ():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword.lower(), []).append(value)
    return found


def _filled(instance: Instance, alias: Mapping[str, Sequence[str]], usual: Mapping[str, Sequence[str]]) -> Instance:
    """Return an instance with what is said of its address and of no other one; what it says itself goes before."""
    if not alias or not usual:
        return instance
    # Without a Hostname ssh says the name that it was asked about.
    more = {
        keyword: values for keyword, values in alias.items() if keyword in _TAKEN and values != usual.get(keyword, ())
    }
    more |= {keyword: ["none"] for keyword in _WAYS if keyword in usual and not alias.keys() & set(_WAYS)}
    own = {keyword.lower() for keyword, _ in instance.ssh}
    hostname = more.pop("hostname", ())
    kept = [
        (
            keyword,
            tuple(map(hostname_of, hostname))
            if keyword.lower() == "hostname" and hostname
            else (*values, *_keys(keyword, more)),
        )
        for keyword, values in instance.ssh
    ]
    new = [(keyword, tuple(_quoted(keyword, values))) for keyword, values in more.items() if keyword not in own]
    if own & set(_WAYS):  # the one keeps ssh from the other
        new = [one for one in new if one[0] not in _WAYS]
    return msgspec.structs.replace(instance, ssh=(*kept, *new))


def _keys(keyword: str, more: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Return the keys that are tried after those of an instance: of all else ssh takes what it meets first."""
    name = keyword.lower()
    return _quoted(name, more.get(name, ())) if name in ("identityfile", "certificatefile") else ()


def _quoted(keyword: str, values: Iterable[str]) -> Iterable[str]:
    return (f'"{value}"' if keyword in _FILES and " " in value else value for value in values)
