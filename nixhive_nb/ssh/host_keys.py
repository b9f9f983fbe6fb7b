"""Which keys a host may show, and what to say when it shows another one.

The deployment's keys are the only authority for an instance that has some. For the others it is the user's known_hosts
files, read the way OpenSSH reads them. paramiko's own `HostKeys` keeps one key a type, loses a whole file over a
`@cert-authority` line and knows no aliases, so that it is not used.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import TYPE_CHECKING

import msgspec
import paramiko

from nixhive_nb.errors import HostKeyError
from nixhive_nb.ssh.certificates import SIGNED_BY, certificate_kind, read_certificate, unfit_for
from nixhive_nb.ssh.public_keys import HostKey, parse_key
from nixhive_nb.ssh.wire import Malformed
from nixhive_nb.util import process
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from nixhive_nb.ssh.resolve import SshTarget

_log = logging.getLogger(__name__)

_SSH_PORT = 22
_KRL = b"SSHKRL\n\0"
"""How a list of revoked keys begins that `ssh-keygen -k` has made."""
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
_AUTHORITY = "@cert-authority"
_OF_CERTIFICATES = tuple(map(certificate_kind, SIGNED_BY))
"""The algorithms by which a host shows a certificate."""


class HostKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the keys of one host."""

    accepted: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()
    authorities: tuple[HostKey, ...] = ()
    """Who may vouch for its key by a certificate: what `@cert-authority` lines and `hostCAs` name."""
    from_deployment: bool = False

    @property
    def origin(self) -> str:
        """Who says so, for the log."""
        return "the deployment" if self.from_deployment else "known_hosts"

    @property
    def algorithms(self) -> list[str]:
        """The algorithms to ask for first, so that the host shows a key that we know, or a certificate for one."""
        plain = [name for key in self.accepted for name in _ALGORITHMS.get(key.kind, (key.kind,))]
        return [*(_OF_CERTIFICATES if self.authorities else ()), *plain]


class CheckKey(paramiko.MissingHostKeyPolicy):
    """Refuses a key that is not accepted. paramiko asks it after the key exchange, before any login is tried."""

    def __init__(self, target: SshTarget, known: HostKeys, passed: Callable[[], None]) -> None:
        """Take what to call when the key is right (`passed`)."""
        self._target = target
        self._known = known
        self._passed = passed

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002 - paramiko's way
        """Raise `HostKeyError` unless the key is one of those that we know, or is vouched for."""
        certificate = key.public_blob
        shown = HostKey(key.get_name(), key.asbytes())
        vouched = HostKey(str(certificate.key_type), bytes(certificate.key_blob)) if certificate is not None else None
        check(self._target, self._known, shown, vouched)
        self._passed()


def deployment_keys(lines: Iterable[str]) -> HostKeys:
    """Return what a deployment says with `hostKeys` and `hostCAs`: see `lines_of`."""
    marked = [line.removeprefix(_AUTHORITY).strip() for line in lines if line.startswith(_AUTHORITY)]
    plain = [line for line in lines if not line.startswith("@")]
    return HostKeys(accepted=_keys(plain), authorities=_keys(marked), from_deployment=True)


def lines_of(host_keys: Iterable[str], host_cas: Iterable[str]) -> tuple[str, ...]:
    """Return what a deployment says of the keys of a host, as a known_hosts file does without the names."""
    return (*host_keys, *(f"{_AUTHORITY} {line}" for line in host_cas))


def _keys(lines: Iterable[str]) -> tuple[HostKey, ...]:
    return tuple(key for key in map(parse_key, lines) if key is not None)


def known_hosts_keys(target: SshTarget) -> HostKeys:
    """Look a host up in the known_hosts files that its configuration names, hashed entries included."""
    files = [path for path in target.known_hosts if os.path.isfile(path)]  # noqa: PTH113 - pathlib fails for a name that cannot be
    for name in _names(target):
        found = _parse(line for path in files for line in _lookup(name, path))
        if found.accepted or found.revoked or found.authorities:
            return found
    return HostKeys()


def check(target: SshTarget, known: HostKeys, shown: HostKey, certificate: HostKey | None = None) -> None:
    """Raise `HostKeyError`, with what to do about it, unless `shown` is accepted.

    `certificate`: the one that it was shown in, if any. The host has proved that it has the key of either.
    """
    if shown in known.revoked or _is_revoked(target, shown, certificate):
        raise HostKeyError(f"host key {_describe(target, shown)}, which is marked as revoked. Nothing was sent.")
    if shown in known.accepted:
        _log.debug("%s: host key %s (%s), as %s says", target, shown.fingerprint, shown.kind, known.origin)
        return
    amiss = _not_vouched(target, known, shown, certificate) if known.authorities else ""
    if known.authorities and not amiss:
        _log.debug("%s: host key %s (%s), by its certificate", target, shown.fingerprint, shown.kind)
        return
    _log.info("%s: host key %s (%s) is not that of %s", target, shown.fingerprint, shown.kind, known.origin)
    if amiss:
        raise HostKeyError(f"host key {_describe(target, shown)}, which does not count: {amiss}. Nothing was sent.")
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
    raise HostKeyError(
        f"host key {_describe(target, shown)}, which is not known. Nothing was sent. "
        f'If it is right, add to instances.{target.name}.hostKeys in the deployment: "{shown}"'
    )


def _is_revoked(target: SshTarget, shown: HostKey, certificate: HostKey | None) -> bool:
    """Return whether the user's `RevokedHostKeys` has a key, its certificate or its authority.

    As with OpenSSH, a file that cannot be read has all of them.
    """
    if target.revoked_keys is None:
        return False
    try:
        data = target.revoked_keys.read_bytes()
    except OSError:
        _log.warning("%s: RevokedHostKeys cannot be read: %s", target, target.revoked_keys, exc_info=True)
        return True
    if not data.startswith(_KRL):
        named = {key.blob for line in data.decode(errors="replace").splitlines() if (key := parse_key(line))}
        return bool(named & _blobs(shown, certificate))
    with tempfile.NamedTemporaryFile("w", prefix="hive-key-", suffix=".pub") as file:
        file.write(f"{certificate or shown}\n")
        file.flush()
        return bool(process.run(["ssh-keygen", "-Q", "-f", str(target.revoked_keys), file.name], timeout=20).status)


def _blobs(shown: HostKey, certificate: HostKey | None) -> set[bytes]:
    blobs = {shown.blob}
    if certificate is not None:
        blobs.add(certificate.blob)
        with swallowed(_log, "the certificate of a host", Malformed):  # which is told when it is looked at
            blobs.add(read_certificate(certificate.blob).authority.blob)
    return blobs


def _not_vouched(target: SshTarget, known: HostKeys, shown: HostKey, certificate: HostKey | None) -> str:
    """Return why no authority vouches for the key that a host shows; empty where one does."""
    where = f"`hostCAs` of instance {target.name}" if known.from_deployment else "@cert-authority in known_hosts"
    if certificate is None:
        return (
            f"the host shows no certificate for it, which {where} asks for: `HostCertificate` in its sshd_config names "
            f'one. If the key is right, add to instances.{target.name}.hostKeys in the deployment: "{shown}"'
        )
    try:
        read = read_certificate(certificate.blob)
    except Malformed as error:
        return f"the certificate that it is shown in is broken ({error})"
    if read.key != shown:  # what it has proved to have is not what the authority has signed
        return "the certificate that it is shown in is for another key"
    if read.authority not in known.authorities:
        signed = f"{read.authority.fingerprint} ({read.authority.kind})"
        trusted = _fingerprints(known.authorities, read.authority)
        return f"its certificate is signed by {signed}, and {where} says {trusted}"
    if read.authority in known.revoked:
        return "its certificate is signed by an authority that is marked as revoked"
    name = target.host_key_alias or target.hostname
    why = unfit_for(read, name, target.ca_algorithms or SIGNED_BY)
    if why and read.principals and f"not for {name.lower()}" in why:
        why += f"; where that is right, name the host so by `HostKeyAlias` in instances.{target.name}.ssh"
    return f"its certificate cannot be used, as {why}" if why else ""


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
    return [line for line in done.stdout.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _parse(lines: Iterable[str]) -> HostKeys:
    accepted: list[HostKey] = []
    revoked: list[HostKey] = []
    authorities: list[HostKey] = []
    for line in lines:
        # Blanks or tabs, as many as somebody likes.
        words = line.split()
        marker, words = (words[0], words[1:]) if line.lstrip().startswith("@") else ("", words)
        key = parse_key(" ".join(words[1:]))
        if key is not None:
            {"@revoked": revoked, _AUTHORITY: authorities}.get(marker, accepted).append(key)
    return HostKeys(accepted=tuple(accepted), revoked=tuple(revoked), authorities=tuple(authorities))
