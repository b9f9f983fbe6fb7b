"""`nix-hive`: the commands in a terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from nixhive_nb.cli.asking import ask_secret, has_keyboard
from nixhive_nb.cli.telling import complain, tell, warn
from nixhive_nb.commands import hive_group
from nixhive_nb.deployment.sources.counting import counted_to
from nixhive_nb.errors import HiveError, of_system
from nixhive_nb.util import streams
from nixhive_nb.util.interrupts import Caught
from nixhive_nb.util.text import seconds_text
from nixhive_nb.view.counting import NodeCount
from nixhive_nb.view.pulse import EVERY, beating, doing

if TYPE_CHECKING:
    from nixhive_nb.commands.session import Session, Value
    from nixhive_nb.run.engine import Run
    from nixhive_nb.view.terminal import HostLines, HostOutputs

_log = logging.getLogger(__name__)

INTERRUPTED = 130
_TAB = "_NIX_HIVE_COMPLETE"
"""The variable by which a shell asks what a word may become; its value says which shell."""
_NOT_OURS = ("ssh", "scp")
"""Commands whose output is that of another program."""


def main(argv: list[str] | None = None, *, pulse: float = EVERY) -> None:
    """Run one command and leave with its status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    SIGTERM and SIGHUP are interrupts as well (143, 129). The status is that of the command, whatever becomes of what is
    printed; but 1 where standard output, which is what was asked for, cannot be written. Without a terminal there is a
    line at least every `pulse` seconds.
    """
    asked = os.environ.get(_TAB)
    if asked:
        _complete(asked)
    streams.prepare()
    caught = Caught()
    words = sys.argv[1:] if argv is None else argv
    count = NodeCount()
    with _sign_of_life(words, pulse, count), contextlib.closing(count), counted_to(count):
        status = call(words)
    if status == INTERRUPTED and caught.first is not None:
        status = 128 + caught.first
    lost = streams.failure()
    if lost:
        complain(f"standard output could not be written: {lost}.")
    sys.exit(status or bool(lost))


def _complete(asked: str) -> NoReturn:
    from nixhive_nb.commands.shells import complete  # noqa: PLC0415 - no command needs it

    sys.exit(complete(hive_group, asked))


def _sign_of_life(words: list[str], every: float, count: NodeCount) -> contextlib.AbstractContextManager[object]:
    """Say that a command goes on, where no terminal shows it and no program of others has the output."""
    word = next((word for word in words if not word.startswith("-")), "")
    if not word or word in _NOT_OURS or (sys.stderr is not None and sys.stderr.isatty()):
        return contextlib.nullcontext()
    began = time.monotonic()
    last = contextlib.ExitStack()
    last.enter_context(
        doing(lambda: f"{word}: {count.words or 'running'}, after {seconds_text(time.monotonic() - began)}")
    )
    last.enter_context(beating(every))
    return last


def call(argv: list[str]) -> int:
    """Run one command and give its exit status."""
    # Such a line shows the help, whatever else stands in it.
    session = None if argv[:1] in ([], ["-h"], ["--help"]) else _session()
    if _log.isEnabledFor(logging.INFO):
        from nixhive_nb.util.redaction import redact_words  # noqa: PLC0415 - only a log needs it

        _log.info("nix-hive in %s: %s", _here(), redact_words(argv))
    try:
        return _show(_command(argv, session))
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        _log.info("wrong usage: %s", error.format_message())
        path = error.ctx.command_path if error.ctx is not None else "nix-hive"
        complain(f"{' '.join(error.format_message().split())} See {path} --help.")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _log.info("interrupted", exc_info=True)
        if streams.reader_left():
            return 1
        complain("interrupted")
        return INTERRUPTED
    except (HiveError, OSError) as error:
        _log.info("failed: %s", error, exc_info=True)
        complain(str(of_system(error) if isinstance(error, OSError) else error))
        return 1
    except Exception as error:
        _log.info("a bug in nixhive_nb: %r", error, exc_info=True)
        raise
    finally:
        if session is not None:
            _end(session)


def _session() -> Session:
    from nixhive_nb.commands.session import Session  # noqa: PLC0415 - the list of the commands does not need it

    return Session(
        program="nix-hive",
        follow=_follow,
        warn=warn,
        tell=tell,
        listen=_listener,
        attended=lambda: sys.stdin is not None and sys.stdin.isatty(),
        ask=lambda question: click.confirm(question, default=False, err=True),
        secret=ask_secret,
        can_ask=has_keyboard,
    )


def _end(session: Session) -> None:
    try:
        session.close()
    finally:
        session.end_command()


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        return f"a folder that is gone ({error.strerror})"


def _follow(run: Run) -> contextlib.AbstractContextManager[None]:
    """Show a run on standard error."""
    from nixhive_nb.view.terminal import follow_in_terminal  # noqa: PLC0415 - rich, which only a run needs

    return follow_in_terminal(run)


def _listener(plain: bool) -> HostOutputs | HostLines:  # noqa: FBT001 - the session gives it so
    """Return what prints what hosts say. Who reads no more of it (`| head`) wants no more: that is an interrupt."""
    from nixhive_nb.view.terminal import HostLines, HostOutputs  # noqa: PLC0415 - see above

    streams.when_reader_leaves(lambda: os.kill(os.getpid(), signal.SIGINT))
    return HostOutputs() if plain else HostLines()


def _command(argv: list[str], session: Session | None) -> Value:
    with hive_group.make_context("nix-hive", list(argv) or ["--help"], obj=session) as ctx:
        if session is not None:
            session.words = tuple(argv)
        value: Value = hive_group.invoke(ctx)
        return value


def _show(value: Value) -> int:
    """Print a value, and return the exit status that it stands for."""
    from nixhive_nb.commands.session import Exited, Message  # noqa: PLC0415 - see above

    if isinstance(value, Message) and value.document is None:
        streams.write(f"{value.text}\n")
        return 0
    if isinstance(value, Exited):
        return value.status
    from nixhive_nb.cli.show import show  # noqa: PLC0415 - tables and views, which text does not need

    return show(value)
