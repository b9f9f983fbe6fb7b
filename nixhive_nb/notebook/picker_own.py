"""The picker as a widget of our own: one message with all rows, and the selection that goes both ways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

if TYPE_CHECKING:
    from collections.abc import Callable

_FILES = Path(__file__).parent / "widgets"


class OwnPicker(anywidget.AnyWidget):
    """Shows a table of `picker.compact`; `value` are the names that are selected, in order; `done` ends it."""

    _esm = _FILES / "picker.js"
    _css = _FILES / "picker.css"
    table = traitlets.Dict().tag(sync=True)
    value = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # Not a message: a page sends those at once, and may still hold back what was selected just before.
    done = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(
        self,
        table: dict[str, Any],
        checked: Callable[[object], tuple[str, ...]],
        on_done: Callable[[], None],
    ) -> None:
        """`checked` gives the names that a value may be, and raises `traitlets.TraitError` for others.

        `on_done` is called when the page says that all is selected.
        """
        self._checked = checked
        self._on_done = on_done
        super().__init__(table=table)

    def close(self) -> None:
        """Take it off the page, with the layout that belongs to it."""
        super().close()
        self.layout.close()

    def leave(self, bundle: dict[str, Any]) -> None:
        """Close it. A page that still shows it now was loaded anew, knows no display ids, and gets what is to stay."""
        self.send({"stays": bundle, "of": self.model_id})
        self.close()

    @traitlets.observe("done")
    def _told(self, _change: object) -> None:
        self._on_done()

    @traitlets.validate("value")
    def _check(self, proposal: traitlets.Bunch) -> list[str]:
        """A page cannot select what Python could not."""
        return list(self._checked(proposal["value"]))
