"""The engine: runs a plan on a backend, side by side and within limits, and tells what happens.

It is asyncio in a thread of its own, since in a notebook the main thread already has a running loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import HiveError, LinkLost, Locked, Refused, RolledBack, StepFailed, of_system
from nixhive_nb.plan.events import (
    GOOD,
    Outcome,
    Result,
    StepEnded,
    StepLine,
    StepProgress,
    StepStarted,
    Stopping,
    because_of,
)
from nixhive_nb.plan.protocol import Ending
from nixhive_nb.plan.step import CHANGING
from nixhive_nb.run.gates import Policy
from nixhive_nb.run.hearing import Hearing, OnEvent
from nixhive_nb.run.limits import Limits, Locks
from nixhive_nb.run.report import Report, Tally
from nixhive_nb.util.collecting import collected_seldom
from nixhive_nb.util.redaction import redact
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from nixhive_nb.plan.events import Event
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.protocol import Backend
    from nixhive_nb.plan.step import Step

_log = logging.getLogger(__name__)
Clock = Callable[[], float]
_STOPPED = "the run was stopped"
_MANY = 1000
"""Steps of a plan from which on Python's search for circular garbage costs more than it finds."""
MOST_LINE = 8192
"""A longer line of a step is told in pieces of so many characters."""


class Run:
    """A plan that is being carried out, in the background. Each listener hears of it on one thread of its own."""

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        journal: str = "",
        patience: float = 2.0,
    ) -> None:
        """Make a run; `start` begins it.

        `clock` gives the times of events, `loop_factory` the loop that it runs in: together they make a run in a time
        of its own. Without a clock it is the time of this machine when the run was made, and goes forward from there.
        `journal` is the path of its journal, if any: reports name it. `patience` is how many seconds its end waits for
        listeners that are behind.
        """
        self.plan = plan
        self.stopping = False
        """Whether the user stopped it."""
        self.abandoned = False
        """Whether it was left at once."""
        clock = clock or _forward()
        self._tally = Tally(plan, clock=clock, journal=journal)
        self._engine = _Engine(plan, backend, limits or Limits(), self._heard, clock)
        self._loop_factory = loop_factory
        self._recorders: list[Hearing] = []
        self._hearings: list[Hearing] = []
        self._telling = threading.Lock()
        self._patience = patience
        self._thread = threading.Thread(target=self._main, name=f"hive-run-{plan.digest}", daemon=True)
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def subscribe(self, listener: OnEvent) -> None:
        """Have every event from now on told to `listener`, in order, on one thread that is its own.

        It may be slow, and may raise: the run takes no notice. One that raises hears nothing more (see `unheard`), and
        one that is far behind misses lines and progress.
        """
        with self._telling:
            self._hearings.append(Hearing(listener))

    def record(self, recorder: OnEvent) -> None:
        """Have every event from now on told to `recorder` before anybody else, and before the run goes on."""
        with self._telling:
            self._recorders.append(Hearing(recorder))

    @property
    def unheard(self) -> tuple[BaseException, ...]:
        """Why listeners hear nothing more."""
        with self._telling:
            hearings = (*self._recorders, *self._hearings)
        return tuple(one.failure for one in hearings if one.failure is not None)

    def heard_out(self, timeout: float | None = None) -> bool:
        """Wait until every listener has heard all of a run that has ended; tell whether they have."""
        ends = [one.end(timeout) for one in self._hearings]
        return all(ends)

    def start(self) -> Run:
        """Begin, and return at once."""
        self._thread.start()
        return self

    @property
    def going(self) -> bool:
        """Whether it has begun, and not ended."""
        return self._thread.ident is not None and not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run has ended, at most `timeout` seconds; tell whether it has."""
        ended = self._ended.wait(timeout)
        if ended:
            self._thread.join()  # it has nothing more to do
        return ended

    def stop(self) -> None:
        """Start nothing more, end builds and copies, and let running activations and reboots come to their end."""
        self.stopping = True
        self._engine.stop(lambda step: step.kind not in CHANGING)

    def abandon(self) -> None:
        """Leave at once. What was being activated or rebooted has an unknown end."""
        self.stopping = self.abandoned = True
        self._engine.stop(lambda _: True)

    def report(self) -> Report:
        """Return what is known by now; all of it when the run has ended.

        Raises what broke the engine itself, which is a bug of ours and never a failed step.
        """
        if self._failure is not None:
            raise self._failure
        return self._tally.report()

    def _heard(self, event: Event) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _note(event)
        # Steps tell from threads of their own, several at once.
        with self._telling:
            self._tally.add(event)
            for recorder in self._recorders:
                recorder.tell_now(event)
            for hearing in self._hearings:
                hearing.tell(event)

    def _collecting(self) -> AbstractContextManager[None]:
        return collected_seldom() if len(self.plan.steps) >= _MANY else nullcontext()

    def _main(self) -> None:
        try:
            with self._collecting(), asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._engine.run())
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            _log.debug("the engine broke", exc_info=True)
            self._failure = error
        finally:
            until = time.monotonic() + self._patience
            for hearing in self._hearings:
                hearing.end(max(0.0, until - time.monotonic()))
            self._ended.set()


def _forward() -> Clock:
    """Return a clock that tells the time of this machine, and does not jump when that is set anew."""
    ahead = time.time() - time.monotonic()
    return lambda: ahead + time.monotonic()


class _Engine:
    """The loop: a step starts when what it needs is done, what it comes after has ended, and its limits allow."""

    def __init__(self, plan: Plan, backend: Backend, limits: Limits, on_event: OnEvent, clock: Clock) -> None:
        self._backend = backend
        self._emit = on_event
        self._clock = clock
        self._steps = {step.id: step for step in plan.steps}
        self._blockers = {step.id: len({*step.needs, *step.after}) for step in plan.steps}
        self._followers: dict[str, list[Step]] = defaultdict(list)
        for step in plan.steps:
            for name in {*step.needs, *step.after}:
                self._followers[name].append(step)
        self._ready = deque(step for step in plan.steps if not self._blockers[step.id])
        self._locks = Locks(limits)
        self._ends: dict[str, StepEnded] = {}
        self._policy = Policy(plan, self._ends)
        self._running: dict[str, asyncio.Task[StepEnded]] = {}
        self._arrived: list[tuple[Step, asyncio.Task[StepEnded]]] = []
        self._stopping = False
        self._told_of_stop = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Bring every step to its end, and the backend to its own."""
        try:
            await self._run()
        finally:
            if isinstance(self._backend, Ending):
                await self._backend.end()

    async def _run(self) -> None:
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._stopping:  # before we began
            self._end(lambda _: True)
        while len(self._ends) < len(self._steps):
            self._take_in()
            while self._ready:
                self._admit(self._ready.popleft())
            if self._arrived or len(self._ends) == len(self._steps):
                continue
            if not self._running:
                stuck = [name for name in self._steps if name not in self._ends]
                raise RuntimeError(f"Steps of the plan wait for each other: {', '.join(stuck[:9])}")
            self._news.clear()
            await self._news.wait()

    def stop(self, which: Callable[[Step], bool]) -> None:
        """Start nothing more, and end the running steps that `which` names. Safe from any thread."""
        self._stopping = True
        if self._loop is not None:
            with swallowed(_log, "stopping a run that has ended", RuntimeError):
                self._loop.call_soon_threadsafe(self._end, which)

    def _end(self, which: Callable[[Step], bool]) -> None:
        if not self._told_of_stop:
            self._told_of_stop = True
            self._emit(Stopping(time=self._clock()))
        self._ready.extend(self._locks.leave())
        for name, task in self._running.items():
            if which(self._steps[name]):
                task.cancel()
        self._news.set()

    def _admit(self, step: Step) -> None:
        """End a step that is not to be run, begin one that can be, and let the others wait for their limits."""
        verdict = self._verdict(step)
        if verdict is not None:
            self._settle(verdict)
        elif self._locks.take(step):
            self._begin(step)

    def _begin(self, step: Step) -> None:
        self._emit(StepStarted(time=self._clock(), step=step.id))
        assert self._loop is not None  # noqa: S101 - for the type checker
        # As `asyncio.create_task` does, which asks the system for the process each time to find this loop.
        task = self._loop.create_task(self._perform(step))
        self._running[step.id] = task
        task.add_done_callback(lambda task: self._arrive(step, task))

    def _arrive(self, step: Step, task: asyncio.Task[StepEnded]) -> None:
        self._arrived.append((step, task))
        self._news.set()

    def _take_in(self) -> None:
        """Take the steps that ran to their end, and begin those that waited for their limits."""
        arrived, self._arrived = self._arrived, []
        for step, task in arrived:
            del self._running[step.id]
            # One that is cancelled before its first line did nothing.
            self._settle(self._unbegun(step, "cancelled", _STOPPED) if task.cancelled() else task.result())
        freed = deque(other for step, _ in arrived for other in self._locks.give_back(step))
        while freed:
            # Something may have failed while it waited.
            step = freed.popleft()
            verdict = self._verdict(step)
            if verdict is None:
                self._begin(step)
            else:
                self._settle(verdict)
                freed.extend(self._locks.give_back(step))

    def _settle(self, ended: StepEnded) -> None:
        self._ends[ended.step] = ended
        self._policy.note(ended)
        self._emit(ended)
        for step in self._followers[ended.step]:
            self._blockers[step.id] -= 1
            if not self._blockers[step.id]:
                self._ready.append(step)

    def _verdict(self, step: Step) -> StepEnded | None:
        """Return how a step ends that is not to be run at all, None for one that is."""
        missing = [end for end in map(self._ends.__getitem__, step.needs) if end.outcome not in GOOD]
        cause = next((end for end in missing if end.outcome != "cancelled"), None)
        if cause:
            root = cause.cause or cause.step
            return self._unbegun(step, "skipped", because_of(root), root)
        if missing or self._stopping:
            return self._unbegun(step, "cancelled", _STOPPED)
        if step.kind == "gate":
            closed = self._policy.verdict(step)
            return self._unbegun(step, "failed" if closed else "done", closed)
        refusal = self._policy.refusal(step)
        return self._unbegun(step, "skipped", refusal) if refusal else None

    def _unbegun(self, step: Step, outcome: Outcome, reason: str, cause: str = "") -> StepEnded:
        result = Result() if outcome == "done" else None
        return StepEnded(time=self._clock(), step=step.id, outcome=outcome, reason=reason, cause=cause, result=result)

    async def _perform(self, step: Step) -> StepEnded:
        try:
            result = await self._work(step)
        except asyncio.CancelledError:
            # An activation that is left in its middle has an end that we do not know.
            return self._ended(step, "unknown" if step.kind in CHANGING else "cancelled", _STOPPED)
        except HiveError as error:
            ended = self._ended(step, _outcome_of(error, step), str(error), error.log)
            found = error.result if isinstance(error, StepFailed) else None
            return msgspec.structs.replace(ended, result=found) if isinstance(found, Result) else ended
        except OSError as error:
            return self._ended(step, "failed", str(of_system(error)))
        except Exception as error:  # noqa: BLE001 - our own bug: it fails this step and no other
            _log.debug("step %s: a bug", step.id, exc_info=True)
            lines = traceback.format_exc().splitlines()
            return self._ended(step, "failed", f"A bug in nixhive_nb: {error!r}. Please report it.", lines)
        plain = msgspec.structs.replace(result, warning=redact(result.warning)) if result.warning else result
        return StepEnded(time=self._clock(), step=step.id, outcome=plain.outcome, reason=plain.warning, result=plain)

    async def _work(self, step: Step) -> Result:
        if step.kind == "pause":
            await asyncio.sleep(step.seconds)
            return Result()
        return await self._backend.perform(step, _Voice(step.id, self._emit, self._clock))

    def _ended(self, step: Step, outcome: Outcome, reason: str, log: Iterable[str] = ()) -> StepEnded:
        if log:
            _log.debug("step %s: what was said:\n%s", step.id, "\n".join(log))
        for text in log:
            self._emit(StepLine(time=self._clock(), step=step.id, text=strip_control(redact(text))))
        return StepEnded(time=self._clock(), step=step.id, outcome=outcome, reason=one_line(redact(reason)))


def _note(event: Event) -> None:
    """Log what happens. What hosts and Nix say is in the logs of the run; here only that of a step that failed."""
    match event:
        case StepStarted():
            _log.debug("step %s: started", event.step)
        case StepEnded():
            _log.info("step %s: %s%s", event.step, event.outcome, f": {event.reason}" if event.reason else "")
        case Stopping():
            _log.info("stopping")


def _outcome_of(error: HiveError, step: Step) -> Outcome:
    match error:
        case RolledBack():
            return "rolled back"
        case Refused():
            return "refused"
        case Locked():
            return "locked"
        case LinkLost() if step.kind in CHANGING:
            return "unknown"
        case _:
            return "failed"


class _Voice:
    """What one step tells, as events of the run. What hosts and Nix say may repeat a secret of a URL."""

    def __init__(self, step: str, emit: OnEvent, clock: Clock) -> None:
        self._step = step
        self._emit = emit
        self._clock = clock

    def line(self, text: str) -> None:
        # A line may have megabytes, and the last ones of each step are kept. No secret is cut in two.
        whole = redact(text)
        for start in range(0, len(whole) or 1, MOST_LINE):
            piece = whole[start : start + MOST_LINE]
            self._emit(StepLine(time=self._clock(), step=self._step, text=piece))

    def progress(self, done: int, expected: int) -> None:
        self._emit(StepProgress(time=self._clock(), step=self._step, done=done, expected=expected))
