"""Running a command in a session of a connection: bytes in, bytes out, step by step.

Whatever comes of the session lets the next step go on: output, room for more input, the end. So it needs no thread
beside paramiko's own of the connection while nothing comes, and input is sent while output comes.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import paramiko

from nixhive_nb.ssh.attempt import Cancelled
from nixhive_nb.ssh.transport import ask_for_session, begin, has_said_all, room_in
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.ears import Ears, Steps
    from nixhive_nb.ssh.transport import Transport
    from nixhive_nb.ssh.watchdog import Watchdog

_log = logging.getLogger(__name__)

ENDED = (OSError, EOFError, paramiko.SSHException)
"""What sending raises when the command or the link has ended; the reading side then says how."""
_CHUNK = 2**21
"""As much as a session has room for: what a smaller read leaves there is moved about in memory."""
_PIECE = 2**15
"""Bytes of input that are sent between two looks at what has come."""
_MUCH = 2**15
_REST = 0.005
"""After so many bytes at once, as long as the longest packet, more are on their way: so many seconds are given to them.

Else each packet wakes a thread, and Python's threads, of which one runs at a time, mostly wait for each other.
"""


def perform(transport: Transport, command: str, call: Call, watchdog: Watchdog) -> Steps[int]:
    """Run a command and return its exit status; -1 when the host never told it.

    Raises what paramiko raises where it could not be sent, and whatever the receiver of its lines raises.
    """
    asked = ask_for_session(transport)
    with watchdog.limit(transport.channel_timeout, asked.ears.set) as limit:
        while not asked.is_answered:
            if limit.expired:
                raise paramiko.SSHException("Timeout opening channel.")
            yield asked.ears
    channel = asked.channel()
    try:
        # In this order: who lets go of it now closes the session, or is seen here.
        call.session = ChannelSession(transport, channel)
        if call.cancelled:
            raise Cancelled
        call.sent = True  # from here on nobody may send it again
        talk = _Talk(transport, channel, call)
        with transport.together():
            begin(transport, channel, command)
            talk.feed()  # where there is none, its end goes with the command
        yield from talk.to_its_end(asked.ears)
        while not channel.exit_status_ready():  # it waits behind the end of the output
            _acknowledge(transport, asked.ears)
            yield asked.ears
        # How it ended is known. The host has closed it, or is about to.
        with swallowed(_log, "closing a session", *ENDED), transport.later():
            channel.close()
        return int(channel.exit_status)
    finally:
        channel.close()


def _acknowledge(transport: Transport, ears: Ears) -> None:
    with swallowed(_log, "acknowledging what came", *ENDED):
        transport.acknowledge(ears)


class ChannelSession:
    """A command's session in a connection of paramiko's, for others than the thread that drives it."""

    def __init__(self, transport: Transport, channel: paramiko.Channel) -> None:
        """Take the channel of the session."""
        self._transport = transport
        self._channel = channel

    @property
    def is_told(self) -> bool:
        """Whether its exit status is known, or never will be."""
        return self._channel.exit_status_ready()

    @property
    def is_closed(self) -> bool:
        """Whether all has come of it that will."""
        return bool(self._channel.closed)

    def say(self, data: bytes) -> bool:
        """Send the last of its input, and return whether there was room for it."""
        if room_in(self._channel) <= len(data):
            return False
        with self._transport.input_of(self._channel), swallowed(_log, "ending a command", *ENDED):
            self._channel.sendall(data)
        return True

    def close(self) -> None:
        """Let go of it."""
        self._channel.close()


class _Talk:
    """What goes to and fro in one session."""

    def __init__(self, transport: Transport, channel: paramiko.Channel, call: Call) -> None:
        self._transport = transport
        self._channel = channel
        self._call = call
        self._input: memoryview | None = memoryview(call.stdin or b"")
        """What the host has not yet; None once it has its end, too, or takes none."""

    def to_its_end(self, ears: Ears) -> Steps[None]:
        """Feed the command its input, and take what it says, until it has said all and takes no more."""
        channel = self._channel
        while True:
            # Looked at first: what came before the end is there to be read then.
            is_over = has_said_all(channel) and (self._input is None or channel.exit_status_ready())
            went_on = self.feed()
            heard = self._hear()
            if heard >= _MUCH and self._call.rests and not is_over:
                time.sleep(_REST)
            if heard or went_on:
                continue
            if is_over:
                break
            _acknowledge(self._transport, ears)
            yield ears
        for output in (self._call.stdout, self._call.stderr):
            output.feed(b"", last=True)

    def _hear(self) -> int:
        """Take what has come; return how many bytes that were."""
        channel, call = self._channel, self._call
        said = errors = b""
        # Reading makes room for more, which the host is told.
        with self._transport.input_of(channel):
            if channel.recv_ready():
                said = channel.recv(_CHUNK)
            if channel.recv_stderr_ready():
                errors = channel.recv_stderr(_CHUNK)
        if said:
            call.stdout.feed(said)
        if errors:
            call.stderr.feed(errors)
        return len(said) + len(errors)

    def feed(self) -> bool:
        """Send some of the input, as much as the host takes now; return whether something was sent."""
        left = self._input
        if left is None or (left and not room_in(self._channel)):
            return False
        # A command that ends without reading its input is its own affair, as with a local pipe.
        self._input = None
        sending = swallowed(_log, "sending the input", *ENDED)
        with sending, self._transport.input_of(self._channel), self._transport.together():
            if left:
                left = left[self._channel.send(bytes(left[:_PIECE])) :]
            if left:
                self._input = left
            elif self._call.ends_input():
                self._channel.shutdown_write()
        return True
