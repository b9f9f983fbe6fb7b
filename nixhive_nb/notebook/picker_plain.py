"""The picker from the parts of ipywidgets: a field that filters, and a list in which several can be chosen."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import ipywidgets  # type: ignore[import-untyped]
import traitlets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROWS = 12
DONE = "Leave a table of what is selected in the place of this picker"
"""What the button does, in words."""


class PlainPicker(ipywidgets.VBox):  # type: ignore[misc]
    """Shows names and what stands beside them; `value` are the names that are selected, in order.

    The list itself knows no order, and drops what it does not show: what was chosen is kept here. The keys that one
    presses in it are heard by JupyterLab as well, so there are buttons, which do the same without it.
    """

    value = traitlets.List(traitlets.Unicode())

    def __init__(
        self,
        rows: Sequence[tuple[str, tuple[str, ...]]],
        checked: Callable[[object], tuple[str, ...]],
        line: Callable[[Sequence[str]], str],
        on_done: Callable[[], None],
    ) -> None:
        """Show rows of a name and the texts to filter by; `line` tells what is selected, `checked` gives valid ones.

        `on_done` is called when the page says that all is selected.
        """
        self._rows = rows
        self._checked = checked
        self._line_of = line
        self._on_done = on_done
        self._quiet = False
        self._filter = ipywidgets.Text(placeholder="name, system, tag, via", description="Filter")
        self._list = ipywidgets.SelectMultiple(
            description="Instances", rows=min(_ROWS, max(2, len(rows))), layout=ipywidgets.Layout(width="auto")
        )
        self._line = ipywidgets.Label()
        select = ipywidgets.Button(description="Select shown")
        clear = ipywidgets.Button(description="Clear shown")
        done = ipywidgets.Button(description="Done", tooltip=DONE)
        self._buttons = ipywidgets.HBox([select, clear, done])
        super().__init__([self._filter, self._list, self._line, self._buttons])
        self._filter.observe(self._narrow, "value")
        self._list.observe(self._chosen, "value")
        select.on_click(lambda _: self._add_shown())
        clear.on_click(lambda _: self._drop_shown())
        done.on_click(lambda _: self._on_done())
        self._narrow()

    def close(self) -> None:
        """Close the parts as well, each with the layout and the style that belong to it."""
        for part in (self._filter, self._list, self._line, *self._buttons.children):
            part.close()
            part.layout.close()
            part.style.close()
        self._buttons.close()
        self._buttons.layout.close()
        super().close()
        self.layout.close()

    def leave(self, _bundle: dict[str, Any]) -> None:
        """Close it: what is to stay is in its place already."""
        self.close()

    @traitlets.validate("value")
    def _check(self, proposal: traitlets.Bunch) -> list[str]:
        return list(self._checked(proposal["value"]))

    @traitlets.observe("value")
    def _changed(self, _change: object) -> None:
        self._mark()

    def _narrow(self, _change: object = None) -> None:
        words = self._filter.value.lower().split()
        shown = [(name, texts) for name, texts in self._rows if all(_fits(word, texts) for word in words)]
        self._shown = [name for name, _ in shown]
        self._quiet = True
        # The page hears of one after the other, and would look for what is selected among fewer rows.
        self._list.value = ()
        self._list.options = [(" · ".join(filter(None, texts)), name) for name, texts in shown]
        self._quiet = False
        self._mark()

    def _mark(self) -> None:
        """Show in the list and in the line what is selected."""
        selected = set(self.value)
        self._quiet = True
        self._list.value = tuple(name for name in self._shown if name in selected)
        self._quiet = False
        self._line.value = self._line_of(self.value)

    def _add_shown(self) -> None:
        self.value = list(dict.fromkeys([*self.value, *self._shown]))

    def _drop_shown(self) -> None:
        shown = set(self._shown)
        self.value = [name for name in self.value if name not in shown]

    def _chosen(self, change: Any) -> None:  # noqa: ANN401 - a Bunch
        """Take over what the user chose in the list; what is not shown stays selected."""
        if self._quiet:
            return
        chosen, shown = dict.fromkeys(change.new), set(self._shown)
        kept = [name for name in self.value if name in chosen or name not in shown]
        self.value = list(dict.fromkeys([*kept, *chosen]))


def _fits(word: str, texts: Sequence[str]) -> bool:
    lower = [text.lower() for text in texts]
    if "*" in word or "?" in word:
        return any(fnmatchcase(text, word) for text in lower)
    return any(word in text for text in lower)
