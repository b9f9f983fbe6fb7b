"""What a login needs to know, whatever carries it; how much may be done at once, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.ssh.host_keys import HostKeys
from nixhive_nb.ssh.resolve import SshTarget

if TYPE_CHECKING:
    from nixhive_nb.errors import ConnectionFailed


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


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """A host that is to be logged in to."""

    target: SshTarget
    known: HostKeys
    timeout: float
    """Seconds up to the login."""


class Dropped(Exception):  # noqa: N818 - a reason to try again, at first
    """The server hung up before the login."""


class WayLost(Dropped):
    """Our own process that leads through the jump hosts is gone: nothing was seen of the host itself."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the connection to its jump host broke.")


class Unfit(Exception):  # noqa: N818 - a reason to try OpenSSH, at first
    """A login was refused to Fabric in a way that it might not be to OpenSSH."""

    def __init__(self, error: ConnectionFailed, kind: str) -> None:
        """`error` is for a person where nothing else helps; `kind` goes on where a sentence has said "Fabric"."""
        super().__init__(str(error))
        self.error = error
        self.kind = kind
