"""`nix-hive`: the commands in a terminal."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import click

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.forms import csv_of
from nixhive_nb.commands.session import (
    Already,
    Ended,
    Exited,
    Known,
    Listing,
    Message,
    Planned,
    Ran,
    Session,
    Told,
    Value,
)
from nixhive_nb.errors import HiveError, of_system
from nixhive_nb.frames import run_failures
from nixhive_nb.util import streams
from nixhive_nb.util.interrupts import Caught
from nixhive_nb.util.redaction import redact_words
from nixhive_nb.util.text import seconds_text, strip_control
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.plan import plan_text
from nixhive_nb.view.pulse import EVERY, beating, doing
from nixhive_nb.view.report import report_text
from nixhive_nb.view.screen import screen_of
from nixhive_nb.view.terminal import HostLines, HostOutputs, follow_in_terminal, tell_report

_log = logging.getLogger(__name__)

INTERRUPTED = 130
_NOT_OURS = ("ssh", "scp")
"""Commands whose output is that of another program."""


def main(argv: list[str] | None = None, *, pulse: float = EVERY) -> None:
    """Run one command and leave with its status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    SIGTERM and SIGHUP are interrupts as well (143, 129). The status is that of the command, whatever becomes of what is
    printed; but 1 where standard output, which is what was asked for, cannot be written. Without a terminal there is a
    line at least every `pulse` seconds.
    """
    streams.prepare()
    caught = Caught()
    words = sys.argv[1:] if argv is None else argv
    with _sign_of_life(words, pulse):
        status = call(words)
    if status == INTERRUPTED and caught.first is not None:
        status = 128 + caught.first
    lost = streams.failure()
    if lost:
        _complain(f"standard output could not be written: {lost}.")
    sys.exit(status or bool(lost))


def _sign_of_life(words: list[str], every: float) -> contextlib.AbstractContextManager[object]:
    """Say that a command goes on, where no terminal shows it and no program of others has the output."""
    word = next((word for word in words if not word.startswith("-")), "")
    if not word or word in _NOT_OURS or (sys.stderr is not None and sys.stderr.isatty()):
        return contextlib.nullcontext()
    began = time.monotonic()
    last = contextlib.ExitStack()
    last.enter_context(doing(lambda: f"{word}: goes on, after {seconds_text(time.monotonic() - began)}"))
    last.enter_context(beating(every))
    return last


def call(argv: list[str]) -> int:
    """Run one command and give its exit status."""
    session = Session(
        program="nix-hive",
        follow=follow_in_terminal,
        warn=_warn,
        tell=_tell,
        listen=_listener,
        attended=lambda: sys.stdin is not None and sys.stdin.isatty(),
        ask=lambda question: click.confirm(question, default=False, err=True),
    )
    if _log.isEnabledFor(logging.INFO):
        _log.info("nix-hive in %s: %s", _here(), redact_words(argv))
    try:
        return _show(_command(argv, session))
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        _log.info("wrong usage: %s", error.format_message())
        path = error.ctx.command_path if error.ctx is not None else "nix-hive"
        _complain(f"{' '.join(error.format_message().split())} See {path} --help.")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _log.info("interrupted", exc_info=True)
        if streams.reader_left():
            return 1
        _complain("interrupted")
        return INTERRUPTED
    except (HiveError, OSError) as error:
        _log.info("failed: %s", error, exc_info=True)
        _complain(str(of_system(error) if isinstance(error, OSError) else error))
        return 1
    except Exception as error:
        _log.info("a bug in nixhive_nb: %r", error, exc_info=True)
        raise
    finally:
        try:
            session.close()
        finally:
            session.end_command()


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        return f"a folder that is gone ({error.strerror})"


def _listener(plain: bool) -> HostOutputs | HostLines:  # noqa: FBT001 - the session gives it so
    """Return what prints what hosts say. Who reads no more of it (`| head`) wants no more: that is an interrupt."""
    streams.when_reader_leaves(lambda: os.kill(os.getpid(), signal.SIGINT))
    return HostOutputs() if plain else HostLines()


def _command(argv: list[str], session: Session) -> Value:
    with hive_group.make_context("nix-hive", list(argv) or ["--help"], obj=session) as ctx:
        session.words = tuple(argv)
        value: Value = hive_group.invoke(ctx)
        return value


def _show(value: Value) -> int:
    match value:
        case Listing():
            _show_listing(value)
            return 0 if value.ok else 1
        case Known():
            _print_json(value.document)
        case Planned():
            _show_plan(value)
        case Ran():
            return _show_run(value)
        case Ended():
            return _show_report(value)
        case Exited():
            return value.status
        case Told() | Message() | Already():
            _show_told(value)
    return 0


def _show_listing(listing: Listing) -> None:
    match listing.form:
        case "json":
            _print_json(listing.records)
        case "csv":
            streams.write(csv_of(listing.frame))
        case form:
            _print(listing_text(listing.table, screen_of(), wide=form == "wide"))


def _show_plan(planned: Planned) -> None:
    match planned.form:
        case "json":
            _print_json(planned.records)
        case "csv":
            streams.write(csv_of(planned.frame))
        case form:
            _print(plan_text(planned.plan, screen=screen_of(), wide=form == "wide"))
            _print("Nothing was changed.")


def _show_told(told: Told | Message | Already) -> None:
    """Print what is known already, or with `--json` that as an object, and the words for a person beside it."""
    if told.document is not None:
        _print_json(told.document)
    if isinstance(told, Told):
        error = told.document is not None
        streams.write(report_text(told.report, screen=screen_of(error=error)) + "\n", error=error)
    elif told.document is not None:
        _tell(told.text)
    else:
        _print(told.text)


def _show_report(ended: Ended) -> int:
    tell_report(ended.report)
    if ended.document is not None:
        _print_json(ended.document)
    return 0 if ended.report.ok else 1


def _show_run(ran: Ran) -> int:
    if ran.records is not None:
        _print_json(ran.records)
    bad, rest = run_failures(ran.frame)
    if not bad:
        return 0
    left_out = f", {rest} not tried" if rest else ""
    _complain(("one instance failed" if bad == 1 else f"{bad} instances failed") + left_out)
    return 1


def _print_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    _print(text if streams.can_show(text) else json.dumps(value, indent=2))


def _print(text: str) -> None:
    streams.write(text + "\n")


def _warn(text: str) -> None:
    _tell(f"warning: {text}")


def _tell(text: str) -> None:
    streams.write(strip_control(text) + "\n", error=True)


def _complain(text: str) -> None:
    _tell(f"nix-hive: {text}")
