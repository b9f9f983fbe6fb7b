"""Asking many hosts something at once, outside of a run."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from nixhive_nb.errors import HiveError
from nixhive_nb.util.interrupts import interrupts_held, wait_awake
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_log = logging.getLogger(__name__)

T = TypeVar("T")


def ask_all(names: Sequence[str], ask: Callable[[str], Awaitable[T]], *, parallel: int) -> dict[str, T | HiveError]:
    """Return the answer of each host, or why there is none; at most `parallel` are asked at once.

    It works also where a loop is running already, as in a notebook: the questions have a thread and a loop of their
    own. An interrupt ends them and is raised.
    """
    answers: dict[str, T | HiveError] = {}
    limit = asyncio.Semaphore(parallel)

    async def one(name: str) -> None:
        async with limit:
            try:
                answers[name] = await ask(name)
            except HiveError as error:
                answers[name] = error

    async def everything() -> None:
        await asyncio.gather(*map(one, names))

    _run_aside(everything())
    return {name: answers[name] for name in names}


def _run_aside(work: Awaitable[None]) -> None:
    """Run a coroutine in a thread of its own and wait for it; what it raises is raised here."""
    loop = asyncio.new_event_loop()
    task = asyncio.ensure_future(work, loop=loop)
    ended = threading.Event()

    def run() -> None:
        try:
            with swallowed(_log, "asking hosts", BaseException):  # it is in the task
                loop.run_until_complete(task)
        finally:
            loop.close()
            ended.set()

    thread = threading.Thread(target=run, name="hive-asking", daemon=True)
    try:
        with interrupts_held():  # one that comes as it starts would leave it to itself
            thread.start()
        wait_awake(ended.wait)
    except BaseException:
        if thread.ident is not None:
            with swallowed(_log, "ending questions to hosts", RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
            wait_awake(ended.wait)
        raise
    task.result()
