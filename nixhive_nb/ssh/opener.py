"""Logging in to hosts: the way, the keys of the host, our keys, the limits, and another try where a server drops us."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from nixhive_nb.errors import ConnectionFailed, HiveError
from nixhive_nb.ssh import host_keys
from nixhive_nb.ssh.dial import Dropped, WayLost, dial, explain
from nixhive_nb.ssh.fabric import HostConnection, shared_config
from nixhive_nb.ssh.jump import Jumps
from nixhive_nb.ssh.login import KeyLogin
from nixhive_nb.ssh.resolve import SshTarget
from nixhive_nb.ssh.transport import Cancelled, Link, Transport, has_channels
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nixhive_nb.ssh.alike import Kin
    from nixhive_nb.ssh.resolve import Resolver
    from nixhive_nb.ssh.watchdog import Watchdog

_log = logging.getLogger(__name__)
_TRIES = 10
_AUTH_TIMEOUT = 30.0
_CHANNEL_TIMEOUT = 15.0
_POLL = 0.2


class LinkLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much, and for how long."""

    logins: int = 8
    """Logins at the same time through one way in: a chain of jump hosts, or one address."""
    connect_timeout: float | None = None
    """Seconds up to the login; None for what ssh_config says."""
    alive_interval: float = 15.0
    """Seconds between questions to a host that says nothing."""
    silence: float = 60.0
    """Seconds after which a silent link is given up."""


class Opened:
    """A connection that was logged in."""

    def __init__(self, connection: HostConnection, link: Link) -> None:
        self.connection = connection
        self.link = link

    @property
    def alive(self) -> bool:
        """Whether commands may be tried on it."""
        return bool(self.connection.is_connected) and not self.link.broken

    @property
    def busy(self) -> bool:
        """Whether a session or a tunnel is open in it."""
        transport = self.connection.transport
        return transport is not None and has_channels(transport)

    def is_silent(self, seconds: float) -> bool:
        """Return whether nobody uses it and nothing was heard for so long: a session would be waited for in vain."""
        return time.monotonic() - self.link.heard > seconds and not self.busy

    def close(self) -> None:
        """Close it; any number of times."""
        _close(self.connection, self.link)


class Slot:
    """Holds one place of a semaphore; the wait for it ends with `Cancelled` when the event is set."""

    def __init__(self, semaphore: threading.Semaphore, cancel: threading.Event) -> None:
        self._semaphore = semaphore
        self._cancel = cancel

    def __enter__(self) -> None:
        while not self._semaphore.acquire(timeout=_POLL):
            if self._cancel.is_set():
                raise Cancelled

    def __exit__(self, *_: object) -> None:
        self._semaphore.release()


class Attempt:
    """One wish to log in. `cancel` ends it from another thread, wherever it is."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._link: Link | None = None

    def cancel(self) -> None:
        """End it without waiting."""
        self.cancelled.set()
        link = self._link
        if link is not None:
            link.break_()

    def new_link(self) -> Link:
        """Return a fresh link. Raises `Cancelled`."""
        link = self._link = Link()
        # `cancel` finds the link from here on; before, it had set the event.
        if self.cancelled.is_set():
            raise Cancelled
        return link


class _Guest(msgspec.Struct, frozen=True, kw_only=True):
    """What a login needs to know."""

    target: SshTarget
    known: host_keys.HostKeys
    timeout: float


class Opener:
    """Opens connections to the hosts of one rendered configuration."""

    def __init__(
        self,
        config: Path,
        keys: Mapping[str, Sequence[str]],
        *,
        resolve: Resolver,
        limits: LinkLimits,
        watchdog: Watchdog,
    ) -> None:
        """`config` is what `ssh -F` reads; `keys` holds the public key lines that the deployment gives a host."""
        self._keys = keys
        self._limits = limits
        self._watchdog = watchdog
        self._resolve = resolve
        self._jumps = Jumps(config)
        self._fabric = shared_config()
        self._lock = threading.Lock()
        self._slots: dict[str, threading.Semaphore] = {}
        self._expected: dict[Kin, list[str]] = {}

    def open(self, name: str, attempt: Attempt, *, urgent: bool = False) -> Opened:
        """Log in to a host. Raises `ConnectionFailed`, `HostKeyError` and `Cancelled`.

        `urgent` waits for no login to another host, however long that takes, and for no look into ssh's configuration
        where it was read before.
        """
        target = self._resolve.at_once(name) if urgent else self._resolve(name)
        if target.through and not urgent:
            self._resolve.way(name)  # raises where OpenSSH would start itself without end
            self._expect_kin(name)
        lines = self._keys.get(name)
        guest = _Guest(
            target=target,
            known=host_keys.deployment_keys(lines) if lines else host_keys.known_hosts_keys(target),
            timeout=self._limits.connect_timeout or target.connect_timeout,
        )
        try:
            return self._persist(guest, attempt, urgent=urgent)
        except ConnectionFailed:
            self._resolve.forget(name)
            raise

    def expect(self, names: Iterable[str]) -> None:
        """Hear which hosts will soon be logged in to: with the first of those that are alike the way to all is made."""
        expected: dict[Kin, list[str]] = {}
        for name in names:
            kin = self._resolve.kin(name)
            if kin is not None:
                expected.setdefault(kin, []).append(name)
        self._expected = expected

    def _expect_kin(self, name: str) -> None:
        kin = self._resolve.kin(name) if self._expected else None
        others = self._expected.pop(kin, ()) if kin is not None else ()
        found: list[SshTarget] = []
        for other in others:
            with swallowed(_log, f"the way to {other}", HiveError):  # whoever connects to it is told
                found.append(self._resolve(other))
        self._jumps.expect(found)

    def address(self, name: str) -> str:
        """Return the host name or address that a host is reached by. Raises `ConnectionFailed`."""
        return self._resolve(name).hostname

    def close(self) -> None:
        """End the jump processes."""
        self._jumps.close()

    def _persist(self, guest: _Guest, attempt: Attempt, *, urgent: bool) -> Opened:
        """Log in; again where a server drops us before the login, which it does when too many come at once."""
        target, until = guest.target, 0.0
        if target.jumps:
            self._resolve.restore()  # ssh itself reads it on the way
        for tries in range(1, _TRIES + 1):
            try:
                way = self._jumps.socket(target, attempt.cancelled.is_set) if target.jumps else None
                with contextlib.nullcontext() if urgent else Slot(self._slot(target), attempt.cancelled):
                    until = until or time.monotonic() + guest.timeout
                    return self._login(guest, way, attempt)
            except WayLost as error:  # nothing was seen of the host, so nothing is asked about it
                dropped: Dropped = error
                self._jumps.lost(target)
            except Dropped as error:
                dropped = error
                # Within the same time, as far as that goes: a host that is off is waited for once, and not twice.
                if target.jumps and (reason := self._jumps.why_closed(target, until - time.monotonic())):
                    raise ConnectionFailed(
                        f"{target.name} ({target.address}) cannot be reached from {target.jumps[-1]}: {reason}."
                    ) from None
            if until and time.monotonic() > until:
                break
            pause = random.uniform(0.5, 1.5) * min(0.1 * 2**tries, 1.0)  # noqa: S311 - spreads the load
            _log.info("%s: try %s of %s failed, the next comes in %.1f s: %s", target, tries, _TRIES, pause, dropped)
            if attempt.cancelled.wait(pause):
                raise Cancelled
        raise ConnectionFailed(f"{target}: {dropped} It was tried {tries} times.")

    def _login(self, guest: _Guest, way: Path | None, attempt: Attempt) -> Opened:
        target = guest.target
        link = attempt.new_link()
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
        return Opened(connection, link)

    def _connection(self, guest: _Guest, link: Link, known: Callable[[], None]) -> HostConnection:
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
            config=self._fabric,
            gateway=False,
            # Made anew each time: Fabric keeps and changes this very dict, and a socket serves once.
            connect_kwargs={
                "sock": link,
                "transport_factory": transport,
                "auth_strategy": KeyLogin(target),
                "look_for_keys": False,
                "allow_agent": False,
            },
        )
        connection.client.set_missing_host_key_policy(host_keys.CheckKey(target, guest.known, known))
        return connection

    def _slot(self, target: SshTarget) -> threading.Semaphore:
        with self._lock:
            way_in = target.route or target.address
            return self._slots.setdefault(way_in, threading.Semaphore(self._limits.logins))


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
