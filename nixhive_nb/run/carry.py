"""Carrying a plan out: shown by a face, noted in a journal, ended by an interrupt."""

from __future__ import annotations

import contextlib
import getpass
import logging
import platform
import re
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import HiveError
from nixhive_nb.run.engine import Run
from nixhive_nb.run.journal import Header
from nixhive_nb.util import process
from nixhive_nb.util.interrupts import interrupts_held, wait_awake
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixhive_nb.backend import NixSsh
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.journal import Journal
    from nixhive_nb.run.limits import Limits
    from nixhive_nb.run.report import Report

_log = logging.getLogger(__name__)
Follow = Callable[[Run], AbstractContextManager[object]]
"""Shows a run from its start to its end."""
_GRACE = 5.0
"""Seconds that a run has to end after a second interrupt."""
VERSION_SECONDS = 10.0
"""How long Nix may take to tell its version."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for a run, and why: for the journal."""

    program: str = "Python"
    words: tuple[str, ...] = ()
    """The words of the command."""
    reason: str = ""


def header_of(note: Note, *, source: str, deployment: Path, revision: str, nix: str = "") -> Header:
    """Return what a journal begins with. `source` is the deployment as the user named it.

    `nix` is the version of Nix on this machine; where it is not known it is asked for.
    """
    return Header(
        who=user_name(),
        program=note.program,
        words=note.words,
        reason=note.reason,
        versions=_versions(nix),
        source=source,
        deployment=str(deployment),
        revision=revision,
    )


def carry_out(
    plan: Plan,
    backend: NixSsh,
    *,
    limits: Limits,
    follow: Follow | None,
    journal: Journal | None,
    warn: Callable[[str], None] = lambda _: None,
) -> Report:
    """Carry a plan out and give the report, whatever the outcome; the backend is closed, the journal ended.

    An interrupt starts nothing more and lets running activations come to their end; a second one leaves at once. The
    interrupt is then raised.
    """
    with under_way(plan, backend, limits=limits, follow=follow, journal=journal, warn=warn) as run:
        wait_or_stop(run)
    return run.report()


def wait_or_stop(run: Run) -> None:
    """Wait until a run has ended. An interrupt stops it, a second one leaves it; then it is raised."""
    try:
        wait_awake(run.wait)
    except KeyboardInterrupt:
        try:
            run.stop()
            wait_awake(run.wait)
        except KeyboardInterrupt:
            _leave(run)
        raise


@contextlib.contextmanager
def under_way(
    plan: Plan,
    backend: NixSsh,
    *,
    limits: Limits,
    follow: Follow | None,
    journal: Journal | None,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[Run]:
    """Begin to carry a plan out, and give the run; leave when it has ended, on any thread.

    On leaving the journal is ended and the last is shown. Where it could not all be shown, `warn`
    says so: what shows a run never touches it.
    """
    run = Run(plan, backend, limits=limits, journal=str(journal.path) if journal is not None else "")
    interrupted = True
    if journal is not None:
        run.record(journal.heard)
    with contextlib.ExitStack() as last:
        if journal is not None:
            last.callback(lambda: _end(journal, run, interrupted=interrupted))
        last.callback(_leave, run)
        with _shown(run, follow or _in_silence, warn), last.pop_all():
            with interrupts_held():
                run.start()
            yield run
            interrupted = False


@contextlib.contextmanager
def _in_silence(_run: Run) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _shown(run: Run, follow: Follow, warn: Callable[[str], None]) -> Iterator[None]:
    """Show a run while this goes on. Once it has begun, a face that fails is as good as one that shows nothing."""
    face = follow(run)
    face.__enter__()
    wrong: list[BaseException] = []
    try:
        yield
    except BaseException as error:
        with _noted(wrong):
            face.__exit__(type(error), error, error.__traceback__)
        raise
    else:
        with _noted(wrong):
            face.__exit__(None, None, None)
    finally:
        for failure in (*run.unheard, *wrong):
            with swallowed(_log, "warning of what was not shown", Exception):
                warn(
                    f"Not all of the run could be shown: {str(failure) or type(failure).__name__}. Its report is whole."
                )


@contextlib.contextmanager
def _noted(wrong: list[BaseException]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a face's own; what it lets through is not raised by it
        _log.debug("showing the end of a run", exc_info=True)
        wrong.append(error)


def user_name() -> str:
    """Return `user@machine`: what other operators are told of us."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        _log.debug("this user has no name", exc_info=True)
        name = "somebody"
    return f"{name}@{socket.gethostname()}"


def _versions(nix: str) -> dict[str, str]:
    """Return the versions of what takes part on this machine."""
    nix = nix or _nix_version()
    return {
        "nixhive_nb": version("nixhive_nb"),
        "python": platform.python_version(),
        **({"nix": nix} if nix else {}),
    }


@cache
def _nix_version() -> str:
    try:
        said = process.run(["nix-store", "--version"], timeout=VERSION_SECONDS).stdout
    except (HiveError, OSError):
        _log.debug("the version of Nix is not known", exc_info=True)
        return ""
    found = re.search(r"\d[\w.]*", said)
    return found[0] if found else ""


def _leave(run: Run) -> None:
    """Abandon a run that is still going: its backend is about to be closed."""
    if run.going and not run.abandoned:
        run.abandon()
        run.wait(_GRACE)


def _end(journal: Journal, run: Run, *, interrupted: bool) -> None:
    with contextlib.closing(journal):
        journal.end(run.report(), interrupted=interrupted or run.stopping)
