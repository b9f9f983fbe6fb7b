"""The picker from the parts of ipywidgets: a field that filters, and a list in which several can be chosen."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import ipywidgets  # type: ignore[import-untyped]
import traitlets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROWS = 12


class PlainPicker(ipywidgets.VBox):  # type: ignore[misc]
    """Shows names and what stands beside them; `value` are the names that are selected, in order.

    The list itself knows no order, and drops what it does not show: what was chosen is kept here.
    """

    value = traitlets.List(traitlets.Unicode())

    def __init__(
        self,
        rows: Sequence[tuple[str, tuple[str, ...]]],
        checked: Callable[[object], tuple[str, ...]],
        line: Callable[[Sequence[str]], str],
    ) -> None:
        """Show rows of a name and the texts to filter by; `line` tells what is selected, `checked` gives valid ones."""
        self._rows = rows
        self._checked = checked
        self._line_of = line
        self._quiet = False
        self._filter = ipywidgets.Text(placeholder="name, system, tag, via", description="Filter")
        self._list = ipywidgets.SelectMultiple(
            description="Instances", rows=min(_ROWS, max(2, len(rows))), layout=ipywidgets.Layout(width="auto")
        )
        self._line = ipywidgets.Label()
        super().__init__([self._filter, self._list, self._line])
        self._filter.observe(self._narrow, "value")
        self._list.observe(self._chosen, "value")
        self._narrow()

    def close(self) -> None:
        """Close the parts as well, each with the layout and the style that belong to it."""
        for part in (self._filter, self._list, self._line):
            part.close()
            part.layout.close()
            part.style.close()
        super().close()
        self.layout.close()

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
