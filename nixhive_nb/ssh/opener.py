"""Logging in to hosts: the way, the keys of the host, our keys, the limits, and another try where a server drops us."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed, HiveError
from nixhive_nb.ssh import host_keys
from nixhive_nb.ssh.attempt import Cancelled, Slot
from nixhive_nb.ssh.choosing import CarrierChoice
from nixhive_nb.ssh.fabric_login import FabricLogin
from nixhive_nb.ssh.guest import Dropped, Guest, Unfit, WayLost
from nixhive_nb.ssh.jump import Jumps
from nixhive_nb.ssh.openssh_login import OpensshLogin
from nixhive_nb.ssh.way_in import way_in
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nixhive_nb.deployment.carrying import Wanted
    from nixhive_nb.ssh.alike import Kin
    from nixhive_nb.ssh.attempt import Attempt
    from nixhive_nb.ssh.carrier import Carrier, CarrierName
    from nixhive_nb.ssh.guest import LinkLimits
    from nixhive_nb.ssh.opened import Opened
    from nixhive_nb.ssh.resolve import Resolver, SshTarget
    from nixhive_nb.ssh.watchdog import Watchdog
    from nixhive_nb.ssh.way_in import WayIn

_log = logging.getLogger(__name__)
_TRIES = 10


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
        carriers: Mapping[str, Wanted] | None = None,
    ) -> None:
        """`config` is what `ssh -F` reads; `keys` holds the public key lines that the deployment gives a host.

        `carriers` has what it says of the carrier of a host.
        """
        self._keys = keys
        self._limits = limits
        self._resolve = resolve
        self._jumps = Jumps(config)
        self.choice = CarrierChoice(carriers or {})
        self._fabric = FabricLogin(limits, watchdog, self._tell)
        self._openssh = OpensshLogin(config, limits, watchdog)
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
        guest = Guest(
            target=target,
            known=host_keys.deployment_keys(lines) if lines else host_keys.known_hosts_keys(target),
            timeout=self._limits.connect_timeout or target.connect_timeout,
        )
        try:
            return self._carried(guest, attempt, urgent=urgent)
        except ConnectionFailed:
            self._resolve.forget(name)
            raise

    def _tell(self, line: str) -> None:
        """Tell a person, as is said by now."""
        self.choice.tell(line)

    def carrier(self, name: str) -> Carrier:
        """Return what carries the commands of a host, as far as that is known. Raises `ConnectionFailed`."""
        return self.choice.of_target(self._resolve.at_once(name))

    def _carried(self, guest: Guest, attempt: Attempt, *, urgent: bool) -> Opened:
        """Log in by the carrier of a host, and by OpenSSH where Fabric is refused in a way that it might not be."""
        carrier = self.choice.of_target(guest.target).name
        try:
            return self._persist(guest, attempt, carrier, urgent=urgent)
        except Unfit as unfit:
            if not self.choice.may_try(guest.target):
                raise unfit.error from None
            _log.info("%s: Fabric %s; OpenSSH is tried, once", guest.target, unfit.kind)
            try:
                opened = self._persist(guest, attempt, "openssh", urgent=urgent)
            except ConnectionFailed as error:
                _log.info("%s: OpenSSH is not let in either: %s", guest.target, error)
                raise unfit.error from None
            self.choice.keep(guest.target, unfit.kind)
            return opened

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

    def way_in(self, name: str, attempt: Attempt) -> WayIn:
        """Connect to the ssh server of a host, and log in to none. Raises `ConnectionFailed`."""
        target = self._resolve(name)
        through = self._jumps.socket(target, attempt.cancelled.is_set) if target.jumps else None
        return way_in(target, through, self._limits.connect_timeout or target.connect_timeout)

    def close(self) -> None:
        """End the jump processes, and what OpenSSH has for its connections."""
        self._openssh.close()
        self._jumps.close()

    def _persist(self, guest: Guest, attempt: Attempt, carrier: CarrierName, *, urgent: bool) -> Opened:
        """Log in; again where a server drops us before the login, which it does when too many come at once."""
        target, until = guest.target, 0.0
        if target.jumps:
            self._resolve.restore()  # ssh itself reads it on the way
        for tries in range(1, _TRIES + 1):
            try:
                log_in = self._prepared(guest, attempt, carrier)
                with contextlib.nullcontext() if urgent else Slot(self._slot(target), attempt.cancelled):
                    until = until or time.monotonic() + guest.timeout
                    return log_in()
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

    def _prepared(self, guest: Guest, attempt: Attempt, carrier: CarrierName) -> Callable[[], Opened]:
        """Have the way through jump hosts ready, and return what logs in by it."""
        target, gone = guest.target, attempt.cancelled.is_set
        if carrier == "openssh":
            words = self._jumps.words(target, gone) if target.jumps else ()
            return lambda: self._openssh(guest, words, attempt)
        way = self._jumps.socket(target, gone) if target.jumps else None
        return lambda: self._fabric(guest, way, attempt)

    def _slot(self, target: SshTarget) -> threading.Semaphore:
        with self._lock:
            way_in = target.route or target.address
            return self._slots.setdefault(way_in, threading.Semaphore(self._limits.logins))
