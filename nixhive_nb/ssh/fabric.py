"""Fabric, made fit for many threads and for plain data: no files read, and commands run by a runner of our own.

Fabric opens and holds the connection. Its own runner, Invoke's, starts two threads for each command, sends one byte of
input every 10 ms, never ends the input where there is none, cuts characters at the edges of its reads, and joins all
output so far at each of them. So commands have another: `runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fabric
import paramiko

from nixhive_nb.ssh.runner import perform

if TYPE_CHECKING:
    from nixhive_nb.ssh.call import Call
    from nixhive_nb.ssh.ears import Steps
    from nixhive_nb.ssh.watchdog import Watchdog


class HostConnection(fabric.Connection):  # type: ignore[misc] # fabric has no types
    """A Fabric connection that is opened once. When it is dead, build another."""

    # Fabric's attributes are proxies of its configuration: one that the class does not declare is written into the
    # configuration that all threads share, while others read it.
    inline_ssh_env = None

    def open(self) -> None:
        """Log in. Fabric would log in again on a dead socket."""
        if self.transport is not None and not self.is_connected:
            raise paramiko.SSHException("the connection has ended")
        super().open()

    def perform(self, command: str, call: Call, watchdog: Watchdog) -> Steps[int]:
        """Run a command and give its exit status; -1 when the host never told it."""
        self.open()
        return perform(self.transport, command, call, watchdog)


def shared_config() -> Any:  # noqa: ANN401 - fabric has no types
    """Return the configuration for any number of connections: it reads no file, neither Fabric's nor ssh's."""
    return fabric.Config(lazy=True, overrides={"load_ssh_configs": False, "forward_agent": False})
