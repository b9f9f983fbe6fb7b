"""Looking at a server: connections from here or from a host, and what an answer, or its absence, says. All blocks."""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable

    import paramiko
    from _typeshed import WriteableBuffer

    from nixhive_nb.ssh.link import Channel
    from nixhive_nb.ssh.transport import Transport

_log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK = 16384
_PORTS = {"http": 80, "https": 443}


def broken() -> tuple[type[Exception], ...]:
    """Return what looking raises where the answer is not to be had."""
    import paramiko  # noqa: PLC0415 - an import of a fifth of a second, for what connects alone

    return (OSError, EOFError, paramiko.SSHException, http.client.HTTPException, ValueError)


class Tunnel:
    """A TCP connection that a host makes for us: a channel of our connection to that host."""

    def __init__(self, channel: paramiko.Channel, seconds: float) -> None:
        """`seconds` is how long reading and writing wait at most. The channel is one of our own `Transport`."""
        self._transport = cast("Transport", channel.get_transport())
        self._channel = channel
        channel.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        """Write all of it. What the other side does not take any more is dropped: reading then tells the end."""
        with self._transport.input_of(self._channel):
            self._channel.sendall(data)

    def recv(self, size: int) -> bytes:
        """Read some bytes; none at the end."""
        return self._channel.recv(size)

    def close(self) -> None:
        """End it, also under a thread that reads."""
        self._channel.close()


class ProbeChannel:
    """What one try opened. Closing it from another thread ends the try."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._channel: Channel | None = None

    def keep(self, channel: Channel) -> Channel:
        """Take care of a channel that was opened just now. Raises `OSError` where the try is over."""
        with self._lock:
            self._channel = channel
            closed = self._closed
        if closed:
            channel.close()
            raise OSError
        return channel

    def close(self) -> None:
        """Close it; any number of times."""
        with self._lock:
            self._closed = True
            channel = self._channel
        with swallowed(_log, "ending a probe", *broken()):
            if isinstance(channel, socket.socket):
                # Closing alone does not wake a thread that is reading.
                channel.shutdown(socket.SHUT_RDWR)
        if channel is not None:
            with swallowed(_log, "closing a probe", *broken()):
                channel.close()


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a URL that a question needs."""

    tls: bool
    host: str
    port: int
    target: str
    header: str
    """What the `Host` of the question says."""


def parse_url(url: str) -> Url:
    """Take a URL of http or https apart. Raises `ValueError` for another."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url} is not a URL of http or https")
    return Url(
        tls=parts.scheme == "https",
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        target=f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}",
        header=parts.netloc.rpartition("@")[2],
    )


def dial_here(host: str, port: int, seconds: float, opened: ProbeChannel) -> Channel:
    """Connect from this machine; each address of the host is tried, within `seconds` in all. Raises `OSError`."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    deadline = time.monotonic() + seconds
    failure: OSError = TimeoutError()
    for place, (family, kind, number, _, address) in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - place)
        made = socket.socket(family, kind, number)
        opened.keep(made)
        try:
            made.settimeout(max(share, 0.05))
            made.connect(address)
        except OSError as error:
            failure = error
            made.close()
        else:
            made.settimeout(seconds)
            return made
    raise failure


def http_status(channel: Channel, url: Url) -> int:
    """Ask for a page and give the status. Only the head of the answer is read, and no redirect is followed."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = _HttpSocket(_Tls(channel, url.host) if url.tls else channel)
    headers = {"Host": url.header, "User-Agent": "nix-hive", "Connection": "close"}
    connection.request("GET", url.target, headers=headers)
    return connection.getresponse().status


def explain(error: Exception, where: str) -> str:
    """Return in words for a person why `where` gave no answer. `error` is one of `broken()`."""
    return _of_tls(error, where) or _of_network(error, where)


def _of_tls(error: Exception, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not accepted here: {error.verify_message}"
    return f"{where} and TLS: {error.reason or error}" if isinstance(error, ssl.SSLError) else ""


def _of_network(error: Exception, where: str) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"nothing accepts on {where}"
    if isinstance(error, socket.gaierror):
        return f"there is no address for {where}"
    if isinstance(error, (ConnectionError, EOFError)):
        return f"{where} closed the connection without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"{where} does not speak http: {error!r}"
    return f"{where}: {getattr(error, 'strerror', None) or error}"


class _HttpSocket:
    """A channel as `http.client` wants it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def sendall(self, data: bytes) -> None:
        self._channel.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_ChannelReader(self._channel), _CHUNK)

    def close(self) -> None:
        """Leave it: whoever opened the channel closes it."""


class _ChannelReader(io.RawIOBase):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = self._channel.recv(len(view))
        view[: len(data)] = data
        return len(data)


class _Tls:
    """TLS inside of a channel; the certificate must be good for `host` in the eyes of this machine."""

    def __init__(self, channel: Channel, host: str) -> None:
        self._channel = channel
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._do(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        self._do(lambda: self._tls.write(data))

    def recv(self, size: int) -> bytes:
        try:
            return self._do(lambda: self._tls.read(size))
        except ssl.SSLZeroReturnError:
            return b""

    def close(self) -> None:
        self._channel.close()

    def _do(self, action: Callable[[], T]) -> T:
        while True:
            try:
                done = action()
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._channel.recv(_CHUNK):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._channel.sendall(data)
