"""Fabric, made fit for many threads and for plain data: bytes in, lines out, no terminal, no files read.

Fabric's `Connection.run` runs the commands; the runner below only replaces how bytes get in and out. Invoke's own way
sends one byte of input every 10 ms, never ends the input where there is none, looks every 10 ms whether the command has
ended, cuts characters at the edges of its reads, and joins all output so far at each of them.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import fabric
import paramiko
from fabric.runners import Remote
from invoke.runners import Runner

from nixhive_nb.ssh.transport import Cancelled, room_in, wait_for_status
from nixhive_nb.util.kept import KEPT, Cutter, Kept
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_CHUNK = 32768
_ENDED = (OSError, EOFError, paramiko.SSHException)
"""What sending raises when the command or the link has ended; the reading side then says how."""
_LOOK = 0.5
"""Seconds between looks at whether a reader has failed; the end of the command is noticed at once."""
_LAST_SECONDS = 2.0
"""How long a command has to end after it was told to."""
_GLANCE = 0.02
"""Seconds between looks at whether it has ended then."""


class Call:
    """One command on its way: its input, where its lines go, and whether it has left this machine."""

    def __init__(
        self,
        stdin: bytes | None,
        on_line: Callable[[str, str], None] | None,
        *,
        ending: bytes = b"",
        held: bool = False,
    ) -> None:
        """Take a call: `ending` after the input ends the command on the host, and so the input is kept open.

        It is for one that is `held` as well: the host ends that when its input ends.
        """
        self.stdin = stdin
        self.held = held
        self.ending = ending
        self.fed = False
        """Whether the host has all of the input, and waits for the `ending`."""
        self.sent = False
        self.cancelled = False
        self.channel: Any = None
        """The session that it runs in, once it does."""
        self.failure: BaseException | None = None
        """What the receiver of lines raised."""
        self.reason = ""
        """Why it was ended before its own end; empty when it was not."""
        self.stdout = Output("stdout", self)
        self.stderr = Output("stderr", self)
        self._on_line = on_line
        self._lock = threading.Lock()

    def bound(self, most: int, overflow: Callable[[str, bytes], str] | None = None) -> None:
        """Keep no more than `most` bytes of each stream; call it before the command is sent.

        `overflow(stream, data)` takes all of a longer stream, and gives where it is.
        """
        for output in (self.stdout, self.stderr):
            output.bound(most, overflow)

    @property
    def is_cut(self) -> bool:
        """Whether it said more than is kept."""
        return self.stdout.is_cut or self.stderr.is_cut

    def cancel(self) -> None:
        """Let go of this command alone: others in the same connection go on. It may go on running on the host."""
        self.cancelled = True
        if self.channel is not None:
            self.channel.close()

    def end(self, reason: str) -> None:
        """Have the host end this command, if it knows a word for that, and let go of it. Blocks for a moment."""
        if self.channel is not None and self.channel.exit_status_ready():
            return
        self.reason = self.reason or reason
        self.cancelled = True
        channel = self.channel
        if channel is None:
            return
        if self.fed and room_in(channel) > len(self.ending):
            with channel.transport.input_of(channel), swallowed(_log, "ending a command", *_ENDED):
                channel.sendall(self.ending)
            deadline = time.monotonic() + _LAST_SECONDS
            # Not only its status: what it wrote at last comes, too, before the host closes the session.
            while not channel.closed and time.monotonic() < deadline:
                time.sleep(_GLANCE)
        channel.close()

    def end_aside(self, reason: str) -> None:
        """Do what `end` does in a thread of its own, and return at once."""
        threading.Thread(target=self.end, args=(reason,), name="hive-end", daemon=True).start()

    def line(self, stream: str, text: str) -> None:
        """Hand a line on. Both streams have a thread of their own; the receiver sees one line at a time."""
        if self._on_line is None:
            return
        with self._lock:
            try:
                self._on_line(stream, text)
            except BaseException as error:
                self.failure = error
                raise


class Output:
    """Collects the text of one stream and cuts it into lines."""

    def __init__(self, name: str, call: Call) -> None:
        self.call = call
        self._name = name
        self._cutter = Cutter()
        self._kept = Kept(KEPT)

    @property
    def is_cut(self) -> bool:
        """Whether something of it is not kept."""
        return self._kept.is_cut

    def bound(self, most: int, overflow: Callable[[str, bytes], str] | None) -> None:
        """Do what `Call.bound` says for this stream."""
        name = self._name
        self._kept = Kept(most, None if overflow is None else lambda data: overflow(name, data))

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take some bytes."""
        if data:
            self._kept.add(data)
        for line in self._cutter.feed(data, last=last):
            self.call.line(self._name, line)

    def text(self) -> str:
        """Return what is kept of it."""
        return self._kept.text()


class PlainRunner(Remote):  # type: ignore[misc] # fabric has no types
    """Fabric's remote runner, with other hands for the bytes. Its streams are those of a `Call`."""

    def start(self, command: str, shell: str, env: dict[str, str], timeout: float | None = None) -> None:
        """Open a session and send the command."""
        super().start(command, shell, env, timeout)
        if not self.streams["in"]:
            with self.channel.transport.input_of(self.channel), swallowed(_log, "ending the input", *_ENDED):
                self.channel.shutdown_write()

    def send_start_message(self, command: str) -> None:
        """Send the command, unless it was let go of. From here on nobody may send it again."""
        call = self.streams["out"].call
        # In this order: who lets go of it now closes the session, or is seen here.
        call.channel = self.channel
        if call.cancelled:
            raise Cancelled
        call.sent = True
        super().send_start_message(command)

    def handle_stdout(self, buffer_: list[str], hide: bool, output: Output) -> None:  # noqa: ARG002, FBT001 - Invoke's way
        """Read the standard output to its end."""
        _read(self.channel.recv, output)

    def handle_stderr(self, buffer_: list[str], hide: bool, output: Output) -> None:  # noqa: ARG002, FBT001 - Invoke's way
        """Read the standard error to its end."""
        _read(self.channel.recv_stderr, output)

    def handle_stdin(self, input_: Call, output: Output, echo: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Send the whole input and then its end, unless it is kept open."""
        # A command that ends without reading its input is its own affair, as with a local pipe.
        with self.channel.transport.input_of(self.channel), swallowed(_log, "sending the input", *_ENDED):
            self.channel.sendall(input_.stdin)
            if input_.ending:
                input_.fed = True
            elif not input_.held:
                self.channel.shutdown_write()

    def wait(self) -> None:
        """Wait for the end of the command, or of a thread that reads from it."""
        while not wait_for_status(self.channel, _LOOK):
            if self.has_dead_threads:
                return

    def send_interrupt(self, interrupt: KeyboardInterrupt) -> None:
        """Let go of the command, so that our readers end, and pass the interrupt on."""
        self.channel.close()
        raise interrupt

    def stop(self) -> None:
        """Close the session. Fabric's own would also reset the kernel's handler of window changes."""
        Runner.stop(self)
        if hasattr(self, "channel"):
            self.channel.close()


class HostConnection(fabric.Connection):  # type: ignore[misc] # fabric has no types
    """A Fabric connection that is opened once. When it is dead, build another."""

    # Fabric's attributes are proxies of its configuration: one that the class does not declare is written into the
    # configuration that all threads share, while others read it.
    inline_ssh_env = None

    def open(self) -> None:
        """Log in. Fabric would log in again on a dead socket."""
        if self.transport is not None and not self.is_connected:
            raise paramiko.SSHException("the connection has ended")
        super().open()

    def perform(self, command: str, call: Call) -> int:
        """Run a command and give its exit status; -1 when the host never told it."""
        result: Any = self.run(
            command,
            hide=True,
            warn=True,
            in_stream=False if call.stdin is None else call,
            out_stream=call.stdout,
            err_stream=call.stderr,
        )
        return int(result.exited)


def shared_config() -> Any:  # noqa: ANN401 - fabric has no types
    """Return the configuration for any number of connections: it reads no file, neither Fabric's nor ssh's."""
    return fabric.Config(
        lazy=True, overrides={"load_ssh_configs": False, "forward_agent": False, "runners": {"remote": PlainRunner}}
    )


def _read(receive: Callable[[int], bytes], output: Output) -> None:
    while data := receive(_CHUNK):
        output.feed(data)
    output.feed(b"", last=True)
