"""Keys of all kinds that people have, and an agent: what tests of logins are tried with."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko

from tests.sshd import eventually, public

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SK = b"sk-ssh-ed25519@openssh.com"
FOREIGN = {
    "putty": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: me\nPublic-Lines: 2\nAAAA\nBBBB\n",
    "broken": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    "garbage": "-----BEGIN OPENSSH PRIVATE KEY-----\n!!!\n-----END OPENSSH PRIVATE KEY-----\n",
    "cut": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n",
    "dsa": "-----BEGIN DSA PRIVATE KEY-----\nMIIBuwIBAAKBgQ==\n-----END DSA PRIVATE KEY-----\n",
    "pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n-----END PGP PRIVATE KEY BLOCK-----\n",
    "text": "this is no key\n",
    "empty": "",
}
"""Files that no ssh logs in with."""


def text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def make(path: Path, kind: str = "ed25519", passphrase: str = "", fmt: str = "") -> Path:
    """Make a key pair; one of RSA is no longer than it has to be, as making a long one takes a second."""
    words = [*(["-m", fmt] if fmt else []), *(["-b", "2048"] if kind == "rsa" else [])]
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, *words, "-f", str(path)], check=True
    )
    return path


def sign(authority: Path, key: Path, *words: str, to: Path | None = None) -> Path:
    """Sign the public half of a key, and give where the certificate is: beside the key, or elsewhere."""
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", *words, f"{key}.pub"], check=True, capture_output=True
    )
    made = key.with_name(f"{key.name}-cert.pub")
    return Path(shutil.move(made, to)) if to is not None else made


def sk_public(point: bytes = b"\x11" * 32) -> bytes:
    return text(SK) + text(point) + text(b"ssh:")


def stub(path: Path) -> Path:
    """Write the file of a hardware key that is not plugged in. OpenSSH reads it, and finds no key."""
    pub = sk_public()
    private = struct.pack(">II", 7, 7) + pub + b"\x01" + text(b"handle" * 8) + text(b"") + text(b"c")
    private += bytes(range(1, 1 + -len(private) % 8))
    body = b"openssh-key-v1\0" + text(b"none") * 2 + text(b"") + struct.pack(">I", 1) + text(pub) + text(private)
    lines = base64.encodebytes(body).decode()
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}-----END OPENSSH PRIVATE KEY-----\n")
    path.chmod(0o600)
    path.with_name(f"{path.name}.pub").write_text(f"{SK.decode()} {base64.b64encode(pub).decode()} stub\n")
    return path


def foreign(path: Path, kind: str) -> Path:
    path.write_text(FOREIGN[kind])
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def agent(sock: Path, *keys: Path) -> Iterator[Path]:
    """Run an agent with these keys."""
    running = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        env = {**os.environ, "SSH_AUTH_SOCK": str(sock), "SSH_ASKPASS": "/bin/false"}
        # Its socket is there before it listens.
        ask = ["ssh-add", "-l"]
        eventually(lambda: subprocess.run(ask, env=env, capture_output=True, check=False).returncode != 2, "the agent")
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], env=env, check=True, stdin=subprocess.DEVNULL)
        yield sock
    finally:
        running.kill()
        running.wait()


class HardwareAgent:
    """An agent with a hardware key that is touched at once, or never; it counts how often it was asked to sign."""

    def __init__(self, sock: Path, *, signs: bool = True) -> None:
        inner = make(sock.with_name(f"{sock.name}-key"))
        self._key = paramiko.Ed25519Key.from_private_key_file(str(inner))
        self._signs = signs
        self.blob = sk_public(self._key.asbytes()[-32:])
        self.public = f"{SK.decode()} {base64.b64encode(self.blob).decode()}"
        self.touched = 0
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(sock))
        self._server.listen()
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def close(self) -> None:
        # Closed alone, it would be waited on by its number, which is another one's next.
        self._server.shutdown(socket.SHUT_RDWR)
        self._serving.join()
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError, struct.error):
            while True:
                (size,) = struct.unpack(">I", stream.read(4))
                request = stream.read(size)
                connection.sendall(text(self._reply(request)))

    def _reply(self, request: bytes) -> bytes:
        if request[0] == 11:
            return bytes([12]) + struct.pack(">I", 1) + text(self.blob) + text(b"me@token")
        if request[0] != 13 or not self._signs:
            self.touched += request[0] == 13
            return bytes([5])
        self.touched += 1
        (key,) = struct.unpack(">I", request[1:5])
        (size,) = struct.unpack(">I", request[5 + key : 9 + key])
        data = request[9 + key : 9 + key + size]
        after = b"\x01" + struct.pack(">I", self.touched)
        signed = hashlib.sha256(b"ssh:").digest() + after + hashlib.sha256(data).digest()
        raw = self._key.sign_ssh_data(signed).asbytes()[-64:]
        return bytes([14]) + text(text(SK) + text(raw) + after)


def lines(keys: Sequence[Path]) -> str:
    return "".join(f"{public(key)}\n" for key in keys)
