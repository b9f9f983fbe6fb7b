"""`ssh`, `scp` and `ssh-config`: OpenSSH with the deployment's hosts, jumps and keys."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from nixhive_nb.commands.options import common, hive_of, session_of
from nixhive_nb.commands.session import Exited, Message, place_of
from nixhive_nb.ssh.resolve import SSH_VALUED
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_HELP: dict[str, Any] = {"help_option_names": ["--help"], "ignore_unknown_options": True}


@click.command(context_settings={**_PLAIN_HELP, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SSH-FLAGS] HOST [COMMAND]...")
@click.pass_context
def ssh(ctx: click.Context, words: tuple[str, ...]) -> Exited | Message:
    """Run ssh with the deployment's hosts.

    All flags after the word are ssh's.
    """
    return _openssh(ctx, "ssh", words, complete=_has_command(words))


@click.command(context_settings={**_PLAIN_HELP, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SCP-FLAGS] SOURCE... TARGET")
@click.pass_context
def scp(ctx: click.Context, words: tuple[str, ...]) -> Exited | Message:
    """Run scp with the deployment's hosts.

    All flags after the word are scp's.
    """
    # In a notebook there is no shell that would do it.
    own = [str(place_of(word)) if word.startswith("~/") else word for word in session_of(ctx).flat(words)]
    return _openssh(ctx, "scp", own, complete=True)


@click.command(name="ssh-config")
@common
@click.pass_context
def ssh_config(ctx: click.Context) -> Message:
    """Print the generated ssh configuration.

    It extends your own.
    """
    return Message(text=hive_of(ctx).ssh_config().rstrip("\n"))


def _openssh(ctx: click.Context, program: str, words: Sequence[str], *, complete: bool) -> Exited | Message:
    session = session_of(ctx)
    hive = hive_of(ctx)
    host = _host(words) if program == "ssh" else ""
    if host:
        hive.check_way(host)
    if session.has_terminal:
        return Exited(status=process.run_attached(hive.ssh_argv(program, words)))
    if not complete:
        return Message(text=f"In a terminal: nix-hive -c {hive.path} {program} {' '.join(words)}")
    ended = process.run(hive.ssh_argv(program, words, batch=True))
    return Exited(status=ended.status, stdout=ended.stdout, stderr=ended.stderr)


def ssh_flag_takes_value(flag: str) -> bool:
    """Return whether the word after a flag of ssh is its value."""
    return flag[-1] in SSH_VALUED


def in_place_of_host(words: Sequence[str]) -> bool:
    """Return whether the word after these of an ssh command is the host: no value of a flag, and no command."""
    return len(_behind_flags([*words, "HOST"])[1]) == 1


def _has_command(words: Sequence[str]) -> bool:
    """Return whether the words of an ssh command hold more than flags and a host."""
    return len(_behind_flags(words)[1]) > 1


def _host(words: Sequence[str]) -> str:
    """Return the host of an ssh command; empty where a flag (`-J`, `-o`, `-F`) may lead there in another way."""
    flags, rest = _behind_flags(words)
    if not rest or any(flag[:2] in ("-J", "-o", "-F") for flag in flags):
        return ""
    return rest[0].rpartition("@")[2]


def _behind_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of an ssh command without their values, and what stands behind them: the host, the command."""
    rest, flags = list(words), []
    while rest and rest[0].startswith("-") and rest[0] != "--":
        flags.append(rest.pop(0))
        if ssh_flag_takes_value(flags[-1]) and rest:
            rest.pop(0)
    with contextlib.suppress(ValueError):
        rest.remove("--")
    return flags, rest
