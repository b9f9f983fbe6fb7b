"""Logging in by Fabric: the way, the keys of the host, our keys, and the deadlines."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import paramiko

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.ssh import host_keys
from nixhive_nb.ssh.attempt import Cancelled
from nixhive_nb.ssh.dial import dial, explain
from nixhive_nb.ssh.fabric import HostConnection, shared_config
from nixhive_nb.ssh.login import KeyLogin
from nixhive_nb.ssh.probe import Tunnel
from nixhive_nb.ssh.transport import Link, Transport, has_channels
from nixhive_nb.util.said import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nixhive_nb.ssh.attempt import Attempt
    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.carrier import CarrierName
    from nixhive_nb.ssh.ears import Steps
    from nixhive_nb.ssh.guest import Guest, LinkLimits
    from nixhive_nb.ssh.login import TakenKey
    from nixhive_nb.ssh.watchdog import Watchdog

_log = logging.getLogger(__name__)
_AUTH_TIMEOUT = 30.0
_CHANNEL_TIMEOUT = 15.0
_REFUSALS = {
    1: "its sshd does not allow it (AllowTcpForwarding)",
    2: "nothing listens there, or it cannot be reached",
}
"""Why an SSH server opens no channel: the codes of RFC 4254, section 5.1."""


class FabricOpened:
    """A connection that Fabric logged in: an `Opened`."""

    carrier: CarrierName = "fabric"

    def __init__(self, name: str, connection: HostConnection, link: Link) -> None:
        self._name = name
        self.connection = connection
        self.link = link

    @property
    def taken(self) -> TakenKey | None:
        """The key that it was logged in by."""
        login = self.connection.connect_kwargs.get("auth_strategy")
        return login.taken if isinstance(login, KeyLogin) else None

    @property
    def alive(self) -> bool:
        """Whether commands may be tried on it."""
        return bool(self.connection.is_connected) and not self.link.broken

    @property
    def busy(self) -> bool:
        """Whether a session or a tunnel is open in it."""
        transport = self.connection.transport
        return transport is not None and has_channels(transport)

    @property
    def heard(self) -> float:
        """When something was heard from it at last, by the monotonic clock."""
        return self.link.heard

    @property
    def reason(self) -> str:
        """Why it was broken off; empty where it was not."""
        return self.link.reason

    def why_ended(self) -> str:
        """Return nothing: paramiko does not tell."""
        return ""

    def is_silent(self, seconds: float) -> bool:
        """Return whether nobody uses it and nothing was heard for so long: a session would be waited for in vain."""
        return time.monotonic() - self.link.heard > seconds and not self.busy

    def perform(self, command: str, call: Call, watchdog: Watchdog) -> Steps[int]:
        """Run a command and give its exit status; -1 when the host never told it."""
        return self.connection.perform(command, call, watchdog)

    def dial(self, host: str, port: int, seconds: float) -> Tunnel:
        """Connect to `host:port` from there. Raises `ConnectionFailed`."""
        try:
            # What the other end of a forwarding says of where it comes from is a formality.
            channel: paramiko.Channel = self.connection.transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), None, None, seconds
            )
        except paramiko.ChannelException as error:
            why = _REFUSALS.get(error.code) or one_line(error.text)
            raise ConnectionFailed(f"{self._name}: no connection to {host}:{port}: {why}.") from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionFailed(f"{self._name}: no connection to {host}:{port}: {one_line(str(error))}.") from None
        return Tunnel(channel, seconds)

    def break_(self, reason: str = "") -> None:
        """End it from any thread, without waiting."""
        self.link.break_(reason)

    def close(self) -> None:
        """Close it; any number of times."""
        _close(self.connection, self.link)


class FabricLogin:
    """Logs in by Fabric, which reads no file: it gets values alone."""

    def __init__(self, limits: LinkLimits, watchdog: Watchdog, tell: Callable[[str], None]) -> None:
        """Nothing is opened yet. `tell` takes a line for a person who has to do something."""
        self._tell = tell
        self._limits = limits
        self._watchdog = watchdog
        self._config = shared_config()

    def __call__(self, guest: Guest, way: Path | None, attempt: Attempt) -> FabricOpened:
        """Log in, through the socket `way` where there is one.

        Raises `ConnectionFailed` (`HostKeyError`, `Unfit`), `Dropped` where another try may help, and `Cancelled`.
        """
        target = guest.target
        link = attempt.hold(Link())
        connection: HostConnection | None = None
        begun = time.monotonic()
        _log.debug("%s: connecting, as user %s%s", target, target.user, f", through {way}" if way else "")
        with self._watchdog.limit(guest.timeout, link.break_) as limit:
            try:
                dial(link, target, way, guest.timeout)
                connection = self._connection(guest, link, limit.done)
                connection.open()
            except BaseException as error:  # noqa: BLE001 - also an interrupt must not leave a half-open connection
                _close(connection, link)
                if attempt.cancelled.is_set():
                    raise Cancelled from None
                _log.debug("%s: no connection: %s", target, error, exc_info=True)
                raise explain(error, target, guest.timeout if limit.expired else None, link.complaint) from None
        _log.info("%s: user %s is logged in after %.2f s", target, target.user, time.monotonic() - begun)
        connection.transport.ask_for_life_signs(self._limits.alive_interval)
        _mind(self._watchdog, link, self._limits.silence)
        return FabricOpened(target.name, connection, link)

    def _connection(self, guest: Guest, link: Link, known: Callable[[], None]) -> HostConnection:
        """Build a Fabric connection out of nothing but values; `known` is called when the host has shown its key."""
        target = guest.target

        def transport(sock: Link, **_: Any) -> Transport:  # noqa: ANN401 - what paramiko passes
            made = Transport(sock, target.name)
            made.prefer(guest.known.algorithms)
            made.environment = target.environment
            # Later than our own deadline, which can tell a slow server from one that hangs up.
            made.banner_timeout = made.handshake_timeout = guest.timeout * 2
            made.auth_timeout = _AUTH_TIMEOUT
            made.channel_timeout = _CHANNEL_TIMEOUT
            return made

        connection = HostConnection(
            target.hostname,
            user=target.user,
            port=target.port,
            config=self._config,
            gateway=False,
            # Made anew each time: Fabric keeps and changes this very dict, and a socket serves once.
            connect_kwargs={
                "sock": link,
                "transport_factory": transport,
                "auth_strategy": KeyLogin(target, self._tell),
                "look_for_keys": False,
                "allow_agent": False,
            },
        )
        connection.client.set_missing_host_key_policy(host_keys.CheckKey(target, guest.known, known))
        return connection


def _close(connection: HostConnection | None, link: Link) -> None:
    # First the link: paramiko waits for its thread, which then finds the end at once.
    link.break_()
    if connection is not None:
        connection.client.close()
    link.close()


def _mind(watchdog: Watchdog, link: Link, silence: float) -> None:
    """Break a link that has been silent for too long, although we asked for life signs."""

    def look() -> None:
        rest = link.heard + silence - time.monotonic()
        if link.broken:
            return
        if rest <= 0:
            link.break_(f"nothing was heard from it for {silence:g} s")
        else:
            watchdog.after(rest, look)

    watchdog.after(silence, look)
