"""What the pool asks of a connection that was logged in, whatever carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.carrier import CarrierName
    from nixhive_nb.ssh.ears import Steps
    from nixhive_nb.ssh.link import Channel
    from nixhive_nb.ssh.login import TakenKey
    from nixhive_nb.ssh.watchdog import Watchdog


class Opened(Protocol):
    """A connection that was logged in. `break_` ends it from any thread; whoever waits for it finds the end."""

    carrier: CarrierName

    @property
    def taken(self) -> TakenKey | None:
        """The key that it was logged in by; None where there was none, or that is not known."""

    @property
    def alive(self) -> bool:
        """Whether commands may be tried on it."""

    @property
    def busy(self) -> bool:
        """Whether a session or a tunnel is open in it."""

    @property
    def heard(self) -> float:
        """When something was heard from it at last, as far as that is known, by the monotonic clock."""

    @property
    def reason(self) -> str:
        """Why it was broken off here; empty where it was not."""

    def why_ended(self) -> str:
        """Return why it ended by itself; empty where nobody knows."""

    def is_silent(self, seconds: float) -> bool:
        """Return whether nobody uses it and nothing was heard for so long: a session would be waited for in vain."""

    def perform(self, command: str, call: Call, watchdog: Watchdog) -> Steps[int]:
        """Run a command and give its exit status; -1 when the host never told it.

        Raises `OSError`, `EOFError` or `SSHException` where it was not sent, and what the receiver of its lines raises.
        """

    def dial(self, host: str, port: int, seconds: float) -> Channel:
        """Connect to `host:port` from there. Raises `ConnectionFailed`."""

    def break_(self, reason: str = "") -> None:
        """End it from any thread, without waiting."""

    def close(self) -> None:
        """Close it; any number of times."""
