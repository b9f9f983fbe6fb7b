"""A transfer that stands still: it is told after seconds, and given up after minutes."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from nixhive_nb.errors import StepFailed
from nixhive_nb.nix.traffic import Traffic
from nixhive_nb.util import process
from nixhive_nb.util.text import seconds_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nixhive_nb.nix.fetching import Moves
    from nixhive_nb.plan.protocol import Tell

_log = logging.getLogger(__name__)

TOLD_AFTER = 10.0
"""Seconds without a byte after which it is told for the first time; then each time that it has taken twice as long."""
GLANCE = 2.0
"""Seconds between two looks."""


class Stillness:
    """Tells of one transfer that it stands still, and why."""

    def __init__(self, tell: Tell, where: str, *, after: float = TOLD_AFTER) -> None:
        """`where` is the host whose Nix may wait for another one; `after` so many seconds it is told."""
        self.after = after
        self._tell = tell
        self._where = where
        self._told = 0.0
        self._process = ""

    def see(self, still: float, process: str = "") -> None:
        """Take in that no byte has moved for so many seconds, and that another Nix is waited for, if any."""
        if process and process != self._process:
            self._tell.line(f"waits for another Nix on {self._where} (process {process})")
        self._process = process
        if still < self.after:
            self._told = 0.0
        elif still >= max(self.after, 2 * self._told):
            self._told = still
            self._tell.line(f"no bytes have moved for {seconds_text(still)}")


def why_stalled(seconds: float) -> str:
    """Return why a transfer was given up."""
    return f"no bytes moved for {seconds_text(seconds)}"


async def stream_moving(
    argv: Sequence[str],
    *,
    on_stderr: Callable[[str], None],
    env: dict[str, str],
    stall: float,
    stillness: Stillness,
    ask: Callable[[], Awaitable[Moves | None]] | None = None,
    limit: float,
    glance: float = GLANCE,
) -> process.Finished:
    """Run a program of Nix that copies, and end it when it moves no byte for `stall` seconds.

    `ask` gives what Nix on the other side waits for, where that can be asked: what comes in there from elsewhere counts
    as well. Where nothing can be read, `limit` alone holds, in seconds. Raises `StepFailed` when it was ended.
    """
    pids: list[int] = []
    task = asyncio.create_task(process.stream(argv, on_stderr=on_stderr, env=env, on_start=pids.append))
    began = since = time.monotonic()
    before, there, asked = None, None, 0.0
    try:
        while True:
            await asyncio.wait({task}, timeout=glance)
            if task.done():
                return await task
            now = time.monotonic()
            traffic = await asyncio.to_thread(Traffic.of, pids[0]) if pids else None
            if traffic is None or before is None or traffic.is_past(before):
                before, since = traffic, now
            still, waited_for = now - since, ""
            if ask is not None and still >= stillness.after and now - asked >= stillness.after:
                moves, asked = await ask(), now
                if moves is not None:
                    waited_for = moves.process
                    if there is not None and moves.bytes is not None and moves.bytes != there:
                        since = now
                    there = moves.bytes
            stillness.see(now - since, waited_for)
            if now - since >= stall:
                raise StepFailed(why_stalled(now - since))
            if now - began >= limit:
                raise StepFailed(f"it took longer than {seconds_text(limit)}")
    finally:
        if not task.done():
            _log.info("%s is ended: it moves nothing, or is not wanted any more", argv[0])
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
