"""Which carrier each host has: as somebody says, as its ssh options ask for, or as was found out at a login."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.ssh.carrier import USUAL, Carrier
from nixhive_nb.ssh.transport import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nixhive_nb.deployment.carrying import Wanted
    from nixhive_nb.ssh.carrier import CarrierName
    from nixhive_nb.ssh.resolve import SshTarget

_log = logging.getLogger(__name__)
_SAID_HERE = "--carrier says so"
_SAID_OF_HOST = "`carrier` of the instance says so"


class CarrierChoice:
    """The carriers of the hosts of a deployment. What was found out counts as long as its ssh options are the same."""

    def __init__(self, said: Mapping[str, Wanted]) -> None:
        """`said` has what the deployment says of an instance, where it says something."""
        self.wanted: Wanted = "auto"
        """What is wanted of all of them; `auto` leaves it to the deployment."""
        self.tell: Callable[[str], None] = _log.info
        """Takes a line for a person. Any thread may call it."""
        self._said = said
        self._lock = threading.Lock()
        self._tried: dict[str, SshTarget] = {}
        self._found: dict[str, Carrier] = {}
        self._told: set[str] = set()

    def of_target(self, target: SshTarget) -> Carrier:
        """Return the carrier of a host, as far as its options tell and a login has shown."""
        known = self._as_said(target.name) or self.found(target)
        if known is None and (why := beyond(target)):
            known = Carrier(name="openssh", why=why)
        return known or USUAL

    def serves(self, carrier: CarrierName, name: str) -> bool:
        """Return whether a connection that is there may go on being used: nobody has said another carrier since."""
        said = self._as_said(name)
        return said is None or said.name == carrier

    def found(self, target: SshTarget) -> Carrier | None:
        """Return the carrier that was found out at a login; None where that showed nothing."""
        return self._found.get(target.name) if self._tried.get(target.name) == target else None

    def may_try(self, target: SshTarget) -> bool:
        """Return whether OpenSSH is to be tried where Fabric was refused: once, until the options are others."""
        if self._as_said(target.name) is not None:
            return False
        with self._lock:
            if self._tried.get(target.name) == target:
                return False
            self._tried[target.name] = target
            self._found.pop(target.name, None)
            return True

    def keep(self, target: SshTarget, kind: str) -> None:
        """Remember that OpenSSH is let in where Fabric is not, and tell it: one line for each kind of reason."""
        with self._lock:
            self._found[target.name] = Carrier(name="openssh", why=f"Fabric {kind}")
            is_new = kind not in self._told
            self._told.add(kind)
        words = f"{target.name} is reached by OpenSSH: Fabric {kind}."
        if is_new:
            self.tell(f"{words} Its commands go that way from here on (`carrier`).")
        else:
            _log.info("%s", words)

    def _as_said(self, name: str) -> Carrier | None:
        if self.wanted != "auto":
            return Carrier(name=self.wanted, why=_SAID_HERE)
        said = self._said.get(name, "auto")
        return Carrier(name=said, why=_SAID_OF_HOST) if said != "auto" else None


def beyond(target: SshTarget) -> str:
    """Return what the options of a host ask for that Fabric has not, in words; empty for nothing."""
    asked = [name for name in target.asks if name not in _TICKETS or _has_ticket()]
    for name, ours in ALGORITHMS.items():
        offered = target.algorithms.get(name, ())
        if offered and ours.isdisjoint(offered):
            asked.append(f"{name} without one that Fabric has")
    return f"its ssh options have {', '.join(asked)}" if asked else ""


_TICKETS = ("GSSAPIAuthentication", "GSSAPIKeyExchange")
"""What the ssh_config of some systems sets for everybody: it counts for those who have a ticket."""


_TICKET = f"/tmp/krb5cc_{os.getuid()}"  # noqa: S108 - where Kerberos has it


def _has_ticket() -> bool:
    return bool(os.environ.get("KRB5CCNAME")) or Path(_TICKET).exists()
