"""Following something in a cell while it runs, and the record that takes its place.

It is HTML that is renewed at most twice a second. Where a person looks on, a widget (`widget`) stands in for that
on pages which can show it, and the HTML is renewed more seldom: it is for the pages that cannot, and for the file.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from importlib.util import find_spec
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython
from IPython.display import display

from nixhive_nb.notebook.follow.model import Followable, PlainView, TrackedView
from nixhive_nb.notebook.follow.pump import PAUSE, Pump
from nixhive_nb.notebook.pages import here, pages, show_hint
from nixhive_nb.notebook.private import in_kernel, is_attended
from nixhive_nb.notebook.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.display import DisplayHandle

    from nixhive_nb.notebook.display import Bundle
    from nixhive_nb.notebook.follow.widget import RunTracker
    from nixhive_nb.notebook.settings import Hive

_log = logging.getLogger(__name__)

_FIRST = 0.4
"""Seconds before there is a widget: what has ended by then needs none."""
_GRACE = 60.0
"""Seconds for which the widget of what has ended is kept, not shown by anything, and how many of them at most."""
_KEPT = 3
_ended: deque[tuple[RunTracker, threading.Timer]] = deque()
_IDLE = 1.0
"""Seconds after which the time goes on though nothing happens."""
BESIDE, HIDDEN = 1.0, 10.0
"""Seconds between two updates of the HTML beside a widget: on a page that may not show that, and on one that does."""


@contextlib.contextmanager
def track(
    source: Followable, record: Callable[[], Bundle], *, blocking: bool = True
) -> Iterator[Callable[[object], None]]:
    """Show a source in the cell while it runs; what stays there is its record, also after an interrupt.

    It gives what is to be called with whatever has changed, by any thread. It may be left on another thread than it
    was entered on. `blocking` says that the cell waits for the source: an interrupt of the kernel then ends it; where
    nobody waits, `source.cancel` does. Outside a kernel nothing is shown.
    """
    if not in_kernel():
        yield _unheard
        return
    shown = _Shown(source, blocking=blocking, settings=settings_of(get_ipython()))
    shown.pump.start()
    try:
        yield shown.pump.note
    finally:
        try:
            shown.pump.stop()
        finally:
            shown.end(record)


def close_ended(*, keep: int = 0) -> None:
    """Close the widgets of what has ended, the oldest first, without delay, but for the last ones."""
    while len(_ended) > keep:
        widget, timer = _ended.popleft()
        timer.cancel()
        widget.close()


def _close_later(widget: RunTracker) -> None:
    """Close a widget that nothing shows any more, in a while.

    A page that was loaded anew while the kernel was busy cannot be given the record, and asks for the widget only when
    the kernel is free again. It then finds the record in there.
    """
    timer = threading.Timer(_GRACE, lambda: _close(widget))
    timer.daemon = True
    _ended.append((widget, timer))
    close_ended(keep=_KEPT)
    timer.start()


def _close(widget: RunTracker) -> None:
    for one in tuple(_ended):
        if one[0] is widget:
            with contextlib.suppress(ValueError):  # it was closed at this very moment
                _ended.remove(one)
    widget.close()


def _takes_widget(widgets: str) -> bool:
    """Return whether a widget shows it, by the setting.

    A notebook that runs by itself is saved with all widgets that ever were, also those that are closed, and an export
    of it asks another machine for scripts to show them.
    """
    wanted = widgets == "own" or (widgets == "auto" and is_attended())
    return wanted and find_spec("anywidget") is not None


def _unheard(_: object) -> None:
    """Take no notice."""


class _Shown:
    """One output of a cell: HTML, which the widget stands in for after a while, in the end the record."""

    def __init__(self, source: Followable, *, blocking: bool, settings: Hive) -> None:
        self._source = source
        self._blocking = blocking
        self._own = _takes_widget(settings.widgets)
        self._widget: RunTracker | None = None
        self._page = here()
        if self._own:
            show_hint(self._page)
        pause = 1 / settings.refresh
        self.pump = Pump(self._publish, pause=pause if self._own else max(PAUSE, pause), first=_FIRST, idle=_IDLE)
        self._last: Bundle = PlainView(source.view())
        # This belongs to the cell that runs now; what comes later finds it by its id, on whatever thread.
        self._handle: DisplayHandle = display(self._last, display_id=True)  # type: ignore[no-untyped-call]
        self._due = 0.0

    def _publish(self) -> None:
        view = self._source.view()
        self._last = PlainView(view)
        if self._widget is not None:
            self._widget.show(view, self._source.tail)
        elif self._own:
            self._begin(view)
        now = time.monotonic()
        if self._widget is None:
            self._handle.update(self._last)  # type: ignore[no-untyped-call]
        elif now >= self._due:
            self._due = now + (HIDDEN if pages.shows(self._page) else BESIDE)
            self._handle.update(self._widget.slotted(self._last))  # type: ignore[no-untyped-call]

    def end(self, record: Callable[[], Bundle]) -> None:
        """Put the record in its place: no notebook keeps a widget that cannot be shown."""
        try:
            self._last = record()
            if self._widget is not None:
                self._widget.finish(self._last)
        finally:
            self._handle.update(self._last)  # type: ignore[no-untyped-call]
            if self._widget is not None:
                _close_later(self._widget)

    def _begin(self, view: TrackedView) -> None:
        """Make the widget, or do without: whatever is amiss with widgets in this kernel, HTML can be shown."""
        try:
            # Half a second of imports.
            from nixhive_nb.notebook.follow.widget import RunTracker  # noqa: PLC0415

            self._widget = RunTracker(view, self._source.tail, blocking=self._blocking, on_cancel=self._cancel)
            pages.ask(self._page)
        except Exception:  # noqa: BLE001 - see above
            _log.debug("the widget of a run cannot be made: it is shown without", exc_info=True)
            self._own = False
            self.pump.pause = max(PAUSE, self.pump.pause)

    def _cancel(self) -> None:
        self._source.cancel()
        self.pump.note()
