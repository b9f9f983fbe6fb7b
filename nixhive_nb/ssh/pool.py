"""Warm connections: each host is logged in to once, and keeps its connection from command to command.

Fabric holds the connections, or OpenSSH (see `choosing`); commands go by `sender`. What Fabric would do wrong with many
hosts is done around it: see `opener` and `fabric_login` (the login), `resolve` (what ssh_config says), `host_keys` (who
may answer), `login` (with which of our keys), `jump` (by which way), `transport` and `watchdog` (for how long),
`runner` (bytes in and out).
OpenSSH's are in `openssh_login` (the login) and `openssh` (commands over its control master).
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Self

from nixhive_nb.errors import ConnectionFailed, OwnLimit
from nixhive_nb.ssh.alike import Alike
from nixhive_nb.ssh.attempt import Cancelled, Slot
from nixhive_nb.ssh.config import restore
from nixhive_nb.ssh.ears import waited
from nixhive_nb.ssh.guest import LinkLimits, WayLost
from nixhive_nb.ssh.host_keys import lines_of
from nixhive_nb.ssh.opener import Opener
from nixhive_nb.ssh.pooled import PooledHost
from nixhive_nb.ssh.resolve import Resolver
from nixhive_nb.ssh.sender import Sender
from nixhive_nb.ssh.watchdog import Watchdog
from nixhive_nb.util import descriptors
from nixhive_nb.util.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nixhive_nb.deployment.carrying import Wanted
    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.ssh.attempt import Attempt
    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.carrier import Carrier
    from nixhive_nb.ssh.config import SshFiles
    from nixhive_nb.ssh.ears import Steps
    from nixhive_nb.ssh.link import Channel, FarLinks, RemoteResult
    from nixhive_nb.ssh.login import TakenKey
    from nixhive_nb.ssh.opened import Opened

_ROOM_POLL = 0.1
"""Seconds between looks for a connection that nobody uses any more."""


class Connections:
    """The connections to the hosts of a deployment. Any thread may use any of them; calls block.

    Use it as a context manager, or call `close_all`; Python's exit and the garbage collector close it too.
    """

    def __init__(
        self,
        inventory: Inventory,
        files: SshFiles,
        *,
        resolve: Resolver | None = None,
        logins_per_jump: int = 8,
        connect_timeout: float | None = None,
        alive_interval: float = 15.0,
        alive_misses: int = 4,
        most: int = 0,
    ) -> None:
        """Nothing is opened yet.

        `resolve` tells how hosts are reached; by default one of our own.
        `logins_per_jump`: logins at the same time through one way in (a chain of jump hosts, or one address).
        `connect_timeout`: seconds up to the login; by default what ssh_config says, else 10.
        `alive_interval`, `alive_misses`: a link that is silent for their product of seconds is given up.
        `most`: connections that are kept at once; by default as many as this process may open files for. Where there
        are as many, the one that was idle longest is closed for another.
        """
        limits = LinkLimits(
            logins=logins_per_jump,
            connect_timeout=connect_timeout,
            alive_interval=alive_interval,
            silence=alive_interval * alive_misses,
        )
        keys = {
            instance.name: lines_of(instance.host_keys, instance.host_cas) for instance in inventory.instances.values()
        }
        descriptors.allow_many()
        self._most = most or descriptors.connections_at_once()
        self._silent = 2 * alive_interval
        """Seconds: who let so many pass has been asked for a sign of life, and gave none."""
        self._watchdog = Watchdog()
        self._resolve = resolve or Resolver(files.batch, Alike(inventory, files.extends), partial(restore, files))
        self._opener = Opener(
            files.batch,
            keys,
            resolve=self._resolve,
            limits=limits,
            watchdog=self._watchdog,
            carriers={instance.name: instance.carrier for instance in inventory.instances.values()},
        )
        self.far: FarLinks | None = None
        """What reaches instances from another machine, where a command is to be carried out so."""
        self.workers = Workers("hive-host")
        """Threads for what waits for hosts, kept from run to run."""
        self._lock = threading.Lock()
        self._hosts: dict[str, PooledHost] = {}
        self._fresh: set[PooledHost] = set()
        self._closed = threading.Event()
        self._finish = weakref.finalize(
            self,
            _close_all,
            self._lock,
            self._closed,
            self._hosts,
            self._fresh,
            self._watchdog,
            self._opener,
            self.workers,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_all()

    def run(
        self,
        instance: str,
        command: str,
        *,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
        stdin: bytes | str | None = None,
        on_call: Callable[[Call], None] | None = None,
        ending: bytes = b"",
        bound: bool = False,
    ) -> RemoteResult:
        """Run a command in the login shell of a host and wait for its end. A non-zero exit is a result.

        `timeout`: seconds that the command may take, login apart. Then the connection is given up. With `ending`, which
        a command may know as the word to end at, that is sent after its input, and others in the connection go on.
        `on_line(stream, line)` gets each line as it comes, one at a time, from this thread; `stream` is `stdout` or
        `stderr`. Without `stdin` the input is empty; it is left open for a command that is `bound` (see `bound.py`).
        `on_call` gets the call before it is sent, so that another thread can cancel or end this command alone, and to
        bound what is kept of its output.
        Raises `ConnectionFailed` (`HostKeyError`) when the command was not sent, `LinkLost` when it did not come to
        its end, or that is not known.
        """
        far = self.far
        if far is not None and far.carries(instance):
            data = stdin.encode() if isinstance(stdin, str) else stdin or b""
            return far.run(instance, command, timeout=timeout, stdin=data, on_call=on_call, ending=ending)
        return waited(
            self._sender.run(
                self._host(instance),
                command,
                timeout=timeout,
                on_line=on_line,
                stdin=stdin,
                on_call=on_call,
                ending=ending,
                bound=bound,
            )
        )

    def steps(
        self,
        instance: str,
        command: str,
        *,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
        stdin: bytes | str | None = None,
        on_call: Callable[[Call], None] | None = None,
        bound: bool = False,
    ) -> Steps[RemoteResult]:
        """Do what `run` does step by step, for `workers` to drive: no thread waits for the host between them."""
        return self._sender.run(
            self._host(instance), command, timeout=timeout, on_line=on_line, stdin=stdin, on_call=on_call, bound=bound
        )

    @contextlib.contextmanager
    def fresh(self, instance: str, *, urgent: bool = False) -> Iterator[Fresh]:
        """Log in anew, whatever connection there is already; closed at the end of the block.

        That it comes about shows that the host still lets us in. `urgent` waits for no other login. Raises
        `ConnectionFailed` or `HostKeyError`.
        """
        with self._beside(instance, urgent=urgent) as host:
            self._log_in(host)
            yield Fresh(self, host)

    @contextlib.contextmanager
    def _beside(self, instance: str, *, urgent: bool) -> Iterator[PooledHost]:
        """Have what a connection beside the kept one needs; nothing is opened."""
        with self._lock:
            if self._closed.is_set():
                raise ConnectionFailed(f"{instance}: the connections of this deployment were closed.")
            host = PooledHost(instance, urgent=urgent)
            self._fresh.add(host)
        try:
            yield host
        finally:
            with self._lock:
                self._fresh.discard(host)
            host.end()

    def keep(self, most: int) -> None:
        """Keep so many connections from here on, and no more than this process may open files for."""
        self._most = min(most, descriptors.connections_at_once())

    def expect(self, names: Iterable[str]) -> None:
        """Hear which hosts will soon be used: what their logins have in common is done once. Nothing is opened."""
        self._opener.expect(name for name in names if not self.is_open(name))

    def way(self, host: str) -> tuple[str, ...]:
        """Return the hosts that are passed on the way to one. Raises `ConnectionFailed` where that has no end."""
        return self._resolve.way(host)

    def address(self, instance: str) -> str:
        """Return where an instance is, as its ssh options name it. Raises `ConnectionFailed`."""
        return self._opener.address(instance)

    def dial(self, instance: str, host: str, port: int, seconds: float) -> Channel:
        """Connect to `host:port` from an instance, by its sshd. Raises `ConnectionFailed`."""
        return self._dial(self._host(instance), host, port, seconds)

    def _dial(self, through: PooledHost, host: str, port: int, seconds: float) -> Channel:
        with through.in_use():
            return self._log_in(through).dial(host, port, seconds)

    def way_in(self, instance: str) -> Channel:
        """Connect to the ssh server of an instance, for an ssh elsewhere that logs in. Raises `ConnectionFailed`."""
        with self._beside(instance, urgent=False) as host:
            try:
                return self._opener.way_in(instance, host.attempt)
            except (Cancelled, WayLost):
                raise ConnectionFailed(f"{instance}: given up before it was connected.") from None

    def carry(self, wanted: Wanted, tell: Callable[[str], None]) -> None:
        """Have all hosts carried as is `wanted` from here on; `tell` takes a line of what a login has shown of that.

        With `auto` it is as the deployment says, as the ssh options of a host ask for, or as a login shows.
        """
        self._opener.choice.wanted = wanted
        self._opener.choice.tell = tell

    def carrier_of(self, instance: str) -> Carrier:
        """Return what carries the commands of an instance and why, as is said, asked for, or was seen at its login.

        It may read ssh's configuration for that. Raises `ConnectionFailed`.
        """
        return self._opener.carrier(instance)

    def open(self, instance: str) -> None:
        """Log in to a host, unless that is done. Raises `ConnectionFailed` or `HostKeyError`."""
        self._log_in(self._host(instance))

    def _log_in(self, host: PooledHost) -> Opened:
        try:
            return self._opened(host, host.attempt)
        except Cancelled:
            raise ConnectionFailed(f"{host.name}: given up before it was connected.") from None

    def is_open(self, instance: str) -> bool:
        """Return whether there is a live connection to a host."""
        host = self._hosts.get(instance)
        opened = host.opened if host is not None else None
        return opened is not None and opened.alive

    def taken(self, instance: str) -> TakenKey | None:
        """Return the key that the open connection to a host was logged in by; None where there is none."""
        host = self._hosts.get(instance)
        opened = host.opened if host is not None else None
        return opened.taken if opened is not None else None

    def close(self, instance: str) -> None:
        """Close the connection to a host, also under a running command. The next command opens another."""
        host = self._hosts.get(instance)
        if host is not None:
            host.abort("it was closed")
            host.close()

    def abort(self, instance: str) -> None:
        """Break off what is under way on a host: a login, a wait, a command. Returns at once.

        The remote command may go on; whoever waits for it gets `LinkLost`.
        """
        host = self._hosts.get(instance)
        if host is not None:
            host.abort("it was broken off here")

    def close_all(self) -> None:
        """Close everything for good, jump hosts too."""
        self._finish()

    def _host(self, instance: str) -> PooledHost:
        with self._lock:
            if self._closed.is_set():
                raise ConnectionFailed(f"{instance}: the connections of this deployment were closed.")
            return self._hosts.setdefault(instance, PooledHost(instance))

    @property
    def _sender(self) -> Sender:
        # Made for each command: kept, it and this would hold each other, and the collector would close us late.
        return Sender(self._opened, lambda host: self._beside(host.name, urgent=host.urgent), self._watchdog)

    def _opened(self, host: PooledHost, attempt: Attempt) -> Opened:
        """Return the live connection of a host; one thread makes it, the others wait."""
        with Slot(host.opening, attempt.cancelled):
            opened = host.opened
            if opened is not None and self._serves(host, opened):
                return opened
            host.drop(opened)
            if not host.urgent:
                self._make_room(host, attempt)
            try:
                return host.keep(self._opener.open(host.name, attempt, urgent=host.urgent), attempt)
            except OSError as error:
                if descriptors.is_ours(error):
                    raise OwnLimit(f"{host.name} was not asked: {descriptors.words()}.") from None
                raise
            finally:
                host.logging_in = False

    def _serves(self, host: PooledHost, opened: Opened) -> bool:
        """Return whether a connection may go on being used."""
        if not opened.alive or opened.is_silent(self._silent):
            return False
        return opened.busy or self._opener.choice.serves(opened.carrier, host.name)

    def _make_room(self, host: PooledHost, attempt: Attempt) -> None:
        """Wait until there may be one more connection; close the one that was idle longest for it."""
        while True:
            with self._lock:
                there = [one for one in self._hosts.values() if one.logging_in or one.opened is not None]
                idle = [one for one in there if one.is_idle()] if len(there) >= self._most else []
                if len(there) < self._most:
                    host.logging_in = True
                    return
            longest = min(idle, key=PooledHost.last_heard, default=None)
            if longest is not None:
                longest.close()  # a command that takes it up just now finds it closed, and opens another
            elif attempt.cancelled.wait(_ROOM_POLL):
                raise Cancelled


class Fresh:
    """A connection of `Connections.fresh`."""

    def __init__(self, connections: Connections, host: PooledHost) -> None:
        self._connections = connections
        self._host = host

    def steps(
        self,
        command: str,
        *,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
        stdin: bytes | str | None = None,
        on_call: Callable[[Call], None] | None = None,
        bound: bool = False,
    ) -> Steps[RemoteResult]:
        """Run a command, as `Connections.steps`."""
        return self._connections._sender.run(  # noqa: SLF001 - a part of it
            self._host, command, timeout=timeout, on_line=on_line, stdin=stdin, on_call=on_call, bound=bound
        )

    def dial(self, host: str, port: int, seconds: float) -> Channel:
        """Connect to `host:port` from the instance, as `Connections.dial`."""
        return self._connections._dial(self._host, host, port, seconds)  # noqa: SLF001 - a part of it


def _close_all(
    lock: threading.Lock,
    closed: threading.Event,
    by_name: dict[str, PooledHost],
    fresh: set[PooledHost],
    *rest_of_us: Opener | Watchdog | Workers,
) -> None:
    with lock:
        closed.set()
        hosts = [*by_name.values(), *fresh]
    # Whatever goes wrong with one of them, the rest is closed; last the processes.
    with contextlib.ExitStack() as rest:
        for one in rest_of_us:
            rest.callback(one.close)
        for host in hosts:
            host.abort("the connections were closed")
        for host in hosts:
            rest.callback(host.end)
