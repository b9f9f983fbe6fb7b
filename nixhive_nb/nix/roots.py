"""Roots on hosts: what was copied there stays until it is used."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from nixhive_nb.errors import HiveError
from nixhive_nb.hosts.privilege import SUDO
from nixhive_nb.nix import fetching

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixhive_nb.hosts.privilege import Elevation
    from nixhive_nb.nix.stores import SshStore

_log = logging.getLogger(__name__)
_SECONDS = 120
"""How long a host may take to make or remove one."""


class On(Protocol):
    """Runs a command on the host of a store."""

    async def __call__(self, where: SshStore, command: str, *, seconds: float, stdin: str | None = None) -> object:
        """Run it, for so many seconds at most. Raises `HiveError`."""


class Roots:
    """The roots that one run holds. They are made where a path is fetched, in the same session: see `fetch.sh`."""

    def __init__(self, on: On, *, run: str, renew: float, by: Callable[[SshStore], Elevation] = lambda _: SUDO) -> None:
        """They are named after the run, and made as new each `renew` seconds. `by`: how root is become on a host."""
        self._by = by
        self._on = on
        self._run = run
        self._renew = renew
        self._held: dict[tuple[SshStore, str], str] = {}
        """By host and name, the path."""
        self._keeper: asyncio.Task[None] | None = None

    def name(self, path: str, *, relay: bool = False) -> str:
        """Return the name of the root of a path; the relay may need a path longer than the host itself."""
        return fetching.root_name(self._run, path, relay=relay)

    def hold(self, where: SshStore, path: str, *, relay: bool = False) -> None:
        """Take in that a path is kept on a host."""
        self._held[where, self.name(path, relay=relay)] = path
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    def held(self, where: SshStore, path: str) -> str:
        """Return the name of the root of a path on a host, empty where none is held."""
        name = self.name(path)
        return name if (where, name) in self._held else ""

    def drop(self, where: SshStore, path: str) -> None:
        """Take in that a root is gone: somebody else removed it."""
        self._held.pop((where, self.name(path)), None)

    async def release(self, where: SshStore, path: str, *, relay: bool = False) -> bool:
        """Let a path go, if it is held; tell whether it is gone. What cannot be let go is swept by a later run."""
        root = self.name(path, relay=relay)
        if self._held.pop((where, root), None) is None:
            return True
        by = self._by(where)
        return await self._tried(where, fetching.release(root, by=by), by)

    async def _keep(self) -> None:
        """Make roots as new as long as the run goes on: others sweep one of which nobody did so for a day."""
        while True:
            await asyncio.sleep(self._renew)
            for (where, root), path in tuple(self._held.items()):
                if (where, root) in self._held:  # not let go of meanwhile
                    by = self._by(where)
                    await self._tried(where, fetching.keep(path, root, by=by), by)

    async def _tried(self, where: SshStore, command: str, by: Elevation) -> bool:
        try:
            await self._on(where, command, seconds=_SECONDS, stdin=by.line() or None)
        except (HiveError, OSError):
            _log.debug("%s: a root could not be made or removed", where.host, exc_info=True)
            return False
        return True
