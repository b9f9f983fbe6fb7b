"""Where the password of sudo comes from: a person, a program, or a descriptor. It is asked for when a host wants it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from nixhive_nb.errors import HiveError, OptionError
from nixhive_nb.hosts.password import LONGEST, Password
from nixhive_nb.util import process
from nixhive_nb.util.said import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.commands.session import Session
    from nixhive_nb.hive import Hive

DESCRIPTOR = "NIXHIVE_PASSWORD_FD"
"""The variable that has the number of an open file whose first line is the password."""
_COMMAND_SECONDS = 120
"""How long a program may take to print it: it may ask a person for a passphrase, or for a touch."""
_NAMED = 3
_OUTPUTS = (1, 2)
_WAYS = f"give --password-command WORDS, or a descriptor in {DESCRIPTOR}"


def check_can_ask(session: Session) -> None:
    """Raise `click.UsageError` where nobody can be asked for a password, before anything is done."""
    if not session.can_ask():
        raise click.UsageError(f"Nobody can be asked for a password here: {_WAYS}.")


def take_descriptor(session: Session) -> None:
    """Read the password that a descriptor holds, once in a session, and close that. Raises `OptionError`."""
    named = os.environ.pop(DESCRIPTOR, "")
    if named:
        session.password = Password(_read(named))


def with_password(ctx: click.Context, session: Session, options: Mapping[str, Any], hive: Hive) -> Hive:
    """Return the same deployment with the password that the options of a command name, which is gone at its end."""
    words = options.get("password_command")
    asks = bool(options.get("ask_password"))
    if words and asks:
        raise click.UsageError("--ask-password and --password-command cannot be used together.")
    for_some = tuple(options.get("ask_password_for", ()))
    if not (words or asks or for_some or session.password):
        return hive

    def give(label: str, names: Sequence[str]) -> str:
        if not label and words:
            return _printed_by(words)
        if not label and not asks and session.password is not None:
            return session.password.text()
        if not label and not asks:
            raise OptionError(f"{_named(names)} ask for a password, too: say --ask-password, or leave them out.")
        return _asked(session, label, names)

    known = hive.using(password=give, password_for=for_some)
    ctx.call_on_close(known.forget_passwords)
    return known


def _asked(session: Session, label: str, names: Sequence[str]) -> str:
    if session.secret is None or not session.can_ask():
        raise OptionError(f"Nobody can be asked for the password of sudo on {_named(names)} here: {_WAYS}.")
    whose = f" ({label})" if label else ""
    return session.secret(f"Password for sudo on {_named(names)}{whose}: ")


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''}"


def _read(named: str) -> str:
    """Return the first line of an open file, by its number."""
    if not (named.isascii() and named.isdigit()) or int(named) in _OUTPUTS:
        shown = one_line(named, 40)
        raise OptionError(f"{DESCRIPTOR} is {shown!r}: write the number of a descriptor that can be read.")
    number, data = int(named), b""
    try:
        # No more than the line: what comes behind it is for others.
        while len(data) <= LONGEST and (one := os.read(number, 1)) not in (b"", b"\n"):
            data += one
        if number:
            os.close(number)
    except (OSError, OverflowError) as error:
        raise OptionError(f"{DESCRIPTOR} is {named}, which cannot be read: {error}.") from None
    return data.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _printed_by(words: str) -> str:
    """Return the first line that a program prints. No shell reads its words. Raises `HiveError`."""
    try:
        argv = shlex.split(words)
    except ValueError as error:
        raise OptionError(f"--password-command: {error}.") from None
    if not argv:
        raise OptionError("--password-command: it needs the name of a program.")
    ended = process.run(argv, timeout=_COMMAND_SECONDS)
    # What it printed is not repeated: it may be the password all the same.
    if ended.status:
        why = one_line(ended.stderr, 200) or "it said nothing"
        raise HiveError(f"--password-command: {argv[0]} ended with {ended.status}: {why}")
    line = ended.stdout.partition("\n")[0].removesuffix("\r")
    if not line:
        raise HiveError(f"--password-command: {argv[0]} printed nothing in its first line.")
    return line
