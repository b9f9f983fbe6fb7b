"""One command on its way to a host: its input, where its lines go, what is kept of them, and how it is ended."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Protocol

from nixhive_nb.util.kept import KEPT, Cutter, Kept

if TYPE_CHECKING:
    from collections.abc import Callable

_LAST_SECONDS = 2.0
"""How long a command has to end after it was told to."""
_GLANCE = 0.02
"""Seconds between looks at whether it has ended then."""


class CommandSession(Protocol):
    """The session that a command runs in, for others than the thread that drives it."""

    @property
    def is_told(self) -> bool:
        """Whether its exit status is known."""

    @property
    def is_closed(self) -> bool:
        """Whether all has come of it that will."""

    def say(self, data: bytes) -> bool:
        """Send the last of its input, and return whether the host takes it now."""

    def close(self) -> None:
        """Let go of it; it may go on running on the host."""


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
        self.rests = False
        """Whether the thread that does it is its own, and may rest while much comes."""
        self.session: CommandSession | None = None
        """The session that it runs in, once it does."""
        self.failure: BaseException | None = None
        """What the receiver of lines raised."""
        self.reason = ""
        """Why it was ended before its own end; empty when it was not."""
        self.stdout = Output("stdout", self)
        self.stderr = Output("stderr", self)
        self._on_line = on_line
        self._on_lines: Callable[[str, str], None] | None = None

    def ends_input(self) -> bool:
        """Note that the host has all of the input, and return whether it is to see the end of that now."""
        self.fed = self.stdin is not None and bool(self.ending)
        return not self.fed and (self.stdin is None or not self.held)

    def hear(self, on_lines: Callable[[str, str], None]) -> None:
        """Have lines go to `on_lines(stream, lines)`: as many as have come at once, with newlines between them.

        Call it before the command is sent. It is for much output: each call costs more than to cut a line.
        """
        self._on_lines = on_lines

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
        if self.session is not None:
            self.session.close()

    def end(self, reason: str) -> None:
        """Have the host end this command, if it knows a word for that, and let go of it. Blocks for a moment."""
        session = self.session
        if session is not None and session.is_told:
            return
        self.reason = self.reason or reason
        self.cancelled = True
        session = self.session  # it may have begun just now
        if session is None:
            return
        if self.fed and session.say(self.ending):
            deadline = time.monotonic() + _LAST_SECONDS
            # Not only its status: what it wrote at last comes, too, before the host closes the session.
            while not session.is_closed and time.monotonic() < deadline:
                time.sleep(_GLANCE)
        session.close()

    def end_aside(self, reason: str) -> None:
        """Do what `end` does in a thread of its own, and return at once."""
        threading.Thread(target=self.end, args=(reason,), name="hive-end", daemon=True).start()

    @property
    def is_heard(self) -> bool:
        """Whether somebody wants its lines."""
        return self._on_line is not None or self._on_lines is not None

    def lines(self, stream: str, lines: str) -> None:
        """Hand lines on. Both streams are read by one thread; the receiver sees one call at a time."""
        try:
            if self._on_lines is not None:
                self._on_lines(stream, lines)
            elif self._on_line is not None:
                for line in lines.split("\n"):
                    self._on_line(stream, line)
        except BaseException as error:
            self.failure = error
            raise


class Output:
    """Collects the text of one stream and cuts it into lines."""

    def __init__(self, name: str, call: Call) -> None:
        self.call = weakref.proxy(call)  # no circle: what is kept may be a lot, and goes with the call
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
        if not self.call.is_heard:
            return
        for lines in self._cutter.blocks(data, last=last):
            self.call.lines(self._name, lines)

    def text(self) -> str:
        """Return what is kept of it up to now."""
        return self._kept.text()

    def ended(self) -> str:
        """Return what is kept of it, once it has ended."""
        return self._kept.ended()
