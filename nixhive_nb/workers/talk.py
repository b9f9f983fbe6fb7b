"""The calls to one worker that are under way: they go there in batches, and what comes of them comes back in batches.

A message of its own for each call would be a connection of its own from the scheduler to the worker, each time. So what
is called while a batch is on its way goes with the next, and one question at a time waits at the worker for whatever
there is to tell: lines, and answers. A call is made once; where a batch or a question is lost, so are all that wait.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from itertools import count
from typing import TYPE_CHECKING, Any

from nixhive_nb.errors import WorkerLost
from nixhive_nb.workers import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    OnLine = Callable[[str], None]
    Ask = Callable[..., Awaitable[Any]]

_log = logging.getLogger(__name__)
_TALKS = count(1)


class Talk:
    """What goes on between an operator and one worker. It lives in one loop."""

    def __init__(self, operator: str, ask: Ask) -> None:
        """`ask` calls a function of `serving` on the worker, and raises `WorkerLost`."""
        self._key = (operator, next(_TALKS))
        self._name = secrets.token_hex(8)
        self._calls = count(1)
        self._ask = ask
        self._waiting: dict[str, tuple[asyncio.Future[serving.Answer], OnLine | None]] = {}
        self._outbox: list[serving.Called] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begun = asyncio.Event()
        """Whether the worker knows of this talk."""
        self._lost: WorkerLost | None = None

    @property
    def is_over(self) -> bool:
        """Whether the worker was lost."""
        return self._lost is not None

    async def call(
        self, name: str, args: Sequence[object], more: dict[str, object], on_line: OnLine | None = None
    ) -> serving.Answer:
        """Have the worker call a function by name, once, and return its answer; `on_line` gets lines as they come.

        When cancelled, the worker lets go of it. Raises `WorkerLost`.
        """
        if self._lost is not None:
            raise WorkerLost(str(self._lost))
        one = f"{self._name}-{next(self._calls)}"
        answer: asyncio.Future[serving.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[one] = answer, on_line
        self._send((one, name, tuple(args), more))
        try:
            return await answer
        except asyncio.CancelledError:
            self._let_go(one)
            raise
        finally:
            self._waiting.pop(one, None)

    def _let_go(self, one: str) -> None:
        left = [called for called in self._outbox if called[0] != one]
        if len(left) < len(self._outbox):
            self._outbox = left  # it was not sent yet
        elif self._lost is None:
            self._send((one, serving.CANCEL, (), {}))

    def _send(self, called: serving.Called) -> None:
        self._outbox.append(called)
        self._go_on()

    def _go_on(self) -> None:
        """Have done what is to be done."""
        if self._outbox:
            self._begin("post", self._post)
        if self._waiting:
            self._begin("hear", self._hear)

    def _begin(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Have one task of a name do its work, if none does."""
        if name not in self._tasks and self._lost is None:
            self._tasks[name] = asyncio.ensure_future(self._doing(name, work))

    async def _doing(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except WorkerLost as error:
            self._lose(error)
        except Exception as error:  # noqa: BLE001 - our own bug: nobody waits for ever
            _log.debug("what is said with a worker: a bug", exc_info=True)
            self._lose(WorkerLost(f"A bug in nixhive_nb, between here and a worker: {error!r}"))
        finally:
            del self._tasks[name]
            self._go_on()

    async def _post(self) -> None:
        await asyncio.sleep(0)  # what is called in the same turn of the loop goes with it
        while self._outbox and self._lost is None:
            batch, self._outbox = self._outbox, []
            await self._ask(serving.post, *self._key, batch, not self._begun.is_set())
            self._begun.set()

    async def _hear(self) -> None:
        await self._begun.wait()
        while self._waiting and self._lost is None:
            for one, lines, answer in await self._ask(serving.hear, *self._key):
                self._take(one, lines, answer)

    def _take(self, one: str, lines: Sequence[str], answer: serving.Answer | None) -> None:
        waiting, on_line = self._waiting.get(one, (None, None))
        if on_line is not None:
            for line in lines:
                on_line(line)
        if answer is not None and waiting is not None and not waiting.done():
            waiting.set_result(answer)
            # It waits no more, though whoever called has not gone on yet.
            del self._waiting[one]

    def _lose(self, error: WorkerLost) -> None:
        self._lost = error
        self._begun.set()
        self._outbox.clear()
        for waiting, _ in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(WorkerLost(str(error)))
