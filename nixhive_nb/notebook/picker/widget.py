"""The picker as a widget of our own: one message with all rows, and the selection that goes both ways."""

from __future__ import annotations

import contextvars
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from nixhive_nb.notebook.own_widget import OwnWidget, script, style
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_OTHERS = "subshell"
"""How ipykernel names the threads by which newer pages tell of widgets, while a cell runs in the first one."""
_PATIENCE = 1.0
"""Seconds for a page to answer: who shows nothing of it any more does not."""
SCRIPT = Path(__file__).with_name("picker.js")
STYLE = Path(__file__).with_name("picker.css")
GONE = "The kernel is gone: what you pick here has no effect. Run the cell again."


class OwnPicker(OwnWidget):
    """Shows a table of `picker.compact`; `value` are the names that are selected, in order; `done` ends it."""

    _esm = script(SCRIPT)
    _css = style(STYLE)
    table = traitlets.Dict().tag(sync=True)
    value = traitlets.List(traitlets.Unicode()).tag(sync=True)
    at = traitlets.Int().tag(sync=True)
    """How often a page has changed it: what a page sends may come in another order."""
    # Not a message: a page sends those at once, and may still hold back what was selected just before.
    done = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(
        self,
        table: dict[str, Any],
        checked: Callable[[object], tuple[str, ...]],
        on_done: Callable[[], None],
    ) -> None:
        """Take `checked`, which gives the names that a value may be, and raises `traitlets.TraitError` for others.

        `on_done` is called when the page says that all is selected.
        """
        self._checked = checked
        self._on_done = on_done
        self._is_mute = False
        self._way = contextvars.copy_context()
        self._asked = 0
        self._answered = threading.Event()
        self._as_told: list[str] | None = None
        super().__init__(table=table, gone=GONE)

    def leave(self, bundle: dict[str, Any]) -> None:
        """Close it. A page that still shows it now was loaded anew, knows no display ids, and gets what is to stay."""
        self.stays = bundle
        self.close()

    def told(self, content: dict[str, Any]) -> None:
        """Take what is selected; nothing is sent back, as the page may have gone on."""
        self._is_mute = False
        self._way = contextvars.copy_context()
        at, picked = content.get("at"), content.get("picked")
        if isinstance(at, int) and at > self.at:
            with swallowed(_log, "taking what a page has selected", traitlets.TraitError):
                self._as_told = list(self._checked(picked))
                try:
                    self.at = at
                    self.value = self._as_told
                finally:
                    self._as_told = None
        if content.get("answers") == self._asked:
            self._answered.set()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take the state of a page, but for what is older than what it has told."""
        self._way = contextvars.copy_context()
        at = sync_data.get("at")
        if isinstance(at, int) and at <= self.at and "value" in sync_data:
            sync_data = {**sync_data, "at": self.at, "value": self.value}
        super().set_state(sync_data)

    def settle(self) -> None:
        """Ask the page what is selected, where another thread than this one may hear it.

        From 7.4 on, ipykernel hears a page by the thread to whose message it has sent something last. So we ask in
        answer to what the page has told: the answer to a question of this cell would wait for the end of the cell.
        """
        here = threading.current_thread()
        if self._is_mute or not any(_OTHERS in one.name for one in threading.enumerate() if one is not here):
            return
        self._answered.clear()
        self._asked += 1
        self._way.copy().run(self.send, {"asks": self._asked})
        if not self._answered.wait(_PATIENCE):
            _log.debug("no page answers: what is selected is taken as it is known")
            self._is_mute = True

    def send_state(self, key: object = None) -> None:
        """Send what has changed to the page, unless that has just told it."""
        if self._as_told is None or key not in ("at", "value") or (key == "value" and self.value != self._as_told):
            super().send_state(key)

    @traitlets.observe("done")
    def _told(self, _change: object) -> None:
        self._on_done()

    @traitlets.validate("value")
    def _check(self, proposal: traitlets.Bunch) -> list[str]:
        """Refuse from a page what Python could not select either."""
        return list(self._checked(proposal["value"]))
