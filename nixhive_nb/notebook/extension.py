"""Coming into an IPython, and leaving it without a trace.

A notebook waits for this, so it imports what is to be registered; what that needs is imported when it is first called.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from IPython.core.completer import context_matcher

from nixhive_nb.notebook.help import ask_for_help
from nixhive_nb.notebook.magics import HiveMagics
from nixhive_nb.notebook.pages import pages
from nixhive_nb.notebook.private import drop_magics, in_kernel, magics_of
from nixhive_nb.notebook.settings import Hive, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from nixhive_nb.commands.session import Session
    from nixhive_nb.handle import RunHandle
    from nixhive_nb.plan.plan import Plan

_MATCHER = "nixhive_nb"
"""What IPython knows the matcher by."""
_PLAN = ("nixhive_nb.plan.plan", "Plan")
_RUN = ("nixhive_nb.handle", "RunHandle")
"""Classes by name: IPython finds them when one is shown."""
_MAGIC = "hive"
_EVENTS = {"pre_run_cell": pages.cell_begins, "post_run_cell": pages.cell_ends}


def load(shell: InteractiveShell) -> None:
    """Register the magics; those of an earlier load are taken away first.

    Raises `UsageError`, in a line, for a setting of the configuration that cannot be.
    """
    unload(shell)
    parts: Any = shell
    parts.configurables.append(settings_for(shell))
    shell.register_magics(HiveMagics)
    magics = magics_of(shell, HiveMagics)
    parts.Completer.custom_matchers.append(_matcher(shell, magics.session))
    parts.input_transformers_cleanup.append(ask_for_help)
    for event, call in _EVENTS.items():
        parts.events.register(event, call)
    displays: Any = shell.display_formatter
    displays.ipython_display_formatter.for_type_by_name(*_RUN, _show_run)
    magics.greeting.begin()
    html, plain = _formatters(shell)
    html.for_type_by_name(*_PLAN, _plan_html)
    plain.for_type_by_name(*_PLAN, _print_plan)


def unload(shell: InteractiveShell) -> None:
    """Take away all that `load` and the commands have brought in."""
    parts: Any = shell
    magics = magics_of(shell, HiveMagics)
    if magics is None:
        return
    for formatter in _formatters(shell):
        formatter.pop(".".join(_PLAN), None)
    displays: Any = shell.display_formatter
    displays.ipython_display_formatter.pop(".".join(_RUN), None)
    for event, call in _EVENTS.items():
        parts.events.unregister(event, call)
    drop_magics(shell, HiveMagics, _MAGIC)
    _keep(parts.Completer.custom_matchers, lambda one: getattr(one, "matcher_identifier", "") != _MATCHER)
    _keep(parts.input_transformers_cleanup, lambda one: one is not ask_for_help)
    _keep(parts.configurables, lambda one: not isinstance(one, (HiveMagics, Hive)))
    magics.leave()


def _matcher(shell: InteractiveShell, session: Session) -> Any:  # noqa: ANN401 - what IPython makes of a function
    """Return what completes in lines of `%hive`."""

    @functools.cache
    def completer() -> Any:  # noqa: ANN401 - its class would have to be imported for mypy to see it
        from nixhive_nb.notebook.completion import Completer  # noqa: PLC0415 - see above

        return Completer(shell, session)

    @context_matcher(identifier=_MATCHER, priority=1)  # type: ignore[untyped-decorator]
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        found: SimpleMatcherResult = completer().matched(context)
        return found

    return matcher


def _plan_html(plan: Plan) -> str:
    from nixhive_nb.notebook.display import PlanView  # noqa: PLC0415 - see above

    return PlanView(plan).html()


def _print_plan(plan: Plan, printer: Any, _cycle: bool) -> None:  # noqa: ANN401, FBT001 - IPython's protocol
    from nixhive_nb.notebook.display import PlanView  # noqa: PLC0415 - see above

    printer.text(repr(PlanView(plan)))


def _show_run(run: RunHandle) -> None:
    """Show a run in the background in the cell that asks for it: how it goes, and in the end its record."""
    if not in_kernel():
        raise NotImplementedError  # a terminal has a line for it
    from nixhive_nb.notebook.follow.run import follow  # noqa: PLC0415 - see above

    run.show(functools.partial(follow, blocking=False))


def _keep(parts: list[Any], wanted: Callable[[Any], bool]) -> None:
    """Leave in a list of IPython's what is wanted there."""
    parts[:] = filter(wanted, parts)


def _formatters(shell: InteractiveShell) -> tuple[Any, Any]:
    """Return what shows values as HTML and as text."""
    formatters: Any = shell.display_formatter
    return formatters.formatters["text/html"], formatters.formatters["text/plain"]
