"""What has a page say that it can show widgets of ours, as soon as the extension is loaded: a model without a view.

It stays as long as the extension does: a page that is loaded anew, and another one on the same kernel, find it there
and say so as well.
"""

from __future__ import annotations

import logging
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython

from nixhive_nb.notebook.pages import here, pages
from nixhive_nb.notebook.private import in_kernel, is_attended
from nixhive_nb.notebook.settings import settings_of
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from nixhive_nb.notebook.own_widget import Hello

_log = logging.getLogger(__name__)
_SECONDS = 30.0
"""How long an end waits for a beginning: imports take half a second."""


class Greeting:
    """Asks the pages of a kernel where a person is. Nothing waits for it, nor for what a page says."""

    def __init__(self) -> None:
        """Ask nobody yet."""
        self._model: Hello | None = None
        self._thread = threading.Thread(target=self._say, name="hive-hello", daemon=True)

    def begin(self) -> None:
        """Ask on a thread of its own, for what it imports; once, and not where nobody would see a widget."""
        if not (in_kernel() and is_attended() and find_spec("anywidget")):
            return
        if settings_of(get_ipython()).widgets == "none":
            return
        pages.ask(here())
        self._thread.start()

    def end(self) -> None:
        """Take the model away."""
        if self._thread.is_alive():
            self._thread.join(_SECONDS)
        if self._model is not None:
            self._model.close()

    def _say(self) -> None:
        with swallowed(_log, "asking pages for widgets", Exception):  # whatever is amiss with widgets here
            from nixhive_nb.notebook.own_widget import Hello  # noqa: PLC0415

            self._model = Hello()
