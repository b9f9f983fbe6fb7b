"""What our widgets have in common: each stands on the page in the place of HTML that its cell has.

A notebook keeps the HTML, and never a widget: where the kernel, the page or a package is not there, a widget is nothing
but an error. `widgets/slot.js` does it on pages that can; the others show the HTML.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from nixhive_nb.notebook.display import Slotted
from nixhive_nb.notebook.pages import pages

if TYPE_CHECKING:
    from nixhive_nb.notebook.display import Bundle

_FOLDER = Path(__file__).parent / "widgets"


_SHARED = ("jupyterlab.js", "slot.js")


def script(file: Path) -> str:
    """Return the script of a widget, whole, with what all of them share before it."""
    return "".join(one.read_text(encoding="utf-8") for one in (*(_FOLDER / name for name in _SHARED), file))


def style(file: Path) -> str:
    """Return the style of a widget."""
    return file.read_text(encoding="utf-8")


class Hello(anywidget.AnyWidget):  # type: ignore[misc, no-any-unimported, unused-ignore]
    """A model that nothing shows: see `hello`."""

    _esm = (_FOLDER / "hello.js").read_text(encoding="utf-8")

    def __init__(self) -> None:
        """Have the pages hear of it."""
        super().__init__()
        self.on_msg(_take_hello)

    def close(self) -> None:
        """Take it off the pages, with the layout that belongs to it."""
        super().close()
        self.layout.close()


class OwnWidget(anywidget.AnyWidget):  # type: ignore[misc, no-any-unimported, unused-ignore]
    """A widget in a slot. It is not displayed itself: what is displayed is HTML in `slotted`."""

    slot = traitlets.Unicode().tag(sync=True)
    """What names its HTML."""
    stays = traitlets.Dict().tag(sync=True)
    """What is to stay in its place, by MIME type, when it has served; empty before."""
    gone = traitlets.Unicode().tag(sync=True)
    """What the page says when the kernel is gone."""

    def __init__(self, **traits: Any) -> None:  # noqa: ANN401 - as in ipywidgets
        """Make one with a slot of its own."""
        super().__init__(slot=secrets.token_hex(8), **traits)
        self.on_msg(self._heard)

    def slotted(self, view: Bundle) -> Slotted:
        """Return a view as HTML that the widget stands in for where it can."""
        return Slotted(view, self.slot)

    def close(self) -> None:
        """Take it off the page, with the layout that belongs to it."""
        super().close()
        self.layout.close()

    def _heard(self, _widget: object, content: object, _buffers: object) -> None:
        _take_hello(self, content, _buffers)
        if isinstance(content, dict):
            self.told(content)

    def told(self, content: dict[str, Any]) -> None:
        """Take what a page said."""


def _take_hello(_widget: object, content: object, _buffers: object) -> None:
    if isinstance(content, dict) and content.get("hello"):
        pages.heard()
