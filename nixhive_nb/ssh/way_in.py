"""The way to the ssh server of a host, without a login: for an ssh that runs on another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.ssh.dial import dial, explain
from nixhive_nb.ssh.guest import Dropped
from nixhive_nb.ssh.transport import Link

if TYPE_CHECKING:
    from pathlib import Path

    from nixhive_nb.ssh.resolve import SshTarget


class WayIn:
    """An open connection to an ssh server: a `Channel` whose calls block."""

    def __init__(self, link: Link) -> None:
        """Take what was dialled."""
        self._link = link
        link.settimeout(None)

    def sendall(self, data: bytes, /) -> None:
        """Write all of it. Raises `OSError`."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._link.send(bytes(left)) :]
        except EOFError:
            raise ConnectionResetError(self._link.reason or "it was closed") from None

    def recv(self, size: int, /) -> bytes:
        """Read some bytes; none at the end. Raises `OSError`."""
        try:
            return self._link.recv(size)
        except EOFError:
            raise ConnectionResetError(self._link.reason or "it was closed") from None

    def close(self) -> None:
        """End it; any number of times."""
        self._link.close()


def way_in(target: SshTarget, through: Path | None, seconds: float) -> WayIn:
    """Connect to the ssh server of a host, by the socket `through` where it is behind jumps.

    Raises `ConnectionFailed`.
    """
    link = Link()
    try:
        dial(link, target, through, seconds)
    except Exception as error:  # noqa: BLE001 - what it means is told
        link.close()
        found = explain(error, target, None, link.complaint)
        raise ConnectionFailed(f"{target}: {found}") if isinstance(found, Dropped) else found from None
    return WayIn(link)
