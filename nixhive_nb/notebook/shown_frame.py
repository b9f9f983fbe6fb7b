"""A DataFrame that a cell shows as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Collection

    from nixhive_nb.notebook.display import Bundle


class ShownFrame(pd.DataFrame):
    """The value of a listing that stands alone in a cell: whole, as `_` and `Out` have it, and shown as a listing.

    What is computed from it is a plain DataFrame, which pandas shows.
    """

    _metadata: ClassVar[list[str]] = ["_view"]
    _view: Bundle

    @classmethod
    def of(cls, frame: pd.DataFrame, view: Bundle) -> Self:
        """Return a frame that is shown as `view`."""
        found = cls(frame)
        found._view = view
        return found

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        return self._view._repr_mimebundle_(include, exclude)
