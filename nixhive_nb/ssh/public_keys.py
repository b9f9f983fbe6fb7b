"""Public keys as values, and as the lines in which OpenSSH writes them."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec


class HostKey(msgspec.Struct, frozen=True):
    """A public key: of a host, of a person, of an authority. Or a certificate, as it goes over the wire."""

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


def parse_key(line: str) -> HostKey | None:
    """Return the key of a line `KIND BASE64 [COMMENT]`; None for another line."""
    words = line.split()
    try:
        return HostKey(words[0], base64.b64decode(words[1], validate=True))
    except (IndexError, binascii.Error, ValueError):
        return None
