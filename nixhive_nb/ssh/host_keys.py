"""Which keys a host may show, and what to say when it shows another one.

The deployment's keys are the only authority for an instance that has some. For the others it is the user's known_hosts
files, read the way OpenSSH reads them. paramiko's own `HostKeys` keeps one key a type, loses a whole file over a
`@cert-authority` line and knows no aliases, so that it is not used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
from typing import TYPE_CHECKING

import msgspec
import paramiko

from nixhive_nb.errors import HostKeyError
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from nixhive_nb.ssh.resolve import SshTarget

_log = logging.getLogger(__name__)

_SSH_PORT = 22
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


class HostKey(msgspec.Struct, frozen=True):
    """A public key of a host."""

    kind: str
    """Such as `ssh-ed25519`."""
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` as OpenSSH shows it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


class HostKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the keys of one host."""

    accepted: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()
    authorities: int = 0
    """How many `@cert-authority` lines stand for the host; Fabric knows none of them."""
    from_deployment: bool = False

    @property
    def origin(self) -> str:
        """Who says so, for the log."""
        return "the deployment" if self.from_deployment else "known_hosts"

    @property
    def algorithms(self) -> list[str]:
        """The algorithms to ask for first, so that the host shows a key that we know."""
        return [name for key in self.accepted for name in _ALGORITHMS.get(key.kind, (key.kind,))]


class CheckKey(paramiko.MissingHostKeyPolicy):
    """Refuses a key that is not accepted. paramiko asks it after the key exchange, before any login is tried."""

    def __init__(self, target: SshTarget, known: HostKeys, passed: Callable[[], None]) -> None:
        """Take what to call when the key is right (`passed`)."""
        self._target = target
        self._known = known
        self._passed = passed

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002 - paramiko's way
        """Raise `HostKeyError` unless the key is one of those that we know."""
        check(self._target, self._known, HostKey(key.get_name(), key.asbytes()))
        self._passed()


def parse_key(line: str) -> HostKey | None:
    """Return the key of a line `KIND BASE64 [COMMENT]`; None for another line."""
    words = line.split()
    try:
        return HostKey(words[0], base64.b64decode(words[1], validate=True))
    except (IndexError, binascii.Error, ValueError):
        return None


def deployment_keys(lines: Iterable[str]) -> HostKeys:
    """Return what a deployment says with `hostKeys`."""
    keys = tuple(key for key in map(parse_key, lines) if key is not None)
    return HostKeys(accepted=keys, from_deployment=True)


def known_hosts_keys(target: SshTarget) -> HostKeys:
    """Look a host up in the known_hosts files that its configuration names, hashed entries included."""
    files = [path for path in target.known_hosts if os.path.isfile(path)]  # noqa: PTH113 - pathlib fails for a name that cannot be
    for name in _names(target):
        found = _parse(line for path in files for line in _lookup(name, path))
        if found.accepted or found.revoked or found.authorities:
            return found
    return HostKeys()


def check(target: SshTarget, known: HostKeys, shown: HostKey) -> None:
    """Raise `HostKeyError`, with what to do about it, unless `shown` is one of the accepted keys."""
    if shown in known.revoked:
        raise HostKeyError(f"host key {_describe(target, shown)}, which is marked as revoked. Nothing was sent.")
    if shown in known.accepted:
        _log.debug("%s: host key %s (%s), as %s says", target, shown.fingerprint, shown.kind, known.origin)
        return
    _log.info("%s: host key %s (%s) is not that of %s", target, shown.fingerprint, shown.kind, known.origin)
    if known.from_deployment:
        raise HostKeyError(
            f"host key {_describe(target, shown)}, the deployment says {_fingerprints(known.accepted, shown)}. "
            f"Nothing was sent. If the host was reinstalled, put the new key into "
            f'instances.{target.name}.hostKeys: "{shown}"'
        )
    if known.accepted:
        raise HostKeyError(
            f"host key {_describe(target, shown)}, known_hosts says {_fingerprints(known.accepted, shown)}. "
            f"Nothing was sent. If the host was reinstalled, remove the old key with "
            f"`ssh-keygen -R '{_names(target)[0]}'` and add to instances.{target.name}.hostKeys in the deployment: "
            f'"{shown}"'
        )
    authority = (
        " Keys signed by a @cert-authority of known_hosts are for OpenSSH alone (`carrier`)."
        if known.authorities
        else ""
    )
    raise HostKeyError(
        f"host key {_describe(target, shown)}, which is not known. Nothing was sent.{authority} "
        f'If it is right, add to instances.{target.name}.hostKeys in the deployment: "{shown}"'
    )


def _describe(target: SshTarget, key: HostKey) -> str:
    return f"of {target} is {key.fingerprint} ({key.kind})"


def _fingerprints(keys: Sequence[HostKey], shown: HostKey) -> str:
    """Name the keys of the same kind, which are those that must have changed; else all."""
    same = [key for key in keys if key.kind == shown.kind] or keys
    return " or ".join(f"{key.fingerprint} ({key.kind})" for key in same)


def _names(target: SshTarget) -> list[str]:
    """Return the names to look a host up by. OpenSSH takes the plain one too where there is none with the port."""
    if target.host_key_alias:
        return [target.host_key_alias]
    if target.port == _SSH_PORT:
        return [target.hostname]
    return [f"[{target.hostname}]:{target.port}", target.hostname]


def _lookup(name: str, path: Path) -> list[str]:
    done = process.run(["ssh-keygen", "-F", name, "-f", str(path)], timeout=20)
    return [line for line in done.stdout.splitlines() if line and not line.startswith("#")]


def _parse(lines: Iterable[str]) -> HostKeys:
    accepted: list[HostKey] = []
    revoked: list[HostKey] = []
    authorities = 0
    for line in lines:
        marker, rest = [*line.split(maxsplit=1), ""][:2] if line.startswith("@") else ("", line)
        key = parse_key(rest.partition(" ")[2])
        if marker == "@cert-authority":
            authorities += 1
        elif key is not None:
            (revoked if marker == "@revoked" else accepted).append(key)
    return HostKeys(accepted=tuple(accepted), revoked=tuple(revoked), authorities=authorities)
