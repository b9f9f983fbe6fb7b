"""The handle of a run: it waits, cancels and reports, whether its caller stays with it or goes on meanwhile."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - it has to be here before `_at_the_end` is told of
import contextlib
import logging
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from nixhive_nb.run.carry import wait_or_stop
from nixhive_nb.run.waiting import Waiting, waiting_for
from nixhive_nb.util.interrupts import wait_awake
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.view.progress import progress_of
from nixhive_nb.view.report import headline

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.run.engine import Run
    from nixhive_nb.run.report import Report

_log = logging.getLogger(__name__)


_LAST_SECONDS = 30.0
"""How long a run may take to end, beside what it waits for on hosts."""
_going: weakref.WeakSet[RunHandle] = weakref.WeakSet()


class RunHandle:
    """A run that has begun. `Hive.begin` gives one that goes on while its caller does other things.

    When Python ends before it does, nothing more is started, and activations in progress are finished.
    """

    def __init__(self, run_id: str, run: Run) -> None:
        """Use `Hive.begin`."""
        self.run = run_id
        """The id of the run, as in `history`."""
        self._run = run
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def plan(self) -> Plan:
        """What it carries out."""
        return self._run.plan

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self._ended.is_set()

    @property
    def report(self) -> Report:
        """What is known by now; all of it when the run has ended."""
        return self._run.report()

    def wait(self, timeout: float | None = None) -> Report:
        """Wait until the run has ended, and give its report.

        `timeout` is in seconds. Raises `RunFailed` when not every instance is as wanted, and `TimeoutError`. An
        interrupt ends the waiting alone: the run goes on.
        """
        if not wait_awake(self._ended.wait, timeout):
            raise TimeoutError(f"Run {self.run} is still running after {timeout:g} seconds.")
        if self._thread is not None:
            self._thread.join()  # it has nothing more to do
        if self._failure is not None:
            raise self._failure
        return self.report.raise_if_failed()

    def cancel(self, *, now: bool = False) -> None:
        """Start nothing more, and let running activations come to their end; with `now` leave them at once.

        It returns at once; `wait` tells when the run has ended.
        """
        if now:
            self._run.abandon()
        else:
            self._run.stop()

    def show(self, follow: Follow) -> None:
        """Have it followed by one more, until it has ended."""
        with contextlib.ExitStack() as shown:
            shown.enter_context(follow(self._run))
            last = shown.pop_all()

        def end() -> None:
            self._ended.wait()
            with swallowed(_log, "showing a run in the background", Exception):
                last.close()

        threading.Thread(target=end, name=f"hive-shown-{self.run}", daemon=True).start()

    def waits_for(self) -> Waiting:
        """Return what it waits for once it was cancelled."""
        return waiting_for(self._run.report())

    def __repr__(self) -> str:
        return f"RunHandle({self.run}: {self._in_short()})"

    def _in_short(self) -> str:
        try:
            report = self._run.report()
        except Exception as error:  # noqa: BLE001 - what broke the run itself
            _log.debug("run %s is broken", self.run, exc_info=True)
            return f"broken, {type(error).__name__}: {error}"
        if not self.running:
            return headline(report)
        progress = progress_of(report)
        return f"{progress.title.lower()}, {progress.done} of {progress.total} steps"

    def stay(self) -> None:
        """Stay with it until it has ended. An interrupt stops it, a second one leaves it; then it is raised."""
        wait_or_stop(self._run)

    def is_over(self) -> None:
        """Note that nothing of it goes on, and that all is shown and noted."""
        self._ended.set()

    def go_on(self, last: contextlib.ExitStack) -> None:
        """Have a thread wait until it has ended, and close `last` then. The caller holds interrupts back meanwhile."""
        self._thread = threading.Thread(
            target=self._see_out, args=(last,), name=f"hive-background-{self.run}", daemon=True
        )
        self._thread.start()
        _going.add(self)

    def _see_out(self, last: contextlib.ExitStack) -> None:
        self._run.wait()
        try:
            last.close()
        except BaseException as error:  # noqa: BLE001 - carried to whoever waits
            _log.debug("run %s is broken", self.run, exc_info=True)
            self._failure = error
        finally:
            self.is_over()


def in_foreground(carried: AbstractContextManager[RunHandle]) -> Report:
    """Carry a run out here, and give its report, whatever the outcome. An interrupt stops it, and is raised."""
    with contextlib.ExitStack() as ended, carried as handle:
        ended.callback(handle.is_over)
        handle.stay()
    return handle.report


def in_background(carried: AbstractContextManager[RunHandle]) -> RunHandle:
    """Begin a run here, and give its handle at once: `carried` is left on a thread of its own when it has ended.

    The caller holds interrupts back meanwhile.
    """
    with contextlib.ExitStack() as failed:
        last = failed.enter_context(contextlib.ExitStack())
        handle = last.enter_context(carried)
        handle.go_on(last)
        failed.pop_all()  # the rest is for the end of the run
        return handle


def going() -> list[RunHandle]:
    """Return the runs of this Python that go on in the background, the oldest first."""
    return sorted((run for run in _going if run.running), key=lambda run: run.run)


def _at_the_end() -> None:
    """At the exit of Python: stop all background runs, say what is waited for, and wait for them."""
    left = going()
    try:
        for run in left:
            run.cancel()
        for run in left:
            waiting = Waiting()
            with swallowed(_log, "asking a run what it waits for", Exception):  # what broke it was told in its place
                waiting = run.waits_for()
            if waiting.instances:
                _say(f"Python ends when run {run.run} does, which waits for {waiting}. An interrupt leaves at once.")
            with swallowed(_log, "waiting for a run", Exception):
                run.wait(waiting.seconds + _LAST_SECONDS)
    finally:
        for run in left:
            if run.running:
                run.cancel(now=True)


def _say(text: str) -> None:
    with swallowed(_log, "saying why Python waits", Exception):  # standard error may be gone
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - nobody else is there to say it


# Executors give up their threads when the main thread ends, which is before `atexit`. What is told after them is called
# before them, and can still let an activation come to its end. `concurrent.futures.thread` uses the same.
threading._register_atexit(_at_the_end)  # type: ignore[attr-defined]  # noqa: SLF001 - see above
