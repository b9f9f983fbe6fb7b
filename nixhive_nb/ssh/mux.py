"""What a control master of OpenSSH is asked by its socket: a session, or a connection from the host.

The words are those of OpenSSH's PROTOCOL.mux, whose version has been 4 since OpenSSH 5.1. We speak them ourselves: a
program (`ssh -S`) for each command would take longer than most commands.
"""

from __future__ import annotations

import logging
import socket
import struct
from typing import TYPE_CHECKING

from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)
_VERSION = 4
_HELLO = 0x00000001
_NEW_SESSION = 0x10000002
_NEW_FORWARD = 0x10000008
_DENIED = 0x80000002
_FAILED = 0x80000003
_EXITED = 0x80000004
_OPENED = 0x80000006
_OURS = 1
"""The number of our only question of each conversation."""
_NO_ESCAPE = 0xFFFFFFFF
_PATIENCE = 15.0
"""Seconds for a master to take what it is asked."""
_MOST_ASKED = 256 * 1024 - 64
"""Bytes that a master takes at once."""
_MOST_TOLD = 64 * 1024
_CHUNK = 4096


class Conversation:
    """One question to a master, over a connection of its own; closing that ends what was asked for."""

    def __init__(self, control: Path) -> None:
        """Connect to the socket of a master. Raises `OSError` where there is none."""
        self.is_open = False
        """Whether there is what was asked for."""
        self.refusal = ""
        """Why there is none, in the master's words; empty as long as it did not say."""
        self.exited: int | None = None
        """The exit status of the command, once it is known."""
        self.ended = False
        """Whether the master says no more."""
        self._said = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(str(control))
        except BaseException:
            self._socket.close()
            raise

    @property
    def is_answered(self) -> bool:
        """Whether it is there, or will never be."""
        return self.is_open or self.ended or bool(self.refusal)

    def fileno(self) -> int:
        """Return the handle that has something to read when the master says something."""
        return self._socket.fileno()

    def ask_for_session(self, command: str, handles: Sequence[int]) -> None:
        """Ask for a session that runs a command, with these as its standard input, output and error.

        Raises `OSError`, and `ValueError` for a command that is too long.
        """
        said = command.encode("utf-8", "surrogateescape")
        if len(said) > _MOST_ASKED:
            raise ValueError(f"a command of {len(said):,} bytes is more than OpenSSH takes")
        # No terminal, no X11, no agent, no subsystem.
        words = struct.pack(">5I", 0, 0, 0, 0, _NO_ESCAPE) + _text(b"") + _text(said)
        self._ask(_NEW_SESSION, words, handles)

    def ask_for_connection(self, host: str, port: int, handles: Sequence[int]) -> None:
        """Ask for a connection from the host, with these as what it reads and writes. Raises `OSError`."""
        self._ask(_NEW_FORWARD, _text(host.encode()) + struct.pack(">I", port), handles)

    def is_alive(self) -> bool:
        """Return whether the master answers. Raises `OSError`."""
        self._socket.sendall(_text(struct.pack(">2I", _HELLO, _VERSION)))
        return bool(self._socket.recv(_CHUNK))

    def hear(self) -> bool:
        """Take what the master has said; return whether there was something. It does not wait."""
        try:
            said = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except TimeoutError:  # only while it is waited for
            raise
        except OSError:
            _log.debug("a control master says no more", exc_info=True)
            said = b""
        if not said:
            went_on, self.ended = not self.ended, True
            return went_on
        self._said += said
        while (message := self._message()) is not None:
            self._take(message)
        return True

    def answered_within(self, seconds: float) -> None:
        """Wait until the question is answered. Raises `TimeoutError`."""
        self._socket.settimeout(seconds)
        try:
            while not self.is_answered:
                self.hear()
        finally:
            self._socket.settimeout(0)

    def let_go(self) -> None:
        """End what was asked for, from any thread; `hear` finds the end then."""
        with swallowed(_log, "letting go of what a master was asked for", OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it, and let go of the connection."""
        self._socket.close()

    def _ask(self, kind: int, words: bytes, handles: Sequence[int]) -> None:
        hello = struct.pack(">2I", _HELLO, _VERSION)
        # What comes third is reserved.
        asked = struct.pack(">2I", kind, _OURS) + _text(b"") + words
        self._socket.sendall(_text(hello) + _text(asked))
        for handle in handles:
            # A message each, as the master takes them.
            socket.send_fds(self._socket, [b"\0"], [handle])
        self._socket.settimeout(0)

    def _message(self) -> bytes | None:
        """Return the next whole message of what has been said; None where there is none."""
        if len(self._said) < 4:  # noqa: PLR2004 - the bytes of a length
            return None
        (size,) = struct.unpack_from(">I", self._said)
        if size > _MOST_TOLD:
            self.ended = True
            return None
        if len(self._said) < 4 + size:
            return None
        message, self._said = self._said[4 : 4 + size], self._said[4 + size :]
        return message

    def _take(self, message: bytes) -> None:
        kind, number, told = struct.unpack_from(">3I", message.ljust(12, b"\0"))
        if kind == _OPENED:
            self.is_open = True
        elif kind == _EXITED:  # behind it, the number of the session and the status
            self.exited = told
        elif kind in (_FAILED, _DENIED) and number == _OURS:
            self.refusal = message[12 : 12 + told].decode("utf-8", "replace") or "it was refused"


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
