"""What all things that a cell shows have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from IPython.display import display

from nixhive_nb.util import html
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Collection

    from IPython.display import DisplayHandle


class Bundle(ABC):
    """Something with an HTML form, and a text form for terminals and for notebooks on the web."""

    @abstractmethod
    def text(self) -> str:
        """Return it as plain text."""

    @abstractmethod
    def html(self) -> str:
        """Return it as HTML; every text from elsewhere is escaped."""

    def __repr__(self) -> str:
        return strip_control(self.text())

    def _repr_mimebundle_(
        self,
        include: Collection[str] | None = None,  # noqa: ARG002 - IPython's protocol; it filters by itself
        exclude: Collection[str] | None = None,  # noqa: ARG002 - the same
    ) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html()}


class Notice(Bundle):
    """A warning, before the work begins."""

    def __init__(self, message: str) -> None:
        """Show `message`."""
        self.message = message

    def text(self) -> str:
        """Return it in a line."""
        return f"⚠ warning: {self.message}"

    def html(self) -> str:
        """Return it with a colour for the word."""
        return f"<div>{html.coloured(html.WARN, '⚠ warning', bold=True)} {html.escaped(self.message, most=2000)}</div>"


def in_slot(content: str, slot: str) -> str:
    """Return HTML that a widget stands in for, on pages that can show it: `widgets/slot.js` finds it by its class."""
    return f'<div class="hive-slot-{slot}">{content}</div>'


class Slotted(Bundle):
    """A view as HTML that a widget stands in for, on pages that can show it."""

    def __init__(self, view: Bundle, slot: str) -> None:
        """Show `view`; `slot` is that of the widget."""
        self.view = view
        self.slot = slot

    def text(self) -> str:
        """Return the view as text."""
        return self.view.text()

    def html(self) -> str:
        """Return the view as HTML, in the slot."""
        return in_slot(self.view.html(), self.slot)


class Hint(Bundle):
    """A line that helps, standing back."""

    def __init__(self, words: str) -> None:
        """Show `words`."""
        self.words = words

    def text(self) -> str:
        """Return the line."""
        return self.words

    def html(self) -> str:
        """Return the line, standing back."""
        return html.note(html.escaped(self.words, most=2000))


def show(view: Bundle) -> None:
    """Show a view in the cell."""
    display(view)  # type: ignore[no-untyped-call]


class Live:
    """One output of a cell that can be replaced. In a kernel only: a terminal would print each anew."""

    def __init__(self, view: Bundle) -> None:
        """Show `view` first."""
        self._handle: DisplayHandle = display(view, display_id=True)  # type: ignore[no-untyped-call]

    def update(self, view: Bundle) -> None:
        """Show `view` in its place. Any thread may do so: it lands in the cell that it began in."""
        self._handle.update(view)  # type: ignore[no-untyped-call]
