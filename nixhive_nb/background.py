"""A run in the background: a handle that waits, cancels and reports, while the notebook goes on."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - it has to be here before `_at_the_end` is told of
import contextlib
import logging
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from nixhive_nb.errors import RunFailed
from nixhive_nb.run.waiting import Waiting, waiting_for
from nixhive_nb.run_report import RunReport
from nixhive_nb.util.interrupts import wait_awake
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.view.progress import progress_of
from nixhive_nb.view.report import failure_text, headline

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.engine import Run

_log = logging.getLogger(__name__)


_LAST_SECONDS = 30.0
"""How long a run may take to end, beside what it waits for on hosts."""
_going: weakref.WeakSet[BackgroundRun] = weakref.WeakSet()


class BackgroundRun:
    """A run that goes on while the notebook does other things. It has connections of its own.

    When Python ends before it does, nothing more is started, and activations that run come to their end.
    """

    def __init__(
        self,
        run_id: str,
        carried: AbstractContextManager[Run],
        on_end: Callable[[BackgroundRun], None] = lambda _: None,
    ) -> None:
        """Begin: enter `carried` (see `running.under_way`) here, and leave it on a thread of ours when it has ended.

        `on_end` is called on that thread, last of all. The caller holds interrupts back meanwhile.
        """
        self.run = run_id
        """The id of the run, as in `history`."""
        self._failure: BaseException | None = None
        self._carried = carried
        self._on_end = on_end
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._see_out, name=f"hive-background-{run_id}", daemon=True)
        with contextlib.ExitStack() as failed:
            self._run = failed.enter_context(carried)
            self._thread.start()
            failed.pop_all()
            _going.add(self)

    @property
    def plan(self) -> Plan:
        """What it carries out."""
        return self._run.plan

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self._ended.is_set()

    @property
    def report(self) -> RunReport:
        """What is known by now; all of it when the run has ended."""
        return RunReport.of(self._run.report())

    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait until the run has ended, and give its report.

        `timeout` is in seconds. Raises `RunFailed` when not every instance is as wanted, and `TimeoutError`. An
        interrupt ends the waiting alone: the run goes on.
        """
        if not wait_awake(self._ended.wait, timeout):
            raise TimeoutError(f"Run {self.run} still goes on after {timeout:g} seconds.")
        self._thread.join()  # it has nothing more to do
        if self._failure is not None:
            raise self._failure
        report = self.report
        if not report.ok:
            raise RunFailed(failure_text(report), report)
        return report

    def cancel(self, *, now: bool = False) -> None:
        """Start nothing more, and let running activations come to their end; with `now` leave them at once.

        It returns at once; `wait` tells when the run has ended.
        """
        if now:
            self._run.abandon()
        else:
            self._run.stop()

    def show(self, follow: Callable[[Run], AbstractContextManager[None]]) -> None:
        """Have it followed by one more, until it has ended."""
        with contextlib.ExitStack() as shown:
            shown.enter_context(follow(self._run))
            last = shown.pop_all()

        def end() -> None:
            self._ended.wait()
            with swallowed(_log, "showing a run in the background", Exception):
                last.close()

        threading.Thread(target=end, name=f"hive-shown-{self.run}", daemon=True).start()

    def __repr__(self) -> str:
        return f"BackgroundRun({self.run}: {self._in_short()})"

    def _in_short(self) -> str:
        try:
            report = self.report
        except Exception as error:  # noqa: BLE001 - what broke the run itself
            _log.debug("run %s is broken", self.run, exc_info=True)
            return f"broken, {type(error).__name__}: {error}"
        if not self.running:
            return headline(report)
        progress = progress_of(report)
        return f"{progress.title.lower()}, {progress.done} of {progress.total} steps"

    def _see_out(self) -> None:
        self._run.wait()
        try:
            with contextlib.ExitStack() as last:
                last.callback(self._on_end, self)
                last.push(self._carried)
        except BaseException as error:  # noqa: BLE001 - carried to whoever waits
            _log.debug("run %s is broken", self.run, exc_info=True)
            self._failure = error
        finally:
            self._ended.set()

    def waits_for(self) -> Waiting:
        """Return what it waits for once it was cancelled."""
        return waiting_for(self._run.report())


def going() -> list[BackgroundRun]:
    """Return the runs of this Python that go on, the oldest first."""
    return sorted((run for run in _going if run.running), key=lambda run: run.run)


def _at_the_end() -> None:
    """End what goes on in good order, since Python ends; say what is waited for, and wait no longer than that takes."""
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
