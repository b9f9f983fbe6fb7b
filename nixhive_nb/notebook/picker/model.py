"""Choosing targets: what a picker holds, and what it shows where no widget can be.

A `Picker` has a `value`, the names of the instances that are picked, in order. What chooses them is a widget
(`picker.widget`), or nobody but Python. A table is displayed, which the widget stands in for on pages that can show it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import traitlets
from IPython.display import display

from nixhive_nb.errors import OptionError
from nixhive_nb.notebook.display import in_slot
from nixhive_nb.notebook.pages import here, pages, show_hint
from nixhive_nb.notebook.picker.rows import (
    HEADER,
    cell,
    cells,
    compact,
    listed,
    one_line,
    selected,
    selection_line,
    short,
)
from nixhive_nb.notebook.private import in_kernel, is_attended
from nixhive_nb.util import html
from nixhive_nb.util.suggest import near
from nixhive_nb.util.text import count_text, strip_control, table_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from IPython.display import DisplayHandle

    from nixhive_nb.notebook.picker.rows import PickerRow
    from nixhive_nb.notebook.picker.widget import OwnPicker

_log = logging.getLogger(__name__)

Widgets = Literal["auto", "own", "none"]
"""What chooses: a widget, none, or one where a person is."""

ROWS = 50
"""How many instances the table shows."""
AROUND = 12
"""How many it shows at least once the choosing is over: what was picked, and a few others if that is little."""
_LINE = 2000


_taken: dict[Picker, tuple[str, ...]] = {}
"""The pickers that the command of now took something from, and what."""


def settle_taken(*, used: bool) -> None:
    """End the choosing of the pickers that a command used; where it did nothing, the choosing goes on.

    A page may have picked something else while the command ran: the cell keeps what the command took.
    """
    while _taken:
        picker, names = _taken.popitem()
        if used:
            picker.value = names
            picker.close()


def picker_for(rows: Sequence[PickerRow], *, picked: Sequence[str] = (), widgets: Widgets = "auto") -> Picker:
    """Return a picker for instances, each with a name of its own, with some of them picked.

    `auto` takes the widget in a kernel, and the table elsewhere. Raises `OptionError` for `own` without anywidget, and
    `traitlets.TraitError` for a picked name that no row has.
    """
    if widgets == "own" and not find_spec("anywidget"):
        raise OptionError("widgets 'own' wants the Python package anywidget, which is not installed here.")
    return Picker(rows, picked=picked, widgets=_best() if widgets == "auto" else widgets)


def _best() -> Literal["own", "none"]:
    # In a notebook that runs by itself nobody picks, and an export of it would show nothing where the widget was.
    if not in_kernel() or not is_attended():
        return "none"
    return "own" if _imports("anywidget") else "none"


def _imports(package: str) -> bool:
    """Return whether a package can be had: one that is installed may want another that is not."""
    try:
        import_module(package)
    except Exception:  # noqa: BLE001 - whatever is amiss with it, there is another way
        _log.debug("%s cannot be used", package, exc_info=True)
        return False
    return True


class _Names(traitlets.TraitType["tuple[str, ...]", "Iterable[str]"]):
    """Names of instances, in order."""

    default_value = ()

    def validate(self, obj: Picker, value: object) -> tuple[str, ...]:
        return obj.checked(value)


class Picker(traitlets.HasTraits):
    """Instances, and those of them that are picked.

    `value` can be set to any names in an order, and followed with `observe(…, "value")`; names that are no instance's
    are refused with a `traitlets.TraitError`, and the second of two equal ones is dropped.
    """

    value = _Names()

    def __init__(
        self,
        rows: Sequence[PickerRow],
        *,
        picked: Sequence[str] = (),
        widgets: Literal["own", "none"] = "none",
    ) -> None:
        """Hold `rows`, with the widget if that is asked for."""
        super().__init__()
        self.rows = tuple(rows)
        self._names = {row.instance: row for row in self.rows}
        self.value = tuple(picked)
        self._outputs: list[DisplayHandle] = []
        self._is_over = False
        self.widget = self._widget() if widgets == "own" else None
        """What is shown in a notebook, None for the table alone."""
        if self.widget is not None:
            self._link = traitlets.link((self, "value"), (self.widget, "value"), transform=(list, tuple))
            self.observe(self._renew, "value")

    def checked(self, value: object) -> tuple[str, ...]:
        """Return names that `value` may be set to; raises `traitlets.TraitError` for others."""
        if isinstance(value, (str, bytes, dict, set, frozenset)) or not isinstance(value, Iterable):
            raise traitlets.TraitError(f"What is picked is a list of names in an order, not of type {_type(value)}.")
        names = list(value)
        for name in names:
            if not isinstance(name, str):
                raise traitlets.TraitError(f"What is picked is a list of names, and {name!r} is of type {_type(name)}.")
            if name not in self._names:
                raise traitlets.TraitError(self._unknown(name))
        return tuple(dict.fromkeys(names))

    def close(self) -> None:
        """End the choosing, as the button "Done" does: a table takes the widget's place, and what was picked stays."""
        widget, self.widget = self.widget, None
        if widget is None:
            return
        self._is_over = True
        self._link.unlink()
        self.unobserve(self._renew, "value")
        outputs, self._outputs = self._outputs, []
        for output in outputs:
            output.update(self)  # type: ignore[no-untyped-call]
        widget.leave(self._repr_mimebundle_())

    def take(self) -> tuple[str, ...]:
        """Return what is picked, for a command that takes it: the choosing ends with that, once the command has run."""
        if self.widget is not None:
            self.widget.settle()
        if self.value:
            _taken.setdefault(self, self.value)
        return self.value

    def _renew(self, _change: object) -> None:
        """Have the table of a cell say what is picked now: it is what a notebook keeps that is saved."""
        for output in self._outputs:
            output.update(self._repr_mimebundle_(), raw=True)  # type: ignore[no-untyped-call]

    def _done(self) -> None:
        """Take over what the page has selected, and end."""
        if self.widget is not None:
            self.value = self.widget.value
            self.close()

    def text(self) -> str:
        """Return the table as plain text, those that are picked first."""
        header, rows = self._table()
        texts = [[short(row[name]) for name in header] for row in rows]
        table = [table_text(header, texts)] if rows else []
        return "\n".join([*self._result(), self._headline(), *table, *self._notes()])

    def html(self) -> str:
        """Return the table as HTML, those that are picked first; every text is escaped."""
        header, rows = self._table()
        result = [html.escaped(line, most=_LINE) for line in self._result()]
        headline = html.escaped(self._headline())
        parts = [html.head(result[0], [headline]) if result else html.head(headline, [])]
        if rows:
            lines = ("".join(cell(name, row) for name in header) for row in rows)
            parts.append(html.table([(name, False) for name in header], lines))
        return "".join([*parts, *(html.note(html.escaped(note)) for note in self._notes())])

    def __repr__(self) -> str:
        names = f": {listed(self.value)}" if self.value else ""
        return f"<Picker: {len(self.value):,} of {count_text(len(self.rows), 'instance')} picked{names}>"

    def _repr_mimebundle_(
        self,
        include: Collection[str] | None = None,  # noqa: ARG002 - IPython's protocol; it filters by itself
        exclude: Collection[str] | None = None,  # noqa: ARG002 - the same
    ) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self.text(), "text/html": self.html()}
        if self.widget is not None:
            bundle["text/html"] = in_slot(bundle["text/html"], self.widget.slot)
        return bundle

    def _ipython_display_(self) -> None:
        """Show it, and remember where. What is the table alone shows itself as anything does."""
        if self.widget is None or not in_kernel():
            raise NotImplementedError
        page = here()
        show_hint(page)
        pages.ask(page)
        handle: DisplayHandle = display(self._repr_mimebundle_(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self._outputs.append(handle)

    def _widget(self) -> OwnPicker:
        # It is slow to import, and anywidget may not be there.
        from nixhive_nb.notebook.picker.widget import OwnPicker  # noqa: PLC0415

        return OwnPicker(compact(self.rows), self.checked, self._done)

    def _unknown(self, name: str) -> str:
        hint = near(name, self._names)
        said = f" Near: {', '.join(hint)}." if hint else ""
        return strip_control(f"There is no instance {name!r} to pick.{said}")

    def _result(self) -> list[str]:
        """Return what has come of the choosing, in a line, once it is over."""
        return [selected(self.value)] if self._is_over else []

    def _headline(self) -> str:
        counts = Counter(one_line(row.runs) for row in self.rows)
        known = ", ".join(f"{count:,} {state}" for state, count in counts.most_common() if state)
        return count_text(len(self.rows), "instance") + (f": {known}" if known else "")

    def _table(self) -> tuple[list[str], list[dict[str, str]]]:
        """Return the columns that say something, and a row of them for each instance that is shown."""
        picked = dict.fromkeys(self.value)
        most = self._most()
        first = [self._names[name] for name in self.value[:most]]
        others = (row for row in self.rows if row.instance not in picked)
        shown = [*first, *(row for row, _ in zip(others, range(most - len(first)), strict=False))]
        rows = [cells(row, "☑" if row.instance in picked else "☐") for row in shown]
        header = [name for name in HEADER if name in HEADER[1:3] or any(row[name] for row in rows)]
        return (header if self.value else [name for name in header if name]), rows

    def _most(self) -> int:
        return min(max(len(self.value), AROUND), ROWS) if self._is_over else ROWS

    def _notes(self) -> list[str]:
        left = len(self.rows) - self._most()
        more = [f"… and {left:,} more"] if left > 0 else []
        how = "Pick some in Python: picker.value = ['NAME', …]"
        if self._is_over:
            return more
        if self.value:
            return [*more, selection_line(self.value)]
        return [*more, *([how] if self.rows else [])]


def _type(value: object) -> str:
    return type(value).__name__
