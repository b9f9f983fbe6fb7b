"""What the rest asks of the way to a host, whatever carries it: a command, a connection from there, where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from nixhive_nb.ssh.call import Call


class RemoteResult(msgspec.Struct, frozen=True, kw_only=True):
    """A command that ended on a host."""

    exited: int
    """Its exit status; 128 + N where signal N ended it."""
    stdout: str
    stderr: str
    seconds: float
    """From sending it to its end, without the login."""
    is_cut: bool = False
    """Whether it said more than is kept: of each stream the beginning and the end are left then."""


class Channel(Protocol):
    """What is needed of a socket. `close` wakes a thread that reads or writes."""

    def sendall(self, data: bytes, /) -> object:
        """Write all of it."""

    def recv(self, size: int, /) -> bytes:
        """Read some bytes; none at the end."""

    def close(self) -> object:
        """End it; any number of times."""


class HostLink(Protocol):
    """One connection to one instance."""

    @property
    def address(self) -> str:
        """The instance's address as seen from this machine. Blocks. Raises `ConnectionFailed`."""

    @property
    def room(self) -> AbstractAsyncContextManager[object]:
        """A place for a command: as many run at once as a connection has sessions."""

    async def run(
        self,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] | None = None,
        stdin: str | None = None,
    ) -> RemoteResult:
        """Run shell words there, and return how they ended, whatever their exit status, within so many seconds.

        `on_line` gets each line as it comes, without terminal control; the result has all as it was said. `stdin` is
        their input; without one they end on the host when we are gone. When cancelled, let go of that command alone.
        Raises `ConnectionFailed`, `LinkLost`, or `NoAnswer` where the login runs something else.
        """

    def dial(self, host: str, port: int, seconds: float) -> Channel:
        """Have the instance connect to a host and port; blocks for `seconds` at most. Raises `ConnectionFailed`.

        Reading and writing wait for `seconds` at most, too.
        """


class FarLinks(Protocol):
    """The ways to instances that are reached from another machine. `here` tells the address as seen from this one."""

    def carries(self, instance: str) -> bool:
        """Return whether an instance is reached so."""

    def run(
        self,
        instance: str,
        command: str,
        *,
        timeout: float | None,
        stdin: bytes,
        on_call: Callable[[Call], None] | None,
        ending: bytes,
    ) -> RemoteResult:
        """Run a command once and wait for its end, heard by its call; blocks. Raises as `HostLink.run`."""

    def lost_since(self, instance: str, moment: float) -> bool:
        """Return whether what Nix moves lost its way to an instance since a moment of the monotonic clock."""

    def kept(self, instance: str, here: Callable[[], str]) -> HostLink:
        """Return the connection that is kept there from command to command."""

    def fresh(self, instance: str, here: Callable[[], str], *, urgent: bool) -> AbstractAsyncContextManager[HostLink]:
        """Open one there that nothing has used before, for the time of the block."""


class HostLinks(Protocol):
    """The ways to the instances of a deployment."""

    def kept(self, instance: str) -> HostLink:
        """Return the connection that is kept from command to command, and opened with the first."""

    def fresh(self, instance: str, *, urgent: bool = False) -> AbstractAsyncContextManager[HostLink]:
        """Open a connection that nothing has used before, for the time of the block. Raises `ConnectionFailed`.

        `urgent` waits for no other login: a host on trial waits for its word.
        """
