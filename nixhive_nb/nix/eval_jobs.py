"""Evaluating systems with `nix-eval-jobs`, where that is installed: several processes, each system told as it is done.

It says nothing of a system that our own processes would not: one that it fails to evaluate fails alone, with Nix's
message, and one that it tells nothing of (it ended early, or is too old for what is asked) is evaluated without it.

Sources: README.md and `--help` of nix-eval-jobs, https://github.com/nix-community/nix-eval-jobs; seen with 0.0.6.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.sources.source import EVALUATED
from nixhive_nb.errors import HiveError
from nixhive_nb.ssh.config import private_folder, remove_folder
from nixhive_nb.util import process
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = logging.getLogger(__name__)
PROGRAM = "nix-eval-jobs"
_SELECT = "--select"
"""What a flake needs, and versions before 2.31 lack."""
_MOST_WORDS = 100_000
"""Bytes of one word that a program may be given: Linux allows 128 KiB."""
_ABOUT = 8
"""How many systems a line of Nix may be about: a process of ours evaluates as many."""

_MOST_LINES = 1000
"""Lines that are kept for a system."""


class Job(msgspec.Struct, frozen=True, rename={"derivation": "drvPath"}):
    """What is told of one system: its derivation and results, or why it cannot be evaluated."""

    attr: str = ""
    derivation: str = ""
    outputs: dict[str, str | None] = {}
    error: str = ""

    @property
    def result(self) -> str:
        """Its store path; empty where there is none."""
        return self.outputs.get("out") or ""

    @property
    def is_evaluated(self) -> bool:
        """Whether there is what a build needs. An error beside that is one of the program: it made no root, say."""
        return bool(self.derivation and self.result)


def is_installed() -> bool:
    """Return whether the program is on PATH."""
    return shutil.which(PROGRAM) is not None


def command(jobs: Sequence[str], *, workers: int, memory: int, roots: str) -> list[str]:
    """Return the command that evaluates jobs; `memory` is what one worker may take, in bytes."""
    sizes = ["--workers", str(workers), "--max-memory-size", str(memory // 1024**2)]
    return [PROGRAM, *sizes, "--gc-roots-dir", roots, *jobs]


class EvalJobs:
    """One `nix-eval-jobs` for all systems of a run. It begins when the first are asked for."""

    def __init__(self, systems: Sequence[str], jobs: Sequence[str], *, workers: int, memory: int) -> None:
        """`jobs` are the words of `Source.jobs` for these systems; `memory` is what a worker may take, in bytes."""
        self._names = {f"n{number:06}": system for number, system in enumerate(systems)}
        self._words = jobs
        self._workers = workers
        self._memory = memory
        self._told: dict[str, asyncio.Future[Job | None]] = {}
        self._open = dict.fromkeys(systems)
        """Those that are not told of yet, in order."""
        self._strange = ""
        self._said: dict[str, list[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0
        self._why = ""

    @property
    def why_ended(self) -> str:
        """Why it has not told of all, once; empty when that was said, or is not so."""
        why, self._why = self._why, ""
        return why

    def said(self, system: str) -> Sequence[str]:
        """Return the lines that Nix wrote and that may be about a system."""
        return self._said.get(system, ())

    async def of(self, systems: Sequence[str], done: Callable[[str], None]) -> dict[str, Job]:
        """Return what is told of systems, without those of which nothing is. `done` gets each as it is evaluated.

        Cancelling this ends the program when nobody else waits for it.
        """
        if self._task is None:
            self._told = {system: asyncio.get_running_loop().create_future() for system in self._names.values()}
            self._task = asyncio.create_task(self._run())
        waited = [system for system in systems if system in self._told]
        for system in waited:
            self._told[system].add_done_callback(partial(_pass_on, system, done))
        self._waiting += 1
        try:
            if waited:
                await asyncio.wait([self._told[system] for system in waited])
            if not self._open:
                await asyncio.wait([self._task])
        except asyncio.CancelledError:
            if self._waiting == 1:
                await self.end()
            raise
        finally:
            self._waiting -= 1
        return {system: job for system in waited if (job := self._told[system].result()) is not None}

    async def end(self) -> None:
        """End the program and its workers, if it runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            self._why = await self._evaluated()
        except (HiveError, OSError) as error:
            _log.debug("%s cannot be used", PROGRAM, exc_info=True)
            self._why = str(error)
        finally:
            for told in self._told.values():
                if not told.done():
                    told.set_result(None)

    async def _evaluated(self) -> str:
        """Run the program, and return why it has not told of all; empty where it has."""
        if max(len(os.fsencode(word)) for word in self._words) > _MOST_WORDS:
            return "there are too many systems for it"
        if _SELECT in self._words and _SELECT not in (await process.stream([PROGRAM, "--help"])).stdout:
            return f"this version has no {_SELECT}, which flakes need"
        # What is evaluated stays until all is, also when a worker ends and another goes on. Should we be killed, the
        # next program of ours removes this folder.
        roots = private_folder()
        try:
            argv = command(self._words, workers=self._workers, memory=self._memory, roots=str(roots))
            ended = await process.stream(argv, on_stdout=self._hear_job, on_stderr=self._hear)
        finally:
            remove_folder(roots)
        if not self._open:
            return ""
        if self._strange:
            return self._strange
        return f"signal {-ended.status} ended it" if ended.status < 0 else f"it ended early, with status {ended.status}"

    def _hear_job(self, line: str) -> None:
        job = _job(line)
        system = self._names.get(job.attr) if job is not None else None
        if job is not None and system in self._open and (job.is_evaluated or job.error):
            del self._open[system]
            self._told[system].set_result(job)
        elif job is not None and job.error and not job.attr:
            self._strange = "it could not evaluate the whole"
        else:
            self._strange = self._strange or "it printed what is no job"

    def _hear(self, line: str) -> None:
        """Note a line for those that it may be about: systems are begun in order, so the first that are not done."""
        if line.startswith(EVALUATED):
            return
        for system in islice(self._open, max(self._workers, _ABOUT)):
            lines = self._said.setdefault(system, [])
            if len(lines) < _MOST_LINES:
                lines.append(line)


def _pass_on(system: str, done: Callable[[str], None], told: asyncio.Future[Job | None]) -> None:
    if told.result() is not None:
        done(system)


def _job(line: str) -> Job | None:
    with swallowed(_log, f"reading a line of {PROGRAM}", msgspec.MsgspecError, UnicodeError):
        return msgspec.json.decode(line, type=Job)
    return None
