"""Running one command over the connection of a host: again where it did not leave this machine, never where it did."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import paramiko

from nixhive_nb.errors import ConnectionFailed, LinkLost
from nixhive_nb.ssh.attempt import Cancelled, Slot
from nixhive_nb.ssh.call import Call
from nixhive_nb.ssh.link import RemoteResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from nixhive_nb.ssh.attempt import Attempt
    from nixhive_nb.ssh.ears import Steps
    from nixhive_nb.ssh.opened import Opened
    from nixhive_nb.ssh.pooled import PooledHost
    from nixhive_nb.ssh.watchdog import Watchdog

_log = logging.getLogger(__name__)
_SAID = 1500
"""Characters of what a failed command wrote that the log has."""
_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before another try of a command that could not be sent."""
_TRIES = 2
"""After so many more it gets a connection of its own, where other commands have the sessions of the kept one."""


class Sender:
    """Runs commands on hosts of the pool."""

    def __init__(
        self,
        opened: Callable[[PooledHost, Attempt], Opened],
        spare: Callable[[PooledHost], AbstractContextManager[PooledHost]],
        watchdog: Watchdog,
    ) -> None:
        """Take what gives the live connection of a host and logs in for it, and what has a `spare` one beside it."""
        self._opened = opened
        self._spare = spare
        self._watchdog = watchdog

    def run(
        self,
        host: PooledHost,
        command: str,
        *,
        timeout: float | None,
        on_line: Callable[[str, str], None] | None,
        stdin: bytes | str | None,
        on_call: Callable[[Call], None] | None,
        ending: bytes = b"",
        bound: bool = False,
    ) -> Steps[RemoteResult]:
        """Run a command on a host; see `Connections.run`."""
        instance, attempt = host.name, host.attempt
        data = stdin.encode() if isinstance(stdin, str) else stdin

        def perform(by: PooledHost) -> Steps[RemoteResult]:
            call = Call(data, on_line, ending=ending, held=bound)
            if on_call is not None:
                on_call(call)
            return self._perform(by, attempt, command, call, timeout=timeout)

        try:
            with host.in_use(), Slot(host.sessions, attempt.cancelled):
                for tries, pause in enumerate(_PAUSES):
                    try:
                        return (yield from perform(host))
                    except _NotSent as error:
                        if tries >= _TRIES and host.is_busy():
                            break
                        _log.info("%s: a command was not sent, and is tried again in %g s: %s", instance, pause, error)
                        # The kept connection was dead and nobody had noticed, or the server still counts sessions
                        # that have ended. The command has not left this machine.
                        if attempt.cancelled.wait(pause):
                            raise Cancelled from None
                else:
                    return (yield from perform(host))
                # To wait for the others would be to wait for ever where one of them waits for this one.
                _log.info("%s: its sshd gives a connection no more sessions: a command gets one of its own", instance)
                with self._spare(host) as spare:
                    return (yield from perform(spare))
        except _NotSent as error:
            raise ConnectionFailed(f"{instance} opens no session for a command: {error}") from None
        except Cancelled:
            raise ConnectionFailed(f"{instance}: given up before the command was sent.") from None

    def _perform(
        self, host: PooledHost, attempt: Attempt, command: str, call: Call, *, timeout: float | None
    ) -> Steps[RemoteResult]:
        opened = self._opened(host, attempt)
        if call.cancelled:
            raise Cancelled
        began = time.monotonic()
        _log.debug("%s: runs: %.300s", host.name, command)

        def give_up() -> None:
            if call.ending:
                call.end_aside(f"it took longer than {timeout:g} s")
            else:
                opened.break_(f"no answer in {timeout:g} s")

        with self._watchdog.limit(timeout, give_up):
            try:
                exited = yield from opened.perform(command, call, self._watchdog)
            except (paramiko.SSHException, OSError, EOFError) as error:
                if error is call.failure:
                    raise
                if not call.sent and not opened.reason:
                    raise self._not_sent(host, opened, error) from None
                exited = -1
        seconds = time.monotonic() - began
        if exited == -1 or call.reason:
            lost = self._lost(host, opened, call, ended=exited != -1)
            _log.info("%s: lost after %.2f s: %s", host.name, seconds, lost)
            raise lost
        _log.debug("%s: exit status %s after %.2f s%s", host.name, exited, seconds, _wrote(exited, call))
        out, errors = call.stdout.ended(), call.stderr.ended()
        return RemoteResult(exited=exited, stdout=out, stderr=errors, seconds=seconds, is_cut=call.is_cut)

    def _not_sent(self, host: PooledHost, opened: Opened, error: Exception) -> _NotSent:
        """Keep the connection where only a session was refused: other commands may be running in it."""
        text = str(error) or type(error).__name__
        if opened.alive and "Timeout" not in text:
            return _NotSent(f"{text} (MaxSessions of its sshd?)")
        host.drop(opened)
        return _NotSent(text)

    def _lost(self, host: PooledHost, opened: Opened, call: Call, *, ended: bool) -> LinkLost:
        reason = call.reason or opened.reason or opened.why_ended()
        reason = reason or ("the host ended the session" if opened.alive else "the connection broke")
        if not opened.alive:
            host.drop(opened)
        rest = "What ran there may still run." if call.sent else "The command was not sent."
        return LinkLost(f"{host.name}: {reason}. {'It was ended there.' if ended else rest}")


def _wrote(exited: int, call: Call) -> str:
    """Return what a command that failed wrote at last, for the log."""
    said = call.stderr.text()[-_SAID:].strip() if exited and _log.isEnabledFor(logging.DEBUG) else ""
    return f". It wrote:\n{said}" if said else ""


class _NotSent(Exception):  # noqa: N818 - a signal between these functions
    """The command did not leave this machine."""
