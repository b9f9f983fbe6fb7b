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
    """Shows a table of `picker.compact`; `value` are the names that are selected, in order."""

    _esm = _FILES / "picker.js"
    _css = _FILES / "picker.css"
    table = traitlets.Dict().tag(sync=True)
    value = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, table: dict[str, Any], checked: Callable[[object], tuple[str, ...]]) -> None:
        """`checked` gives the names that a value may be, and raises `traitlets.TraitError` for others."""
        self._checked = checked
        super().__init__(table=table)

    def close(self) -> None:
        """Take it off the page, with the layout that belongs to it."""
        super().close()
        self.layout.close()

    @traitlets.validate("value")
    def _check(self, proposal: traitlets.Bunch) -> list[str]:
        """A page cannot select what Python could not."""
        return list(self._checked(proposal["value"]))
