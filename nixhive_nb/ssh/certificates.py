"""Certificates of OpenSSH: what stands in one, whether its authority signed it, and whether a host may show it.

The format is that of PROTOCOL.certkeys in OpenSSH, and the rules are those of its `sshkey_cert_check_host`.
"""

from __future__ import annotations

import functools
import re
import time
from typing import TYPE_CHECKING

import msgspec
import paramiko
from paramiko.pkey import UnknownKeyType

from nixhive_nb.ssh.own_files import expression
from nixhive_nb.ssh.public_keys import HostKey
from nixhive_nb.ssh.wire import Malformed, Reader
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Collection

_SUFFIX = "-cert-v01@openssh.com"
_FIELDS = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""How many strings the public key of a kind has, in a certificate as outside of one."""
_OF_HOST = 2
_FOR_EVER = 2**64 - 1
_LAST_SECOND = 253402300800
"""From here on a year has five digits."""
_STRICT = (10, 3)
"""The OpenSSH from which on a certificate without names is for nobody, and names of hosts are patterns."""
_PATTERN = {"*", "?"}
_VERSION = re.compile(r"OpenSSH_(?:\w+_)?(\d+)\.(\d+)")
SIGNED_BY = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""The algorithms by which an authority may have signed: `CASignatureAlgorithms` of OpenSSH without hardware keys."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that an authority has signed."""

    key: HostKey
    """The key itself."""
    blob: bytes
    """All of it, as it goes over the wire."""
    is_of_host: bool
    key_id: str
    principals: tuple[str, ...]
    """The names that it stands for; empty for any."""
    after: int
    before: int
    """From when on and up to when it counts, in seconds since 1970."""
    critical: tuple[str, ...]
    authority: HostKey
    signature: bytes
    signed: int
    """How many bytes of `blob` are signed."""


@functools.cache
def openssh_version() -> tuple[int, int]:
    """Return the version of the OpenSSH of this machine; 0.0 where it does not tell."""
    found = _VERSION.search(process.run(["ssh", "-V"], timeout=20).stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def certificate_kind(kind: str) -> str:
    """Return what a certificate for a kind of key is called."""
    return kind.removesuffix("@openssh.com") + _SUFFIX


def is_certificate(kind: str) -> bool:
    """Return whether this is the kind of a certificate."""
    return kind.endswith(_SUFFIX)


def read_certificate(blob: bytes) -> Certificate:
    """Read a certificate as it goes over the wire. Raises `Malformed`. Nothing is verified."""
    reader = Reader(blob)
    called = reader.text()
    kind = next((kind for kind in _FIELDS if certificate_kind(kind) == called), "")
    if not kind:
        raise Malformed(f"it is of the kind {called!r}")
    reader.string()  # a number that is used once
    begin = reader.at
    for _ in range(_FIELDS[kind]):
        reader.string()
    name = kind.encode()
    key = HostKey(kind, len(name).to_bytes(4, "big") + name + blob[begin : reader.at])
    reader.long()  # the serial number
    is_of_host = reader.number() == _OF_HOST
    key_id, principals = reader.text(), reader.strings()
    after, before = reader.long(), reader.long()
    critical = reader.strings()[::2]
    reader.string()  # extensions
    reader.string()  # reserved
    authority = reader.string()
    signed = reader.at
    signature = reader.string()
    if not reader.is_done:
        raise Malformed("something follows it")
    return Certificate(
        key=key,
        blob=blob,
        is_of_host=is_of_host,
        key_id=key_id,
        principals=principals,
        after=after,
        before=before,
        critical=critical,
        authority=HostKey(Reader(authority).text(), authority),
        signature=signature,
        signed=signed,
    )


def unfit_for(certificate: Certificate, name: str, signed_by: Collection[str] = SIGNED_BY) -> str:
    """Return why a host of this name may not show a certificate; empty where it may.

    `signed_by`: the algorithms that are allowed. Whether its authority is trusted is not looked at.
    """
    if not certificate.is_of_host:
        return "it is one of a user, not of a host"
    if certificate.critical:
        return f"it wants what is not known here: {', '.join(certificate.critical)}"
    now = time.time()
    if now < certificate.after:
        return f"it counts from {_day(certificate.after)} on"
    if certificate.before != _FOR_EVER and now >= certificate.before:
        return f"it has expired, {_day(certificate.before)}"
    return _not_for(certificate.principals, name.lower()) or _unsigned(certificate, signed_by)


def _not_for(principals: Collection[str], name: str) -> str:
    """Return why a host is none of those that a certificate is for, as the OpenSSH of this machine sees it.

    From 10.3 on one without names is for nobody, where it was for everybody before, and names may be patterns.
    """
    if name in principals:
        return ""
    if not principals:
        return "it names no host, which OpenSSH takes for none from 10.3 on" if openssh_version() >= _STRICT else ""
    fit = [one for one in principals if _PATTERN & {*one} and re.fullmatch(expression(one), name)]
    if fit and openssh_version() >= _STRICT:
        return ""
    older = " (OpenSSH takes patterns from 10.3 on, and here is an older one)" if fit else ""
    return f"it is for {', '.join(principals)} and not for {name}{older}"


def _unsigned(certificate: Certificate, signed_by: Collection[str]) -> str:
    """Return why it does not count as signed by the authority that it names; empty where it does."""
    authority = certificate.authority
    try:
        reader = Reader(certificate.signature)
        algorithm, _ = reader.text(), reader.string()
        if algorithm not in signed_by or algorithm not in SIGNED_BY:
            return f"it is signed by {algorithm}, which is not accepted"
        key = paramiko.PKey.from_type_string(authority.kind, authority.blob)
        message = paramiko.Message(certificate.signature)
        is_right = key.verify_ssh_sig(certificate.blob[: certificate.signed], message)
    except (UnknownKeyType, paramiko.SSHException, ValueError) as error:
        return f"its signature cannot be verified ({type(error).__name__})"
    return "" if is_right else "its signature is not that of its authority"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds < _LAST_SECOND else "never"
