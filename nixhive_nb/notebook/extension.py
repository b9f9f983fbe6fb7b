"""Coming into an IPython, and leaving it without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.notebook.magics import HiveMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_NAME = HiveMagics.__name__
_MAGIC = "hive"


def load(shell: InteractiveShell) -> None:
    """Register the magics; those of an earlier load are taken away first."""
    unload(shell)
    shell.register_magics(HiveMagics)


def unload(shell: InteractiveShell) -> None:
    """Take the magics away and close their connections. IPython itself has no such thing."""
    manager = shell.magics_manager
    magics = manager.registry.pop(_NAME, None)
    if magics is None:
        return
    for kind in ("line", "cell"):
        manager.magics[kind].pop(_MAGIC, None)
    shell.configurables[:] = [one for one in shell.configurables if one is not magics]
    magics.close()
