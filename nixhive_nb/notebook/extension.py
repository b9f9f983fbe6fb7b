"""Coming into an IPython, and leaving it without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nixhive_nb.hive import Plan
from nixhive_nb.notebook.magics import HiveMagics
from nixhive_nb.notebook.plan_view import PlanView

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_NAME = HiveMagics.__name__
_MAGIC = "hive"


def load(shell: InteractiveShell) -> None:
    """Register the magics; those of an earlier load are taken away first."""
    unload(shell)
    shell.register_magics(HiveMagics)
    html, plain = _formatters(shell)
    html.for_type(Plan, lambda plan: PlanView(plan).html())
    plain.for_type(Plan, lambda plan, printer, _cycle: printer.text(repr(PlanView(plan))))


def unload(shell: InteractiveShell) -> None:
    """Take the magics away and close their connections. IPython itself has no such thing."""
    manager = shell.magics_manager
    magics = manager.registry.pop(_NAME, None)
    if magics is None:
        return
    for formatter in _formatters(shell):
        formatter.pop(Plan, None)
    for kind in ("line", "cell"):
        manager.magics[kind].pop(_MAGIC, None)
    shell.configurables[:] = [one for one in shell.configurables if one is not magics]
    magics.close()


def _formatters(shell: InteractiveShell) -> tuple[Any, Any]:
    """Give what shows values as HTML and as text."""
    formatters: Any = shell.display_formatter
    return formatters.formatters["text/html"], formatters.formatters["text/plain"]
