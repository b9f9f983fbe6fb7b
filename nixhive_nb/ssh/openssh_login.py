"""Logging in by OpenSSH: a control master of our own for a host, whose socket lies in a folder that is ours alone."""

from __future__ import annotations

import itertools
import logging
import shlex
import threading
import time
from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed, HostKeyError
from nixhive_nb.ssh.agents import agent_answers
from nixhive_nb.ssh.attempt import Cancelled
from nixhive_nb.ssh.chatter import without_chatter
from nixhive_nb.ssh.config import private_folder, remove_folder
from nixhive_nb.ssh.guest import Dropped
from nixhive_nb.ssh.jump import KEY_TROUBLE, key_lines
from nixhive_nb.ssh.knock import MANY
from nixhive_nb.ssh.openssh import Master
from nixhive_nb.ssh.pipes import Pipes
from nixhive_nb.util import process
from nixhive_nb.util.files import read_tail
from nixhive_nb.util.said import one_line
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nixhive_nb.ssh.attempt import Attempt
    from nixhive_nb.ssh.guest import Guest, LinkLimits
    from nixhive_nb.ssh.resolve import SshTarget
    from nixhive_nb.ssh.watchdog import Watchdog

_log = logging.getLogger(__name__)
_AUTH_TIMEOUT = 30.0
"""Seconds beside those for the connection: for keys, and for an agent that asks a person."""
_LOOK = 0.01
"""Seconds between looks at the socket of a master.

OpenSSH tells nobody that it is there but by a LocalCommand, which the user's own shell runs: what that reads first
(`.zshenv`, `config.fish`; bash its `.bashrc`) may take any time, and there are no sessions meanwhile.
"""
_MOST_WORDS = 500
_REFUSED = ("Permission denied", "Too many authentication failures", "No supported authentication methods")
_HUNG_UP = ("_exchange_identification:", "Connection closed by", "Connection reset by", "Broken pipe")
_TIMED_OUT = ("timed out", "Operation timed out")


class OpensshLogin:
    """Logs in by OpenSSH, which reads the generated configuration. `close` ends its thread and removes the sockets."""

    def __init__(self, config: Path, limits: LinkLimits, watchdog: Watchdog) -> None:
        """`config` is what `ssh -F` reads. Nothing is started yet."""
        self._config = config
        # In whole seconds; it gives up at the question that comes after so many that nobody has answered.
        self._alive = max(1, round(limits.alive_interval))
        self._misses = max(1, round(limits.silence / self._alive) - 1)
        self._watchdog = watchdog
        self._pipes = Pipes()
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._numbers = itertools.count()

    def __call__(self, guest: Guest, way: Sequence[str], attempt: Attempt) -> Master:
        """Log in, through a program of the words `way` where there are any.

        Raises `ConnectionFailed` (`HostKeyError`), `Dropped` where another try may help, and `Cancelled`.
        """
        target, begun = guest.target, time.monotonic()
        control = self._place()
        log = control.with_suffix(".log")
        _log.debug("%s: OpenSSH connects, as user %s", target, target.user)
        with log.open("wb") as stream:
            running = process.start(self._words(guest, control, way), stderr=stream)
        master = Master(target.name, running, control, log, self._pipes, silence=self._alive * (self._misses + 1))
        try:
            attempt.hold(master)
            with self._watchdog.limit(guest.timeout + _AUTH_TIMEOUT, master.break_) as limit:
                while running.poll() is None and not control.exists():
                    time.sleep(_LOOK)
            _check(guest, master, log, late=limit.expired)
        except BaseException:
            master.close()
            if attempt.cancelled.is_set():
                raise Cancelled from None
            raise
        _log.info("%s: user %s is logged in by OpenSSH after %.2f s", target, target.user, time.monotonic() - begun)
        return master

    def close(self) -> None:
        """End the thread that watches, and remove the sockets."""
        self._pipes.close()
        with self._lock:
            folder, self._folder = self._folder, None
        if folder is not None:
            remove_folder(folder)

    def _place(self) -> Path:
        with self._lock:
            if self._folder is None or not self._folder.is_dir():  # it may have been swept away meanwhile
                self._folder = private_folder()
            return self._folder / f"m{next(self._numbers)}"

    def _words(self, guest: Guest, control: Path, way: Sequence[str]) -> list[str]:
        options = {
            "ControlPersist": "no",
            # The user's own forwards of this host are not for us.
            "ClearAllForwardings": "yes",
            # Why a host refuses a tunnel is said at this level only.
            "LogLevel": "INFO",
            "ConnectTimeout": f"{max(1, round(guest.timeout))}",
            "ServerAliveInterval": f"{self._alive}",
            "ServerAliveCountMax": f"{self._misses}",
        }
        if way:
            options["ProxyCommand"] = shlex.join(way).replace("%", "%%")
            options["ProxyUseFdpass"] = "no"
        return [
            *("ssh", "-F", str(self._config), "-N", "-n", "-M", "-S", str(control)),
            *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
            *("--", guest.target.name),
        ]


def _check(guest: Guest, master: Master, log: Path, *, late: bool) -> None:
    """Raise why a master is not logged in, unless it is."""
    if master.alive and not late:
        return
    text = strip_control(read_tail(log))
    _log.debug("%s: OpenSSH is not logged in: %s", guest.target, text)
    lines = without_chatter(line.strip() for line in text.splitlines() if line.strip(" @\t\r"))
    if late and not lines and guest.target.agent and not agent_answers(guest.target.agent):
        raise ConnectionFailed(
            f"{guest.target}: OpenSSH waits for the agent at {guest.target.agent}, which says nothing: end that agent, "
            f'or set `IdentityAgent = "none"` in instances.{guest.target.name}.ssh.'
        )
    raise _explain(guest.target, lines, guest.timeout, late=late)


def _explain(target: SshTarget, lines: Sequence[str], seconds: float, *, late: bool) -> Exception:
    """Return the exception for what OpenSSH wrote when it did not log in."""
    text = "\n".join(lines)
    words = one_line(" / ".join(lines[-3:]), _MOST_WORDS) or "it ended without a word"
    if any(word in text for word in KEY_TROUBLE):
        return HostKeyError(
            f"the host key of {target} is not accepted: {key_lines(lines)} Nothing was sent. If it is right, add it to "
            f"instances.{target.name}.hostKeys in the deployment.",
            log=lines,
        )
    if any(word in text for word in _REFUSED):
        return ConnectionFailed(
            f"{target}: the login of user {target.user} was refused. OpenSSH says: {words}", log=lines
        )
    if late or any(word in text for word in _TIMED_OUT):
        return ConnectionFailed(f"{target} did not answer within {seconds:g} s. OpenSSH says: {words}", log=lines)
    if "Connection refused" in text:
        return ConnectionFailed(f"{target} refuses the connection: no ssh server listens there.", log=lines)
    if any(word in text for word in _HUNG_UP):
        return _hung_up(target, lines, words)
    return ConnectionFailed(f"{target} is not reached by OpenSSH, which says: {words}", log=lines)


def _hung_up(target: SshTarget, lines: Sequence[str], words: str) -> Exception:
    """Return the exception for a login that ended before it began: what a ProxyCommand says is no word of the host."""
    told = [line for line in lines if not any(word in line for word in _HUNG_UP)]
    if told and target.proxy_command:
        return ConnectionFailed(f"{target}: Its ProxyCommand says: {one_line(told[-1], _MOST_WORDS)}", log=lines)
    return Dropped(f"it hung up before the login. {MANY} OpenSSH says: {words}")
