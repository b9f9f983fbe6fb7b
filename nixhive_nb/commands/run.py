"""`run`: a command or a script of the user's on hosts."""

from __future__ import annotations

import os
import shlex
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from nixhive_nb.commands.options import PASSWORDS, Value, as_json, common, hive_of, options_of, password, session_of
from nixhive_nb.commands.session import Ran, place_of, records_of
from nixhive_nb.errors import OptionError
from nixhive_nb.hosts.command import check_name, is_name
from nixhive_nb.plan.option_kinds import Decimal
from nixhive_nb.util.log import cut_also

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TIMEOUT = Decimal(least=0.0, above=True, unit="seconds")
F = TypeVar("F", bound="Callable[..., Any]")


class _RunCommand(click.Command):
    """`run`: what follows the pattern is the command's own, but for `%%hive run`, whose command is the cell."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_interspersed_args = not ctx.resilient_parsing and session_of(ctx).script is not None
        return super().parse_args(ctx, args)


def _variables(_ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    """Return the values by name; a name alone takes its value from our own environment."""
    found = {}
    for word in words:
        name, given, value = word.partition("=")
        if not is_name(name) or not (given or name in os.environ):
            # Its words are not repeated: they may be a secret that missed its name, as in `-v $token`.
            raise click.BadParameter(
                "write NAME=VALUE, or a NAME that is set in the environment. "
                "A NAME has letters, digits and _, and no digit first."
            )
        try:
            check_name(name)
        except OptionError as error:
            raise click.BadParameter(str(error)) from None
        found[name] = value if given else os.environ[name]
    cut_also(found.values())
    return found


def _program(_ctx: click.Context, _param: click.Parameter, words: str | None) -> list[str]:
    if words is None:
        return []
    try:
        found = shlex.split(words)
    except ValueError as error:
        raise click.BadParameter(f"{error} in: {words}") from None
    if not found:
        raise click.BadParameter("it needs the name of a program.")
    return found


class _File(click.File):
    """A file to read; `~` is the home folder, also where no shell has seen to that."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        if ctx is not None and ctx.resilient_parsing:
            return None  # Tab opens nothing: it could be a pipe, or the keyboard
        named = str(place_of(value)) if isinstance(value, str) and value != "-" else value
        return super().convert(named, param, ctx)


def _content(ctx: click.Context, _param: click.Parameter, file: IO[bytes] | None) -> bytes | None:
    """Return what is in a file; `-` is the standard input, which a notebook has not."""
    if file is None:
        return None
    if file.name == "<stdin>" and not session_of(ctx).has_terminal:
        raise click.BadParameter("a notebook has no standard input: name a file.")
    return file.read()


def _option_of_run(ctx: click.Context, word: str) -> str:
    """Return the option of `run` that a word is, empty for any other word."""
    names = {name for param in ctx.command.get_params(ctx) if isinstance(param, click.Option) for name in param.opts}
    name = word.partition("=")[0]
    return name if name in names and name != "--" else ""


def _shebang(script: str) -> list[str]:
    """Return the program that the first line of a script names, as `#!/bin/bash` does; none where it names none."""
    line, _, _ = script.partition("\n")
    if not line.startswith("#!"):
        return []
    try:
        return shlex.split(line[2:])
    except ValueError as error:
        raise click.UsageError(f"{error} in the first line of the cell: {line}") from None


def _options(function: F) -> F:
    """Add what says how a command is run."""
    for decorate in reversed((
        click.option("--sudo", is_flag=True, help="Run it as root: by sudo, or as `elevate` says."),
        click.option("--timeout", type=Value(_TIMEOUT), metavar="SECONDS",
                     help="Stop it on each host after this long.  [more than 0]"),
        click.option("--each", is_flag=True, help="One host at a time; stop at the first that fails."),
        click.option("--shell", metavar="PROGRAM", callback=_program,
                     help="What runs it, such as bash or 'python3 -u': it gets the script as a file.  "
                          "[default: the login shell, and /bin/sh for a cell]"),
        click.option("-v", "--var", "variables", metavar="NAME[=VALUE]", multiple=True, callback=_variables,
                     help="Set a variable, which no list of processes shows. Without =VALUE: its value here."),
        click.option("--stdin-from", "stdin", metavar="FILE", type=_File("rb"), callback=_content,
                     help="Its standard input; - is that of this command.  [default: empty]"),
        click.option("--plain", is_flag=True,
                     help="In a terminal: print each host's output unchanged, in the order of the hosts."),
    )):  # fmt: skip
        function = decorate(function)
    return function


@click.command(cls=_RunCommand)
@_options
@password
@as_json
@click.argument("pattern")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@common
@click.pass_context
def run(
    ctx: click.Context,
    pattern: str,
    command: tuple[str, ...],
    *,
    sudo: bool,
    timeout: float | None,
    each: bool,
    shell: Sequence[str],
    variables: dict[str, str],
    stdin: bytes | None,
    plain: bool,
    as_json: bool,
) -> Ran:
    """Run a command on hosts, side by side.

    One that fails does not stop the others (but see --each).

    The words are joined with blanks and given to the host's shell, as `ssh` does. In a notebook, `%%hive run PATTERN`
    runs the cell's body as a shell script.
    """
    session = session_of(ctx)
    if session.script is not None and command:
        raise click.UsageError(f"%%hive run takes the command from the cell: what is '{command[0]}' for?")
    if command and (option := _option_of_run(ctx, command[0])):
        raise click.UsageError(
            f"{command[0]} is an option of run: write it before the pattern, as in "
            f"{session.program} run {option} … {pattern} COMMAND. For a command of that name: run {pattern} -- …"
        )
    if command[:1] == ("--",):
        command = command[1:]
    if session.script is None and not command:
        raise click.UsageError(f"run needs a command: {session.program} run {pattern} uptime")
    if not sudo and any(name in options_of(ctx) for name in PASSWORDS):
        raise click.UsageError("A password is for --sudo: nothing else of run becomes root.")
    hive = hive_of(ctx)
    (targets,) = session.patterns([pattern])
    frame = hive.run(
        targets,
        " ".join(command),
        script=session.script or "",
        shell=shell or _shebang(session.script or ""),
        sudo=sudo,
        variables=variables,
        stdin=stdin,
        timeout=timeout,
        each=each,
        logs=not (session.has_terminal or as_json),
        listener=None if as_json else session.listen(plain),
    )
    return Ran(frame=frame, records=records_of(frame) if as_json else None)
