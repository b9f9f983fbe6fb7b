"""Builds that begin before there is a plan: of what is evaluated, while the rest is.

A build changes no host. What has begun is taken over by the step `build` of the run, which tells of it as of its own;
what no run takes over is ended.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from nixhive_nb.nix.realise import Realised, Recipes, Together, invalid, realise
from nixhive_nb.ssh.config import NIX_SSHOPTS, nix_ssh_opts
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nixhive_nb.plan.facts import Wanted
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.ssh.config import SshFiles

_log = logging.getLogger(__name__)
_AT_ONCE = 8
"""How many systems one program of Nix builds: so few are built beside what the run builds, when it takes over.

Two programs have twice the jobs that Nix allows one (`max-jobs`). To wait for the first would have all else wait for
one long build in it, and to end it would lose that.
"""
_KEPT_LINES = 1000
"""How many of the lines that nobody hears yet are kept."""


class Ahead:
    """Builds in the background, a few systems in one program of Nix at a time."""

    def __init__(self, flags: Sequence[str], files: SshFiles) -> None:
        """Begin with nothing. `flags` are those of the deployment for builds, `files` its ssh files."""
        self._flags = flags
        self._files = files
        self._lock = threading.Lock()
        self._waiting: Recipes = {}
        self._begun: Recipes = {}
        self._ended: list[Realised] = []
        self._taken = False
        self._voice = _Held()
        self._thread: threading.Thread | None = None
        self._works = False
        """Whether the thread still looks for what waits."""
        self._end: Callable[[], object] | None = None
        """Ends what is built now; None where nothing is."""

    def begin(self, wanted: Iterable[Wanted]) -> None:
        """Build those systems that are not here, after what was given before. Safe from any thread."""
        with self._lock:
            if self._taken:
                return
            self._waiting |= {one.system: (one.path, one.derivation) for one in wanted if one.derivation}
            if self._waiting and not self._works:
                self._works = True
                self._thread = threading.Thread(target=self._main, name="hive-ahead", daemon=True)
                self._thread.start()

    def take(self) -> Recipes:
        """Begin nothing more, and return what has begun: `ended` tells what became of it."""
        with self._lock:
            self._taken = True
            self._waiting.clear()
            return dict(self._begun)

    async def ended(self, tell: Tell) -> Sequence[Realised]:
        """Wait for what has begun, telling of it, and return how it ended; cancelling this ends it."""
        self._voice.pass_on(tell)
        thread = self._thread
        if thread is not None:
            try:
                await asyncio.to_thread(thread.join)
            except asyncio.CancelledError:
                self._stop()
                raise
        return tuple(self._ended)

    def close(self) -> None:
        """End what goes on."""
        self.take()
        self._stop()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _stop(self) -> None:
        with self._lock, swallowed(_log, "ending builds that have ended", RuntimeError):
            if self._end is not None:
                self._end()

    def _main(self) -> None:
        # What broke it is no reason to fail: what it has not built the run builds.
        with swallowed(_log, "building ahead of the plan", Exception, asyncio.CancelledError):
            asyncio.run(self._work())
            return
        with self._lock:
            self._works, self._end = False, None

    async def _work(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        with self._lock:
            self._end = lambda: loop.call_soon_threadsafe(task.cancel)
        together = Together(self._voice)
        env = {NIX_SSHOPTS: nix_ssh_opts(self._files), **self._files.environment}
        while batch := self._next():
            missing = await invalid([path for path, _ in batch.values()])
            new = {system: paths for system, paths in batch.items() if paths[0] in missing}
            if new and self._may_begin(new):
                self._ended.append(await realise(new, self._flags, env, together.part()))

    def _next(self) -> Recipes:
        with self._lock:
            batch = dict(islice(self._waiting.items(), _AT_ONCE))
            for system in batch:
                del self._waiting[system]
            if not batch:
                self._works, self._end = False, None
            return batch

    def _may_begin(self, batch: Recipes) -> bool:
        with self._lock:
            if not self._taken:
                self._begun |= batch
            return not self._taken


class _Held:
    """Keeps what is told until there is somebody to tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tell: Tell | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._progress: tuple[int, int] | None = None

    def line(self, text: str) -> None:
        """Pass on a line, or keep it."""
        with self._lock:
            if self._tell is None:
                self._lines.append(text)
            else:
                self._tell.line(text)

    def progress(self, done: int, expected: int) -> None:
        """Pass on how far it is, or keep that."""
        with self._lock:
            self._progress = (done, expected)
            if self._tell is not None:
                self._tell.progress(done, expected)

    def pass_on(self, tell: Tell) -> None:
        """Tell what was kept, and from now on all."""
        with self._lock:
            self._tell = tell
            for text in self._lines:
                tell.line(text)
            self._lines.clear()
            if self._progress is not None:
                tell.progress(*self._progress)
