"""One link to a host: the socket under an SSH connection, and the connection's keys, deadlines and life signs.

All that we use of paramiko though it never promised it stands here; of Fabric, in `ssh.fabric`.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
    cMSG_CHANNEL_OPEN,
    cMSG_CHANNEL_REQUEST,
    cMSG_GLOBAL_REQUEST,
)

from nixhive_nb.ssh.attempt import Cancelled
from nixhive_nb.ssh.certificates import certificate_kind
from nixhive_nb.ssh.ears import Ears
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from paramiko.agent import AgentSSH

    from nixhive_nb.ssh.resolve import SshTarget

# paramiko's packets and channels log here, which tells nothing; what its transport says goes to our log, see `_log`.
_QUIET = "nixhive_nb.paramiko"
logging.getLogger(_QUIET).setLevel(logging.CRITICAL)
_log = logging.getLogger(__name__)
_MOST_PACKET = 1024 * 1024
"""How long a packet may be, in bytes: OpenSSH sends none of more than 256 KiB, and paramiko asks for 32 KiB."""
_AHEAD = 120 * 1024
"""Bytes that are read at once: paramiko asks for each packet in two or three reads, and for a long one in more."""
_MOST_GREETING = 64 * 1024
"""How much a server may say before it says which protocol it speaks."""
_CHECKING = "-gcm@"
_NOTHING = 4
"""Bytes of a message that says nothing."""
_EARS = "nixhive_ears"
"""The attribute by which a channel of paramiko's has our `Ears`."""
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


class Link:
    """A socket that knows when it last heard from the other side, and that any thread may break at any time.

    It has the methods that paramiko uses of a socket.
    """

    def __init__(self) -> None:
        self.heard = time.monotonic()
        self.broken = False
        self.reason = ""
        self._lock = threading.Lock()
        self._closed = False  # paramiko reads it, as of a socket
        self._socket: socket.socket | None = None
        self.is_of_others = False
        """Whether programs of others are on the way, a jump host's for one. They leave Nagle's algorithm on: a second
        small packet waits until the first is acknowledged, which Linux does after 40 ms, or with what it has to send.
        """
        self._finish: Callable[[], str] | None = None
        self._finishing = threading.Lock()
        self._greeting: int | None = None
        self._sending = threading.Lock()
        self._holders: set[int] = set()
        """The threads whose messages are held back, to be sent at once."""
        self._held = bytearray()
        self._ahead = memoryview(b"")
        """What has come and paramiko has not asked for yet."""
        self._owes = False
        """Whether nothing was sent since something came."""
        self._reading = threading.Lock()
        self._has_all = False
        """Whether paramiko is done with all that has come, and waits for more."""
        self._asked: set[Ears] = set()
        """Who wants to hear when that is so."""
        self.complaint = ""
        """What a program that holds the other end wrote at last. Known once the link is closed."""

    def dial_tcp(self, target: SshTarget, seconds: float) -> None:
        """Connect to a host. Each of its addresses is tried, within `seconds` in all. Raises `OSError`."""
        family = _FAMILIES.get(target.address_family, socket.AF_UNSPEC)
        addresses = socket.getaddrinfo(target.hostname, target.port, family, socket.SOCK_STREAM)
        deadline = time.monotonic() + seconds
        failure: OSError = TimeoutError()
        for place, (family, kind, number, _, address) in enumerate(addresses):
            share = (deadline - time.monotonic()) / (len(addresses) - place)
            made = self._use(socket.socket(family, kind, number))
            try:
                made.settimeout(max(share, 0.1))
                if target.bind_address:
                    made.bind((target.bind_address, 0))
                made.connect(address)
            except OSError as error:
                _log.debug("%s: no connection to %s: %s", target.name, address, error)
                failure = error
                self._socket = None
                made.close()
                continue
            # Nagle's algorithm would hold each small message back for 40 ms.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return
        raise failure

    def dial_unix(self, path: Path, seconds: float) -> None:
        """Connect to a socket that a jump host's process forwards. Raises `OSError`."""
        made = self._use(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        self.is_of_others = True
        made.settimeout(seconds)
        made.connect(str(path))

    def adopt(self, made: socket.socket, finish: Callable[[], str]) -> None:
        """Take a socket whose other end a program of ours holds.

        `finish` is called once, when the link is closed; it ends the program and gives what that complained about.
        """
        self._finish = finish
        self._use(made)
        self.is_of_others = True

    def _use(self, made: socket.socket) -> socket.socket:
        with self._lock:
            if self.broken:
                made.close()
                raise Cancelled
            self._socket = made
        self.heard = time.monotonic()
        return made

    def break_(self, reason: str = "") -> None:
        """End the link from any thread, without waiting. Whoever reads or writes it finds it closed."""
        with self._lock:
            self.broken = True
            self.reason = self.reason or reason
            made = self._socket
        if made is not None:
            # Closing alone does not wake a thread that is reading.
            with swallowed(_log, "ending a link", OSError):
                made.shutdown(socket.SHUT_RDWR)

    def option(self, level: int, name: int) -> int:
        """Return an option of the socket, as `socket.getsockopt`."""
        return self._open().getsockopt(level, name)

    @contextlib.contextmanager
    def greeting(self) -> Iterator[None]:
        """Let so much come at most as a server may say before it says which protocol it speaks."""
        self._greeting = 0
        try:
            yield
        finally:
            self._greeting = None

    @contextlib.contextmanager
    def together(self, *, wait: bool = False) -> Iterator[None]:
        """Send what this thread writes in the block at its end, at once: on a way of others, it is one packet.

        With `wait` it goes with what is sent next, whoever sends that.
        """
        thread = threading.get_ident()
        with self._sending:
            is_within = thread in self._holders
            self._holders.add(thread)
        try:
            yield
        finally:
            if not is_within:
                with self._sending:
                    self._holders.discard(thread)
                    if not wait:
                        self._send_held()

    def owes_an_answer(self, ears: Ears) -> bool:
        """Return whether nothing was sent since what came last, and paramiko is done with that: it will not answer now.

        Where it is not done yet, `ears` hear when it is.
        """
        with self._reading:
            if self._owes and not self._has_all:
                self._asked.add(ears)
            return self._owes and self._has_all

    def _send_held(self) -> None:
        held, self._held = memoryview(self._held), bytearray()
        while held:
            # One is a reason to look whether somebody has ended the link.
            with swallowed(_log, "sending, for longer than a look takes", TimeoutError):
                held = held[self._send_now(held) :]

    def _send_now(self, data: bytes | memoryview) -> int:
        self._owes = False  # before: what comes while it is sent is to be answered
        return self._open().send(data)

    # What paramiko calls

    def recv(self, size: int) -> bytes:
        """Read some bytes; none at the end. Raises `SSHException` for more than a server has to say."""
        if size > _MOST_PACKET:
            raise paramiko.SSHException(f"Invalid SSH packet of {size_text(size)}")
        made = self._open()
        if not self._ahead:
            self._ahead = memoryview(self._next(made))
            self.heard = time.monotonic()
        data = bytes(self._ahead[:size])
        self._ahead = self._ahead[size:]
        if self._greeting is not None:
            self._greeting += len(data)
            if self._greeting > _MOST_GREETING:
                # It follows right after "Error reading SSH protocol banner".
                raise paramiko.SSHException(f": Invalid SSH banner of more than {size_text(_MOST_GREETING)}")
        return data

    def _next(self, made: socket.socket) -> bytes:
        """Wait for what comes next."""
        with self._reading:
            self._has_all = True
            asked, self._asked = self._asked, set()
        for ears in asked:
            ears.set()
        came = b""
        try:
            came = made.recv(_AHEAD)
        finally:
            with self._reading:
                self._has_all = False
                self._owes = self._owes or bool(came)
        return came

    def send(self, data: bytes) -> int:
        """Write some bytes, and tell how many."""
        with self._sending:
            if threading.get_ident() in self._holders:
                self._held += data
                return len(data)
            if not self._held:
                return self._send_now(data)
            # They are numbered: what is held comes first.
            self._held += data
            self._send_held()
            return len(data)

    def settimeout(self, seconds: float | None) -> None:
        """Set how long `recv` and `send` wait at most."""
        with swallowed(_log, "setting the time-out of a link", OSError):
            self._open().settimeout(seconds)

    def close(self) -> None:
        """End the link and what belongs to it."""
        self.break_()
        with self._lock:
            self._closed = True
            made, self._socket = self._socket, None
        if made is not None:
            made.close()
        # Whoever closes second waits for the first, and then knows the complaint too.
        with self._finishing:
            finish, self._finish = self._finish, None
            if finish is not None:
                self.complaint = finish()

    def _open(self) -> socket.socket:
        made = self._socket
        if made is None:
            raise EOFError
        return made


def _channel_request(channel: Any, message: paramiko.Message) -> None:  # noqa: ANN401 - paramiko's table is untyped
    """Note the signal that ended a command: paramiko drops it, which looks as if the link had broken."""
    place = message.packet.tell()
    if message.get_text() == "exit-signal":
        message.get_boolean()
        channel.exit_status = 128 + _signal_number(message.get_text())
    message.packet.seek(place)
    channel._handle_request(message)  # noqa: SLF001 - what the table calls otherwise
    _wake(channel)


def _window_adjust(channel: Any, message: paramiko.Message) -> None:  # noqa: ANN401 - paramiko's table is untyped
    """Tell whoever waits for room in a channel: paramiko wakes only those who block in it."""
    channel._window_adjust(message)  # noqa: SLF001 - what the table calls otherwise
    _wake(channel)


def _close(channel: Any, message: paramiko.Message) -> None:  # noqa: ANN401 - paramiko's table is untyped
    """Close a channel that the host has closed: with the next message, which would wait for the acknowledgement."""
    with channel.transport.later():
        channel._handle_close(message)  # noqa: SLF001 - what the table calls otherwise


def _wake(channel: Any) -> None:  # noqa: ANN401 - as above
    ears = getattr(channel, _EARS, None)
    if ears is not None:
        ears.set()


class ChannelEars(Ears):
    """Hears of whatever comes of a channel: output, room for input, its end."""

    def __init__(self, channel: paramiko.Channel) -> None:
        super().__init__()
        setattr(channel, _EARS, self)
        for pipe in (channel.in_buffer, channel.in_stderr_buffer):
            pipe.set_event(self)  # type: ignore[arg-type,unused-ignore] # as good as an event

    def clear(self) -> None:
        """Take no notice: paramiko calls it when one stream is empty, and the other may not be."""


class Transport(paramiko.Transport):
    """paramiko's transport with an answer to what it lacks: life signs, exit signals, and a quiet wait.

    Not its `ServiceRequestingTransport`: that one waits without end when the link breaks before the login.
    """

    # It reads with this time-out: at 0.1 s, each idle connection would wake ten times a second.
    _active_check_timeout = 1.0

    def __init__(self, sock: Link, name: str = "") -> None:
        """`name` is the host's, for the log."""
        self._instance = name
        self._link = sock
        self._key_algorithms: tuple[str, ...] = ()
        self.environment: tuple[tuple[str, str], ...] = ()
        """Variables for each command, as far as the host takes them."""
        super().__init__(sock)  # type: ignore[arg-type] # as good as a socket
        self.set_log_channel(_QUIET)
        # In Python, to check what came costs several times as much as to decrypt it: these ciphers do both at once.
        options = self.get_security_options()
        options.ciphers = sorted(options.ciphers, key=lambda name: _CHECKING not in name)
        self._sender = threading.local()

    def _log(self, level: int, msg: str | list[str], *args: object) -> None:
        """Take what paramiko logs: its errors reach us as exceptions, so that none of it is more than a detail."""
        # A list holds a trace, of an exception that we log ourselves.
        if level >= logging.INFO and isinstance(msg, str) and _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: paramiko: %s", self._instance, msg % args if args else msg)

    def _check_banner(self) -> None:
        # It reads a line until that ends, in whatever memory there is.
        with self._link.greeting():
            super()._check_banner()  # type: ignore[misc,unused-ignore]

    @contextlib.contextmanager
    def input_of(self, channel: paramiko.Channel) -> Iterator[None]:
        """Drop what this thread sends to a channel that has been closed meanwhile.

        paramiko's own `send` and `shutdown_write` look first and send later. When the command ends in between, its
        transport thread has closed the channel, and OpenSSH ends the whole connection for a message to no channel.
        """
        self._sender.channel = channel
        try:
            yield
        finally:
            self._sender.channel = None

    def _send_user_message(self, data: paramiko.Message) -> None:
        channel = getattr(self._sender, "channel", None)
        if channel is None:
            super()._send_user_message(data)  # type: ignore[misc,unused-ignore]
            return
        while self.is_active():
            self.clear_to_send.wait(0.1)
            # All that is sent to channels is sent under this lock, and a channel counts as closed before it says so.
            with self.clear_to_send_lock:
                if channel.closed:
                    return
                if self.clear_to_send.is_set():
                    self._send_message(data)  # type: ignore[attr-defined,unused-ignore]
                    return

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Send what this thread sends in the block at its end, at once. Raises `OSError` there."""
        with self._link.together():
            yield

    def acknowledge(self, ears: Ears) -> None:
        """Let what was heard be acknowledged, by a message that says nothing, if nothing was sent since.

        It is for a way of others, where the next packet waits for that; a second message of ours would wait as well.
        Where more has come than paramiko has done with, `ears` hear when it has, and this is to be called again.
        Raises `OSError`, `EOFError`, `SSHException`.
        """
        if self._link.is_of_others and self._link.owes_an_answer(ears) and self.is_active():
            self.send_ignore(_NOTHING)

    @contextlib.contextmanager
    def later(self) -> Iterator[None]:
        """Keep what this thread sends in the block for the next message, on a way of others."""
        with self._link.together(wait=self._link.is_of_others):
            yield

    def prefer(self, algorithms: Sequence[str]) -> None:
        """Ask for these host key algorithms first. Else a host may show a key of a type that we do not know."""
        offered = tuple(self.get_security_options().key_types)
        can = {*offered, *map(certificate_kind, offered)}
        known = tuple(name for name in algorithms if name in can)
        self._key_algorithms = known + tuple(name for name in offered if name not in known)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms, the best first. paramiko's own adds those of certificates, wanted or not."""
        return self._key_algorithms or tuple(self.get_security_options().key_types)

    def ask_for_life_signs(self, seconds: float) -> None:
        """Send a question that every server answers each time nothing was sent for `seconds`.

        paramiko's own keepalive wants no answer, and so never finds out that nobody is there.
        """
        self.packetizer.set_keepalive(seconds, self._ask)  # type: ignore[arg-type,unused-ignore]

    def _ask(self) -> None:
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)  # noqa: FBT003 - paramiko's way
        self._send_user_message(message)

    _channel_handler_table: ClassVar[dict[int, Callable[..., Any]]] = {
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined,unused-ignore] # noqa: SLF001
        MSG_CHANNEL_CLOSE: _close,
        MSG_CHANNEL_REQUEST: _channel_request,  # type: ignore[attr-defined,unused-ignore]
        MSG_CHANNEL_WINDOW_ADJUST: _window_adjust,
    }


ALGORITHMS: dict[str, frozenset[str]] = {
    "Ciphers": frozenset(paramiko.Transport._preferred_ciphers),  # type: ignore[attr-defined,unused-ignore] # noqa: SLF001 - no host is there yet
    "MACs": frozenset(paramiko.Transport._preferred_macs),  # type: ignore[attr-defined,unused-ignore] # noqa: SLF001 - as above
    "KexAlgorithms": frozenset(paramiko.Transport._preferred_kex),  # type: ignore[attr-defined,unused-ignore] # noqa: SLF001 - as above
    "HostKeyAlgorithms": frozenset(paramiko.Transport._preferred_keys),  # type: ignore[attr-defined,unused-ignore] # noqa: SLF001 - as above
    "PubkeyAcceptedAlgorithms": frozenset(paramiko.Transport._preferred_pubkeys),  # type: ignore[attr-defined,unused-ignore] # noqa: SLF001 - as above
}
"""What paramiko has of each list of algorithms, by OpenSSH's option for it."""


class AskedSession:
    """A session that was asked for: `ears` hear of the answer, and then of all that comes of the session."""

    def __init__(self, transport: Any, number: int) -> None:  # noqa: ANN401 - what it has is not in its types
        self._transport = transport
        self._number = number
        self._channel = paramiko.Channel(number)
        self.ears = ChannelEars(self._channel)

    @property
    def is_answered(self) -> bool:
        """Whether it is there, or will never be."""
        # paramiko wakes us first, and takes the number away then: it has let go of the lock after both.
        with self._transport.lock:
            return not self._transport.active or self._number not in self._transport.channel_events

    def channel(self) -> paramiko.Channel:
        """Return the session. Raises why there is none."""
        if self._transport.active and self._transport._channels.get(self._number) is not None:  # noqa: SLF001 - as above
            return self._channel
        raise self._transport.get_exception() or paramiko.SSHException("Unable to open channel.")


def ask_for_session(transport: Any) -> AskedSession:  # noqa: ANN401 - as above
    """Ask for a session as paramiko's `open_channel` does, and wait for no answer.

    Raises `SSHException` where the connection has ended.
    """
    if not transport.active:
        raise paramiko.SSHException("SSH session not active")
    window, packet = transport.default_window_size, transport.default_max_packet_size
    with transport.lock:
        asked = AskedSession(transport, number := transport._next_channel())  # noqa: SLF001 - as above
        channel: Any = asked._channel  # noqa: SLF001 - as above
        transport._channels.put(number, channel)  # noqa: SLF001 - as above
        transport.channel_events[number] = asked.ears
        transport.channels_seen[number] = True
        channel._set_transport(transport)  # noqa: SLF001 - as above
        channel._set_window(window, packet)  # noqa: SLF001 - as above
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_OPEN)
    message.add_string("session")
    for value in (number, window, packet):
        message.add_int(value)
    transport._send_user_message(message)  # noqa: SLF001 - as above
    return asked


def has_channels(transport: paramiko.Transport) -> bool:
    """Return whether a session or a tunnel is open in a connection: paramiko does not tell otherwise."""
    return len(transport._channels) > 0  # type: ignore[attr-defined]  # noqa: SLF001 - see above


def use_agent(agent: AgentSSH, connected: object) -> None:
    """Have keys of an agent come through a connection of ours: paramiko's own way in reads the environment only."""
    agent._connect(connected)  # type: ignore[attr-defined]  # noqa: SLF001 - see above


def room_in(channel: paramiko.Channel) -> int:
    """Return how many bytes the other side takes now."""
    return int(channel.out_window_size)


def begin(transport: Transport, channel: Any, command: str) -> None:  # noqa: ANN401 - as above
    """Have a command run in a session, and wait for no answer: where it is refused, paramiko closes the session."""
    variables = [_request(channel, "env", *variable, answered=False) for variable in transport.environment]
    with transport.input_of(channel), transport.together():
        for message in (*variables, _request(channel, "exec", command, answered=True)):
            transport._send_user_message(message)  # noqa: SLF001 - as `exec_command` does


def _request(channel: Any, kind: str, *words: str, answered: bool) -> paramiko.Message:  # noqa: ANN401 - as above
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string(kind)
    message.add_boolean(answered)
    for word in words:
        message.add_string(word)
    return message


def has_said_all(channel: paramiko.Channel) -> bool:
    """Return whether no more output will come: what has come may still be there to be read."""
    return bool(channel.closed or channel.eof_received)


def _signal_number(name: str) -> int:
    return next((number.value for number in signal.Signals if number.name == f"SIG{name}"), 127)
