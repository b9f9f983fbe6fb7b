"""A connection that OpenSSH carries: its control master, and the sessions and tunnels over it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.ssh.attempt import Cancelled
from nixhive_nb.ssh.ears import Ears
from nixhive_nb.ssh.mux import Conversation
from nixhive_nb.ssh.pipes import READ, WRITE
from nixhive_nb.util import process
from nixhive_nb.util.files import read_tail
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.carrier import CarrierName
    from nixhive_nb.ssh.ears import Steps
    from nixhive_nb.ssh.login import TakenKey
    from nixhive_nb.ssh.pipes import Pipes
    from nixhive_nb.ssh.watchdog import Watchdog

_log = logging.getLogger(__name__)
_OPENING = 15.0
"""Seconds for a session to be opened."""
_ENDING = 5.0
"""Seconds that a master which has removed its socket has to end."""
_CHUNK = 2**18
_PIECE = 2**16
_MOST_WORDS = 300
_OPEN_FAILED = re.compile(r"open failed: (.+)")
_FORBIDDEN = "administratively prohibited"
_SILENT = "not responding"
_ENDED = "Connection "
"""How OpenSSH says that the connection ended."""
SIGNALLED = 255
"""The exit status of a command that a signal ended: OpenSSH does not tell which. It is that of `ssh` then."""


class Master:
    """A control master that is logged in to a host, with nobody else's sessions in it."""

    carrier: CarrierName = "openssh"

    def __init__(
        self, name: str, running: subprocess.Popen[bytes], control: Path, log: Path, pipes: Pipes, *, silence: int
    ) -> None:
        """Take its process, its socket `control`, and the file `log` of what it writes.

        It ends after so many seconds of `silence`.
        """
        self._silence = silence
        self._name = name
        self._running = running
        self._control = control
        self._log = log
        self._pipes = pipes
        self._lock = threading.Lock()
        self._used: set[MuxSession | Forwarded] = set()
        self._broken = False
        self._reason = ""
        self._heard = time.monotonic()

    @property
    def taken(self) -> TakenKey | None:
        """Nothing: OpenSSH tells it at a level that says much else."""
        return None

    @property
    def alive(self) -> bool:
        """Whether commands may be tried on it."""
        return not self._broken and self._running.poll() is None and self._control.exists()

    @property
    def busy(self) -> bool:
        """Whether a session or a tunnel is open in it."""
        return bool(self._used)

    @property
    def heard(self) -> float:
        """When it was used at last: OpenSSH itself asks the host for signs of life."""
        return self._heard

    @property
    def reason(self) -> str:
        """Why it was broken off here; empty where it was not."""
        return self._reason

    def why_ended(self) -> str:
        """Return what OpenSSH said of its end; empty where it goes on, or said nothing of that."""
        if not self._has_ended():
            return ""
        lines: list[str] = []
        with swallowed(_log, f"reading {self._log}", OSError):
            lines = strip_control(read_tail(self._log)).splitlines()
        if any(_SILENT in line for line in lines):
            return f"nothing was heard from it for {self._silence} s"
        return next((one_line(line, _MOST_WORDS).rstrip(".") for line in reversed(lines) if _ENDED in line), "")

    def _has_ended(self) -> bool:
        """Whether its process has, which removes its socket and hangs up on sessions just before."""
        if not self._control.exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(_ENDING)
        return self._running.poll() is not None

    def is_silent(self, _seconds: float) -> bool:
        """Return False: a host that gives OpenSSH no sign of life ends it."""
        return False

    def perform(self, command: str, call: Call, watchdog: Watchdog) -> Steps[int]:
        """Run a command and give its exit status; -1 when the host never told it. Raises `OSError`, `ValueError`."""
        if call.cancelled:
            raise Cancelled
        with self._session(command, call) as session:
            with watchdog.limit(_OPENING, session.ears.set) as limit:
                while not session.is_answered:
                    if limit.expired:
                        raise TimeoutError("Timeout opening a session")
                    yield session.wait()
            if session.refusal:
                raise ConnectionRefusedError(session.refusal)
            if session.is_lost:
                raise BrokenPipeError("the connection has ended")
            # The master says so before it sends the command.
            call.sent = True
            yield from session.to_its_end()
            if session.status == -1 and not session.was_left and self._answers():
                # It alone ended, and nobody told how: that is how a signal looks from here.
                return SIGNALLED
            return session.status

    def dial(self, host: str, port: int, seconds: float) -> Forwarded:
        """Connect to `host:port` from there. Raises `ConnectionFailed`."""
        written = self._log.stat().st_size if self._log.exists() else 0
        tunnel = Forwarded(self._let_go)
        with self._lock:
            self._used.add(tunnel)
        try:
            tunnel.open(self._control, host, port, seconds)
        except OSError as error:
            _log.debug("%s: no connection to %s:%s", self._name, host, port, exc_info=True)
            tunnel.close()
            why = self._why_refused(written) or one_line(str(error) or type(error).__name__)
            raise ConnectionFailed(f"{self._name}: no connection to {host}:{port}: {why}.") from None
        return tunnel

    def break_(self, reason: str = "") -> None:
        """End it from any thread, without waiting."""
        with self._lock:
            self._broken = True
            self._reason = self._reason or reason
            used = list(self._used)
        process.ask_to_end(self._running)
        for one in used:
            one.let_go()

    def close(self) -> None:
        """Close it; any number of times."""
        self.break_()
        process.end(self._running)
        for path in (self._control, self._log):
            with swallowed(_log, f"removing {path}", OSError):
                path.unlink(missing_ok=True)

    def _answers(self) -> bool:
        """Return whether the master serves whoever asks."""
        if self._broken:
            return False
        what = f"{self._name}: asking its master"
        with swallowed(_log, what, OSError), contextlib.closing(Conversation(self._control)) as asked:
            return asked.is_alive()
        return False

    @contextlib.contextmanager
    def _session(self, command: str, call: Call) -> Iterator[MuxSession]:
        session = MuxSession(self._control, self._pipes, call)
        with self._lock:
            self._used.add(session)
        try:
            # In this order: who lets go of the command now ends its session, or was seen before.
            call.session = session
            if call.cancelled or self._broken:
                raise Cancelled if call.cancelled else BrokenPipeError
            session.begin(command)
            yield session
        finally:
            session.finish()
            self._let_go(session)

    def _let_go(self, one: MuxSession | Forwarded) -> None:
        with self._lock:
            self._used.discard(one)
        self._heard = time.monotonic()

    def _why_refused(self, written: int) -> str:
        """Return why the host opened no connection, as OpenSSH has written since then; empty where it has not."""
        text = ""
        with swallowed(_log, f"reading {self._log}", OSError):
            text = strip_control(read_tail(self._log, start=written))
        reasons = _OPEN_FAILED.findall(text)
        if not reasons:
            return ""
        if reasons[-1].startswith(_FORBIDDEN):
            return "its sshd does not allow it (AllowTcpForwarding)"
        return "nothing listens there, or it cannot be reached"


class MuxSession:
    """One command over a master: its three pipes, and the conversation that tells how it ended."""

    def __init__(self, control: Path, pipes: Pipes, call: Call) -> None:
        """Connect to the master; nothing is asked yet. Raises `OSError`."""
        self.ears = Ears()
        self._pipes = pipes
        self._call = call
        self._input: memoryview | None = memoryview(call.stdin or b"")
        """What the host has not yet; None once it has its end, too, or takes none."""
        self._lock = threading.Lock()
        self._left = False
        self._is_over = False
        self._stdin = -1
        self._outputs: dict[int, str] = {}
        self._asked = Conversation(control)

    def begin(self, command: str) -> None:
        """Ask for the session. Raises `OSError`."""
        theirs: list[int] = []
        try:
            reading, self._stdin = os.pipe()
            theirs.append(reading)
            for stream in ("stdout", "stderr"):
                handle, writing = os.pipe()
                self._outputs[handle] = stream
                theirs.append(writing)
            for handle in (self._stdin, *self._outputs):
                os.set_blocking(handle, False)
            self._asked.ask_for_session(command, theirs)
        finally:
            for handle in theirs:
                os.close(handle)

    # What its driver asks

    @property
    def is_answered(self) -> bool:
        """Whether it runs, or will never run."""
        while self._asked.hear():
            pass
        return self._asked.is_answered or self._left

    @property
    def refusal(self) -> str:
        """Why there is no session; empty where there is one."""
        return self._asked.refusal

    @property
    def is_lost(self) -> bool:
        """Whether it will never run, and nobody says why."""
        return not self._asked.is_open

    @property
    def status(self) -> int:
        """The exit status; -1 where the host never told it."""
        return -1 if self._asked.exited is None else self._asked.exited

    @property
    def was_left(self) -> bool:
        """Whether somebody has let go of it."""
        return self._left

    def wait(self) -> Ears:
        """Return what to wait for: whatever comes of the session."""
        # One that has ended is at its end for ever: who waits for that never rests.
        if not self._asked.ended:
            self._pipes.watch(self._asked.fileno(), READ, self.ears)
        for handle in self._outputs:
            self._pipes.watch(handle, READ, self.ears)
        # There is room from the start on, which is of no use before there is a session.
        if self._input and self._asked.is_answered:
            self._pipes.watch(self._stdin, WRITE, self.ears)
        return self.ears

    def to_its_end(self) -> Steps[None]:
        """Feed the command its input, and take what it says, until it has said all and its status is known."""
        while not self._left:
            # Looked at first: what came before the end is there to be read then.
            while self._asked.hear():
                pass
            ended, told = self._asked.ended, self._asked.exited is not None
            went_on = self._feed()
            heard = self._hear()
            if heard or went_on:
                continue
            # Not before the master has closed it: asked for another session earlier, the host would count both.
            if ended and not (told and self._outputs):
                break
            yield self.wait()
        for output in (self._call.stdout, self._call.stderr):
            output.feed(b"", last=True)

    def finish(self) -> None:
        """Let go of all that it has."""
        with self._lock:
            self._is_over = True
            handles = [*self._outputs, *([self._stdin] if self._stdin >= 0 else [])]
            self._outputs.clear()
            self._stdin = -1
            for handle in handles:
                self._drop(handle)
            self._pipes.forget(self._asked.fileno())
            self._asked.close()

    # What others ask, from any thread

    @property
    def is_told(self) -> bool:
        """Whether its exit status is known."""
        return self._is_over or self._asked.exited is not None

    @property
    def is_closed(self) -> bool:
        """Whether all has come that will."""
        return self._is_over

    def say(self, data: bytes) -> bool:
        """Send the last of the input, and return whether the host takes it now."""
        with self._lock, swallowed(_log, "ending a command", OSError):
            return self._stdin >= 0 and os.write(self._stdin, data) == len(data)
        return False

    def close(self) -> None:
        """Let go of it: the host sees the end of its input, and no more is read."""
        with self._lock:
            if self._is_over:
                return
            self._left = True
            self._asked.let_go()
        self.ears.set()

    let_go = close

    def _feed(self) -> bool:
        """Send some of the input, as much as there is room for now; return whether something was sent."""
        left = self._input
        if left is None:
            return False
        try:
            left = left[os.write(self._stdin, left[:_PIECE]) :] if left else left
        except BlockingIOError:
            return False
        except OSError:
            # A command that ends without reading its input is its own affair, as with a local pipe.
            _log.debug("sending the input", exc_info=True)
            self._input = None
            self._close_input()
            return True
        self._input = left
        if not left:
            self._input = None
            if self._call.ends_input():
                self._close_input()
        return True

    def _close_input(self) -> None:
        with self._lock:
            handle, self._stdin = self._stdin, -1
            if handle >= 0:
                self._drop(handle)

    def _hear(self) -> int:
        """Take what has come; return how many bytes that were, and count an end as one."""
        came = 0
        for handle, stream in list(self._outputs.items()):
            try:
                data = os.read(handle, _CHUNK)
            except BlockingIOError:
                continue
            if data:
                (self._call.stdout if stream == "stdout" else self._call.stderr).feed(data)
            else:
                with self._lock:
                    del self._outputs[handle]
                    self._drop(handle)
            came += len(data) or 1
        return came

    def _drop(self, handle: int) -> None:
        self._pipes.forget(handle)
        os.close(handle)


class Forwarded:
    """A TCP connection that a host makes for us, over its master: a `Channel`."""

    def __init__(self, left: Callable[[Forwarded], None]) -> None:
        """`left` is called when it is closed."""
        self._left = left
        # Two of them: the host may end its side, and go on taking ours.
        self._there, there = socket.socketpair()
        self._here, here = socket.socketpair()
        self._theirs = (there, here)
        self._asked: Conversation | None = None

    def open(self, control: Path, host: str, port: int, seconds: float) -> None:
        """Have the host connect. Raises `OSError`."""
        there, here = self._theirs
        with there, here:
            self._asked = Conversation(control)
            self._asked.ask_for_connection(host, port, (there.fileno(), here.fileno()))
        self._asked.answered_within(seconds)
        if not self._asked.is_open:
            raise ConnectionRefusedError(self._asked.refusal or "the connection to the host has ended")
        for one in (self._there, self._here):
            one.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        """Write all of it. What the other side does not take any more is dropped: reading then tells the end."""
        with swallowed(_log, "writing to a tunnel", BrokenPipeError, ConnectionResetError):
            self._there.sendall(data)

    def recv(self, size: int) -> bytes:
        """Read some bytes; none at the end."""
        return self._here.recv(size)

    def let_go(self) -> None:
        """Have whoever reads or writes find the end."""
        for one in (self._there, self._here):
            with swallowed(_log, "ending a tunnel", OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it, also under a thread that reads."""
        self.let_go()
        for one in (self._there, self._here, *self._theirs):
            one.close()
        if self._asked is not None:
            self._asked.close()
        self._left(self)
