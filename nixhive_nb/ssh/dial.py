"""Reaching a host by its way, and saying in plain words why that failed."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING

import paramiko

from nixhive_nb.errors import ConnectionFailed, HiveError
from nixhive_nb.ssh import knock
from nixhive_nb.ssh.chatter import without_chatter
from nixhive_nb.ssh.guest import Dropped, Unfit, WayLost
from nixhive_nb.ssh.login import LoginRefused
from nixhive_nb.util import descriptors, process
from nixhive_nb.util.said import one_line
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from pathlib import Path

    from nixhive_nb.ssh.resolve import SshTarget
    from nixhive_nb.ssh.transport import Link


_MOST_READ = 65536
_MOST_WORDS = 300
"""How many characters of what a server or a ProxyCommand says stand in a message."""
_NOT_SSH = ("Indecipherable", "Invalid SSH banner", "Invalid SSH packet", "Invalid packet blocking")
"""What stands in the words of an error when the other side speaks something else."""


def dial(link: Link, target: SshTarget, way: Path | None, seconds: float) -> None:
    """Connect a link to a host: through the socket `way`, by its ProxyCommand, or straight.

    Raises `OSError`, and `WayLost` where the socket is dead.
    """
    if way is not None:
        try:
            link.dial_unix(way, seconds)
        except (ConnectionRefusedError, FileNotFoundError):
            raise WayLost from None
    elif target.proxy_command:
        _start_proxy(link, target.proxy_command)
    else:
        link.dial_tcp(target, seconds)


def explain(error: BaseException, target: SshTarget, timeout: float | None, said: str) -> BaseException:
    """Return the exception to raise for one that a login ended with.

    It is `Dropped` where another try may help, and `Unfit` where OpenSSH may.

    `timeout`: the seconds of the deadline that has passed, if it has. `said`: what the ProxyCommand wrote.
    """
    if isinstance(error, (HiveError, Dropped, Unfit)) or not isinstance(error, Exception) or descriptors.is_ours(error):
        return error
    if timeout is not None or isinstance(error, TimeoutError):
        within = f" within {timeout:g} s" if timeout is not None else ""
        return ConnectionFailed(f"{target} did not answer{within}.{_proxy_words(said)}")
    if isinstance(error, LoginRefused):
        return Unfit(ConnectionFailed(f"{target}: {error}"), "was refused the login")
    if said:
        return ConnectionFailed(f"{target}:{_proxy_words(said)}")
    return _explain_network(error, target) or _explain_protocol(error, target)


def _explain_network(error: Exception, target: SshTarget) -> Exception | None:
    if isinstance(error, socket.gaierror):
        return ConnectionFailed(
            f"{target.name}: there is no address for the name {target.hostname}. "
            f"Set Hostname in instances.{target.name}.ssh, or look at the name server."
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectionFailed(f"{target} refuses the connection: no ssh server listens there.")
    if isinstance(error, (ConnectionResetError, BrokenPipeError, EOFError)):
        return Dropped(f"it hung up before the login. {knock.MANY}")
    if isinstance(error, OSError):
        return ConnectionFailed(f"{target} cannot be reached: {error.strerror or error}.")
    return None


def _explain_protocol(error: Exception, target: SshTarget) -> Exception:
    text = one_line(str(error), _MOST_WORDS) or type(error).__name__
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        failed = ConnectionFailed(f"{target} and this machine have no algorithm in common: {text}")
        return Unfit(failed, f"has no algorithm in common with it ({text})")
    if isinstance(error, paramiko.SSHException):
        if any(word in text for word in _NOT_SSH):
            return ConnectionFailed(f"{target} does not speak ssh: {text}")
        return Dropped(f"it hung up before the login ({text}).")
    return Unfit(ConnectionFailed(f"{target}: {text}"), f"cannot log in ({text})")


def _proxy_words(said: str) -> str:
    return f" Its ProxyCommand says: {said}" if said else ""


def _start_proxy(link: Link, command: str) -> None:
    ours, theirs = socket.socketpair()
    log = tempfile.TemporaryFile(prefix="hive-proxy-")  # noqa: SIM115 - it has no name, and `finish` closes it
    with theirs:
        argv = ["/bin/sh", "-c", f"exec {command}"]
        running = process.start(argv, socket=theirs.fileno(), stderr=log)

    def finish() -> str:
        process.end(running)
        with log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _MOST_READ))
            lines = without_chatter(strip_control(log.read().decode("utf-8", errors="replace")).split("\n"))
        return one_line(next((line for line in reversed(lines) if line.strip()), ""), _MOST_WORDS)

    link.adopt(ours, finish)
