"""The engine: runs a plan on a backend, side by side and within limits, and tells what happens.

It is asyncio in a thread of its own, since in a notebook the main thread already has a running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import HiveError, LinkLost, of_system
from nixhive_nb.plan.event import GOOD, Event, Outcome, Result, StepEnded, StepLine, StepProgress, StepStarted, Stopping
from nixhive_nb.plan.report import Report, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixhive_nb.backend.base import Backend
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.step import Step

OnEvent = Callable[[Event], None]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps may run at once. The defaults are safe for a stock sshd."""

    parallel: int = 32
    """Steps on hosts and stores, all together."""
    per_jump: int = 16
    """Steps that go through one jump host."""
    evaluations: int = 2
    """Evaluations of systems: each may take a gigabyte of memory."""

    def of(self, lock: str) -> int:
        """Give how many steps may hold a lock of that name: `all`, `evaluate`, `jump:NAME`, `store:URL`."""
        if lock == "all":
            return self.parallel
        if lock == "evaluate":
            return self.evaluations
        # Two copies to one store at once would both send the paths that they share.
        return self.per_jump if lock.startswith("jump:") else 1


class Run:
    """A plan that is being carried out, in the background. Events arrive on the engine's thread."""

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        *,
        limits: Limits | None = None,
    ) -> None:
        """Make a run; `start` begins it."""
        self.plan = plan
        self.stopping = False
        """Whether the user stopped it."""
        self._tally = Tally(plan)
        self._engine = _Engine(plan, backend, limits or Limits(), self._heard)
        self._listeners: list[OnEvent] = []
        self._thread = threading.Thread(target=self._main, name=f"hive-run-{plan.digest}", daemon=True)
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def subscribe(self, listener: OnEvent) -> None:
        """Have every event from now on told to `listener`; it must be quick, and must not raise."""
        self._listeners.append(listener)

    def start(self) -> Run:
        """Begin, and return at once."""
        self._thread.start()
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run has ended, at most `timeout` seconds; tell whether it has."""
        return self._ended.wait(timeout)

    def stop(self) -> None:
        """Start nothing more, end builds and copies, and let running activations come to their end."""
        self.stopping = True
        self._heard(Stopping(time=time.time()))
        self._engine.call(self._engine.stop)

    def abandon(self) -> None:
        """Leave at once. What was being activated has an unknown end."""
        self._engine.call(self._engine.abandon)

    def report(self) -> Report:
        """Give what is known by now; all of it when the run has ended.

        Raises what broke the engine itself, which is a bug of ours and never a failed step.
        """
        if self._failure is not None:
            raise self._failure
        return self._tally.report()

    def _heard(self, event: Event) -> None:
        self._tally.add(event)
        for listener in self._listeners:
            listener(event)

    def _main(self) -> None:
        try:
            asyncio.run(self._engine.run())
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            self._failure = error
        finally:
            self._ended.set()


class _Engine:
    """The loop: a step starts when what it needs is done, what it comes after has ended, and its limits allow."""

    def __init__(self, plan: Plan, backend: Backend, limits: Limits, on_event: OnEvent) -> None:
        self._backend = backend
        self._limits = limits
        self._emit = on_event
        self._steps = {step.id: step for step in plan.steps}
        self._blockers = {step.id: len({*step.needs, *step.after}) for step in plan.steps}
        self._followers: dict[str, list[str]] = defaultdict(list)
        for step in plan.steps:
            for name in {*step.needs, *step.after}:
                self._followers[name].append(step.id)
        self._ready = deque(step for step in plan.steps if not self._blockers[step.id])
        self._parked: dict[str, deque[Step]] = defaultdict(deque)
        self._held: Counter[str] = Counter()
        self._outcomes: dict[str, Outcome] = {}
        self._causes: dict[str, str] = {}
        self._running: dict[str, asyncio.Task[StepEnded]] = {}
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Bring every step to its end."""
        self._loop = asyncio.get_running_loop()
        while len(self._outcomes) < len(self._steps):
            while self._ready:
                self._begin(self._ready.popleft())
            if not self._running:
                continue
            done, _ = await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                ended = task.result()
                del self._running[ended.step]
                self._settle(ended)
                self._release(self._steps[ended.step])

    def call(self, action: Callable[[], None]) -> None:
        """Have the loop do something, from another thread; nothing once it has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(action)

    def stop(self) -> None:
        """End what can safely be ended, and start nothing more."""
        self._end(lambda step: step.kind != "activate")

    def abandon(self) -> None:
        """End everything."""
        self._end(lambda _: True)

    def _end(self, which: Callable[[Step], bool]) -> None:
        self._stopping = True
        for queue in self._parked.values():
            self._ready.extend(queue)
            queue.clear()
        for name, task in self._running.items():
            if which(self._steps[name]):
                task.cancel()

    def _begin(self, step: Step) -> None:
        verdict = self._verdict(step)
        if verdict is not None:
            self._settle(verdict)
            return
        full = next((lock for lock in step.locks if self._is_full(lock)), None)
        if full is not None:
            self._parked[full].append(step)
            return
        self._held.update(step.locks)
        self._emit(StepStarted(time=time.time(), step=step.id))
        self._running[step.id] = asyncio.create_task(self._perform(step))

    def _verdict(self, step: Step) -> StepEnded | None:
        """Give how a step ends that is not to be run at all, None for one that is."""
        now = time.time()
        cause = next((name for name in step.needs if self._outcomes[name] not in GOOD), "")
        if cause and self._outcomes[cause] != "cancelled":
            root = self._causes.get(cause, cause)
            return StepEnded(time=now, step=step.id, outcome="skipped", reason=f"because of {root}", cause=root)
        if cause or (self._stopping and step.kind != "wave"):
            return StepEnded(time=now, step=step.id, outcome="cancelled", reason="the run was stopped")
        if step.kind == "wave":
            return StepEnded(time=now, step=step.id, outcome="done", result=Result())
        return None

    async def _perform(self, step: Step) -> StepEnded:
        try:
            result = await self._backend.perform(step, _Voice(step.id, self._emit))
        except asyncio.CancelledError:
            # An activation that is left in its middle has an end that we do not know.
            return self._ended(step, "unknown" if step.kind == "activate" else "cancelled", "the run was stopped")
        except HiveError as error:
            lost = isinstance(error, LinkLost) and step.kind == "activate"
            return self._ended(step, "unknown" if lost else "failed", str(error), error.log)
        except OSError as error:
            return self._ended(step, "failed", str(of_system(error)))
        except Exception as error:  # noqa: BLE001 - our own bug: it fails this step and no other
            lines = traceback.format_exc().splitlines()
            return self._ended(step, "failed", f"A bug in nixhive_nb: {error!r}. Please report it.", lines)
        return StepEnded(time=time.time(), step=step.id, outcome=result.outcome, reason=result.warning, result=result)

    def _ended(self, step: Step, outcome: Outcome, reason: str, log: Iterable[str] = ()) -> StepEnded:
        for text in log:
            self._emit(StepLine(time=time.time(), step=step.id, text=text))
        return StepEnded(time=time.time(), step=step.id, outcome=outcome, reason=" ".join(reason.split()))

    def _settle(self, ended: StepEnded) -> None:
        self._outcomes[ended.step] = ended.outcome
        if ended.cause:
            self._causes[ended.step] = ended.cause
        self._emit(ended)
        for name in self._followers[ended.step]:
            self._blockers[name] -= 1
            if not self._blockers[name]:
                self._ready.append(self._steps[name])

    def _release(self, step: Step) -> None:
        """Give locks back, and start those that waited for them, as many as now fit."""
        self._held.subtract(step.locks)
        for lock in step.locks:
            queue = self._parked[lock]
            while queue and not self._is_full(lock):
                self._begin(queue.popleft())

    def _is_full(self, lock: str) -> bool:
        return self._held[lock] >= self._limits.of(lock)


class _Voice:
    """What one step tells, as events of the run."""

    def __init__(self, step: str, emit: OnEvent) -> None:
        self._step = step
        self._emit = emit

    def line(self, text: str) -> None:
        self._emit(StepLine(time=time.time(), step=self._step, text=text))

    def progress(self, done: int, expected: int) -> None:
        self._emit(StepProgress(time=time.time(), step=self._step, done=done, expected=expected))
