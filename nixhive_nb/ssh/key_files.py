"""Files that ssh's configuration names as keys or certificates: what each holds, and what of it can be used here.

What OpenSSH would pass over is passed over: a broken file, one of another program, one that others may read.
"""

from __future__ import annotations

import base64
import binascii
import functools
import logging
import os
import re
import stat
from typing import TYPE_CHECKING

import msgspec
import paramiko

from nixhive_nb.ssh.certificates import Certificate, is_certificate, read_certificate
from nixhive_nb.ssh.public_keys import HostKey, parse_key
from nixhive_nb.ssh.wire import Malformed, Reader
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

_MOST = 1024 * 1024
"""How much of a file is read, in bytes."""
_MAGIC = b"openssh-key-v1\x00"
_BEGIN = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----\s*$", re.MULTILINE)
_FIRST, _END = b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\n-----END OPENSSH PRIVATE KEY-----\n"
"""How a key of OpenSSH's own begins and ends for OpenSSH, to the byte."""
_OF_HARDWARE = "sk-"
_KINDS: dict[str, type[paramiko.PKey]] = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ssh-rsa": paramiko.RSAKey,
    "RSA PRIVATE KEY": paramiko.RSAKey,
    "EC PRIVATE KEY": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp256": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp384": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp521": paramiko.ECDSAKey,
}
"""What a key is loaded as, by its kind or the words at its beginning."""
_FOREIGN = {
    b"PuTTY-User-Key-File": "it is a key of PuTTY: `puttygen FILE -O private-openssh -o NEW` writes one for ssh",
    b"---- BEGIN SSH2": "it is a key of another ssh: `ssh-keygen -i -f FILE` reads it",
    b"-----BEGIN PGP": "it is a key of GnuPG",
    b"-----BEGIN CERTIFICATE": "it is a certificate of TLS",
}
_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one file holds."""

    public: HostKey | None = None
    """The public key, as far as it can be read without a passphrase."""
    private: str = ""
    """Which private key there is: its kind, or the words at its beginning; empty for none that can be used here."""
    is_locked: bool = False
    """Whether it has a passphrase."""
    problem: str = ""
    """Why it cannot be used as a private key; empty where it can, or holds a public one."""


def read_key_file(path: Path) -> KeyFile | None:
    """Return what a file holds; None where there is none. A file that was read is read anew when it has changed."""
    try:
        found = path.stat()
        return _read(path, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a name that cannot be one, too
        _log.debug("reading %s", path, exc_info=True)
        return KeyFile(problem=f"it cannot be read ({getattr(error, 'strerror', None) or error})")


def load_private(path: Path, kind: str) -> paramiko.PKey:
    """Return the private key of a file, by its `kind`. Raises `ValueError` for one that cannot be loaded."""
    found = path.stat()
    return _load(path, kind, found.st_mtime_ns, found.st_size)


def certificate_in(path: Path) -> Certificate | None:
    """Return the certificate in a file. Raises `Malformed` for a broken one; None where there is none."""
    with swallowed(_log, f"reading {path}", FileNotFoundError, NotADirectoryError):
        line = path.read_bytes()[:_MOST].decode("utf-8", errors="replace").strip()
        key = parse_key(line)
        return read_certificate(key.blob if key is not None and is_certificate(key.kind) else b"")
    return None


def public_half(path: Path) -> HostKey | None:
    """Return the public key that OpenSSH takes for that of a file: what stands in `FILE.pub` goes before its own."""
    own = read_key_file(path)
    if own is not None and own.public is not None and not (own.private or own.is_locked or own.problem):
        return own.public  # it is a public one itself
    beside = read_key_file(path.with_name(path.name + ".pub"))
    return next((held.public for held in (beside, own) if held is not None and held.public is not None), None)


@functools.lru_cache(maxsize=256)
def _read(path: Path, changed: int, size: int, mode: int, owner: int) -> KeyFile:  # noqa: ARG001 - a changed file is another
    if not stat.S_ISREG(mode):
        return KeyFile(problem="it is no file")
    with path.open("rb") as file:
        data = file.read(_MOST)
    held = _held(data)
    if held.private and owner == os.getuid() and mode & _OTHERS_MAY:
        why = f"others may read it (its mode is {stat.S_IMODE(mode):04o}), so ssh does not use it: chmod 600"
        return msgspec.structs.replace(held, private="", is_locked=False, problem=why)
    return held


def _held(data: bytes) -> KeyFile:
    for begin, why in _FOREIGN.items():
        if data.lstrip().startswith(begin):
            return KeyFile(problem=why)
    found = _BEGIN.search(data)
    if found is None:
        public = _public(data.decode("utf-8", errors="replace"))
        return KeyFile(public=public, problem="" if public else "it holds no key")
    words = found[1].decode()
    if words == "OPENSSH PRIVATE KEY":
        return _held_by_openssh(data)
    if words == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in data:
        return KeyFile(is_locked=True)
    if words in _KINDS:
        return KeyFile(private=words)
    return KeyFile(problem=f"it begins with {words}, which only OpenSSH reads: `ssh-keygen -p -f FILE` writes it anew")


def _public(line: str) -> HostKey | None:
    """Return the public key of a line that holds what it says; None for another one."""
    key = parse_key(line)
    with swallowed(_log, "a line that is no key", Malformed):
        return key if key is not None and Reader(key.blob).text() == key.kind else None
    return None


def _header(body: bytes) -> tuple[str, HostKey]:
    """Return the cipher and the public key of a private key as OpenSSH writes it: neither needs a passphrase."""
    if not body.startswith(_MAGIC):
        raise Malformed("it does not begin as one")
    reader = Reader(body[len(_MAGIC) :])
    cipher, _, _ = reader.text(), reader.string(), reader.string()
    if reader.number() != 1:
        raise Malformed("it holds several")
    blob = reader.string()
    return cipher, HostKey(Reader(blob).text(), blob)


def _held_by_openssh(data: bytes) -> KeyFile:
    begin, _, rest = data.partition(_FIRST)
    if begin or _END not in rest:
        return KeyFile(problem=_unread(data))
    try:
        cipher, public = _header(base64.b64decode(b"".join(rest.partition(_END)[0].split()), validate=True))
    except (Malformed, binascii.Error) as error:
        _log.debug("a private key that cannot be read", exc_info=True)
        return KeyFile(problem=f"it is a broken private key ({error})")
    if public.kind.startswith(_OF_HARDWARE):
        return KeyFile(public=public, problem="it is that of a hardware key, which OpenSSH or an agent can use")
    if cipher != "none":
        return KeyFile(public=public, is_locked=True)
    known = public.kind in _KINDS
    problem = "" if known else f"it is of the kind {one_line(public.kind, 60)!r}"
    return KeyFile(public=public, private=public.kind if known else "", problem=problem)


def _unread(data: bytes) -> str:
    """Return why ssh does not read a file in which there is a key of its own."""
    if b"\r\n" in data:
        return "ssh reads no key whose lines end with CRLF: `dos2unix FILE` mends it"
    if not data.startswith(_FIRST):
        return "ssh reads no key with anything before its first line or beside it, not even a blank"
    return "ssh reads no key whose last line is missing, or has no line feed at its end (`echo >>FILE` adds one)"


@functools.lru_cache(maxsize=64)
def _load(path: Path, kind: str, changed: int, size: int) -> paramiko.PKey:  # noqa: ARG001 - a changed file is another key
    try:
        return _KINDS[kind].from_private_key_file(str(path))
    except Exception as error:  # noqa: BLE001 - whatever a broken key makes of three libraries
        _log.debug("loading %s", path, exc_info=True)
        raise ValueError(one_line(str(error), 200) or type(error).__name__) from None
