"""`nix-hive worker`: a worker of Dask that carries what goes to hosts, and begins anew when its scheduler does."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from typing import TYPE_CHECKING

from nixhive_nb.errors import OptionError
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.workers import serving
from nixhive_nb.workers.address import distributed, security_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = logging.getLogger(__name__)


def work(address: str, *, name: str, places: Sequence[str], tls: str | None, tell: Callable[[str], None]) -> None:
    """Be a worker, until it is interrupted. `tell` gets a line for each scheduler that it works for.

    Raises `OptionError` for a name that another worker has.
    """
    security = security_of(address, tls)
    distributed()
    with tempfile.TemporaryDirectory(prefix="nixhive-worker-") as folder:
        asyncio.run(_always(address, name, places, {"security": security, "local_directory": folder}, tell))


async def _always(
    address: str, name: str, places: Sequence[str], how: dict[str, object], tell: Callable[[str], None]
) -> None:
    while True:
        tell(f"worker {name} looks for the scheduler at {address}")
        await _once(address, name, places, how, tell)
        tell(f"the scheduler at {address} has ended or cannot be reached: worker {name} begins anew")


async def _once(
    address: str, name: str, places: Sequence[str], how: dict[str, object], tell: Callable[[str], None]
) -> None:
    """Work for a scheduler as long as that is there."""
    worker = distributed().Worker(address, name=name, nthreads=1, memory_limit=0, dashboard=False, **how)
    mine = serving.Serving(name, places)
    serving.take_up(mine)
    watch = asyncio.create_task(mine.watch())
    try:
        try:
            await worker
        except RuntimeError as error:
            raise OptionError(f"The scheduler at {address} does not take worker {name}: {_root(error)}") from error
        tell(f"worker {name} is ready, for {', '.join(places)}")
        await worker.finished()
    finally:
        watch.cancel()
        serving.take_up(None)
        await mine.end()
        with swallowed(_log, "closing the worker", TimeoutError):
            await worker.close(timeout=5, nanny=False)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
