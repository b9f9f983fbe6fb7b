"""How a command is run on an instance: what the steps ask of the kept connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixhive_nb.ssh.pool import RemoteResult


class Remote(Protocol):
    """Runs a command on an instance over our kept connection, and tells each line as it comes."""

    async def __call__(
        self,
        instance: str,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] | None = None,
        stdin: str | None = None,
    ) -> RemoteResult:
        """Return the result, whatever its exit status, within so many seconds. `stdin` is its input.

        Raises `ConnectionFailed` or `LinkLost`.
        """
