"""The way to the hosts of one state of a deployment: the generated ssh files, and the warm connections."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from functools import cached_property, partial
from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.ssh.aliases import stamp, with_aliases
from nixhive_nb.ssh.alike import Alike
from nixhive_nb.ssh.config import NIX_SSHOPTS, private_folder, remove_folder, restore, write_ssh_files
from nixhive_nb.ssh.resolve import Resolver
from nixhive_nb.ssh.routing import routed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.ssh.config import SshFiles
    from nixhive_nb.ssh.pool import Connections


_log = logging.getLogger(__name__)


class Access:
    """The generated configuration and the open connections. `close` ends them, and so does leaving Python."""

    def __init__(self, inventory: Inventory) -> None:
        """Write the files; nothing is opened before it is used."""
        self._made_for = _ssh_facts(inventory)
        self._served = inventory
        self._stamp = stamp(inventory)
        folder = private_folder()
        inventory = with_aliases(inventory, folder)
        self.files: SshFiles = write_ssh_files(inventory, folder)
        self.resolve = Resolver(self.files.batch, Alike(inventory, self.files.extends), partial(restore, self.files))
        """Tells how hosts are reached."""
        self._inventory = inventory
        self._resources = contextlib.ExitStack()
        self._resources.callback(remove_folder, folder)
        self.close = weakref.finalize(self, self._resources.close)

    @cached_property
    def connections(self) -> Connections:
        """The warm connections."""
        from nixhive_nb.ssh.pool import Connections  # noqa: PLC0415 - Fabric, which `ssh` does not need

        return self._resources.enter_context(Connections(self._inventory, self.files, resolve=self.resolve))

    def routed(self, inventory: Inventory, names: Sequence[str]) -> Inventory:
        """Return the deployment with the jumps of the named instances as OpenSSH reads them (see `routing.routed`)."""
        return routed(inventory, names, self.resolve, self.files.extends)

    def serves(self, inventory: Inventory) -> bool:
        """Return whether an inventory asks for the very same connections."""
        return self._is_made_for(inventory) and self._is_whole()

    def _is_made_for(self, inventory: Inventory) -> bool:
        if self._stamp != stamp(inventory) or self._made_for[0] != _ssh_variables():
            return False
        # One that was looked at is as it was: of ten thousand hosts it is asked for each.
        if inventory is not self._served:
            if self._made_for != _ssh_facts(inventory):
                return False
            self._served = inventory
        return True

    def _is_whole(self) -> bool:
        """See that the files are there, and make them anew where somebody has cleaned up."""
        try:
            restore(self.files)
        except ConnectionFailed:  # whoever asks gets another folder
            _log.debug("the ssh files", exc_info=True)
            return False
        return True


def _ssh_facts(inventory: Inventory) -> list[tuple[object, ...]]:
    return [
        _ssh_variables(),
        *((one.name, one.ssh, one.host_keys, one.host_cas, one.carrier) for one in inventory.instances.values()),
    ]


def _ssh_variables() -> tuple[object, ...]:
    return (os.environ.get(NIX_SSHOPTS, ""),)
