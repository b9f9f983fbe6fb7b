"""The pieces of a word of `%hive` → its values: what `$name` and `{expression}` are in the notebook.

A variable that stands alone may hold several values, which become several arguments. Inside a longer word it must be
text or a number. What cannot be expanded is a mistake of the user's, and never a target.
"""

from __future__ import annotations

import numbers
import os
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pandas as pd
from IPython.core.error import UsageError

from nixhive_nb.deployment.targets import names_in_frame
from nixhive_nb.notebook.picker import Picker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Piece(msgspec.Struct, frozen=True):
    """A part of a word: plain text, or Python to be evaluated. `source` is how the user wrote the latter."""

    kind: Literal["text", "python"]
    text: str
    source: str = ""

    @property
    def typed(self) -> str:
        """The text, and of Python what the user wrote."""
        return self.source or self.text


def expand(pieces: Sequence[Piece], names: Mapping[str, Any], *, several: bool) -> tuple[str, ...]:
    """Return the values of a word: one, but for a variable or expression that holds `several` where they may stand.

    Raises `UsageError`, one line that names the variable or expression at fault.
    """
    if len(pieces) == 1 and pieces[0].kind == "python":
        return _values(pieces[0], _value(pieces[0], names), several=several)
    return ("".join(_part(piece, names) for piece in pieces),)


def _part(piece: Piece, names: Mapping[str, Any]) -> str:
    if piece.kind == "text":
        return piece.text
    value = _value(piece, names)
    text = _text(value)
    if text is None:
        advice = f"For a part of it, write {{{piece.text}…}}."
        raise UsageError(f"{piece.source} is {_kind(value)}: in a longer word stand only text and numbers. {advice}")
    return text


def _value(piece: Piece, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any value of the notebook
    try:
        # What the user wrote into the user's own cell, as IPython does it for other magics.
        return eval(piece.text, dict(names))  # noqa: S307
    except NameError as error:
        name = error.name or piece.text
        raise UsageError(f"{piece.source}: there is no variable '{name}' in this notebook.") from None
    except Exception as error:  # noqa: BLE001 - whatever the expression raises
        raise UsageError(f"{piece.source}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def _values(piece: Piece, value: Any, *, several: bool) -> tuple[str, ...]:  # noqa: ANN401 - see above
    text = _text(value)
    if text is not None:
        return (_checked(piece, text),)
    if isinstance(value, (set, frozenset)):
        raise UsageError(f"{piece.source} is a set, which has no order: write {{sorted({piece.text})}}.")
    found = _several(value)
    if found is None:
        raise UsageError(f"{piece.source} is {_kind(value)}, which is neither text nor a list of names.")
    if not several:
        raise UsageError(f"{piece.source} is {_kind(value)}: only one value can stand here.")
    if not found and isinstance(value, Picker):
        raise UsageError(f"{piece.source}: nothing is picked, and no pattern would mean all. Nothing was done.")
    if not found:
        raise UsageError(f"{piece.source} is empty, and no pattern would mean all. Nothing was done.")
    texts = [_text(one) for one in found]
    for one, shown in zip(found, texts, strict=True):
        if shown is None:
            raise UsageError(f"{piece.source} holds {_kind(one)}, which is not text.")
    return tuple(_checked(piece, shown) for shown in texts if shown is not None)


def _several(value: object) -> list[Any] | None:
    """Return the values of what has an order; of a table its instances, or its index; of a picker what is picked."""
    if isinstance(value, Picker):
        return list(value.take())
    if isinstance(value, pd.DataFrame):
        named = names_in_frame(value)
        value = value.index if named is None else named
    if isinstance(value, (pd.Series, pd.Index)) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return list(value.tolist())
    return list(value) if isinstance(value, (list, tuple, type({}.keys()))) else None


def _text(value: object) -> str | None:
    """Return a value as an argument, None for one that has no obvious text."""
    if isinstance(value, bool) or value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, (str, numbers.Real)):
        return str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) and isinstance(os.fspath(value), str) else None


def _checked(piece: Piece, text: str) -> str:
    if not text.strip():
        raise UsageError(f"{piece.source} is empty text, which names nothing.")
    if text.startswith("-"):
        raise UsageError(f"{piece.source} is {text!r}: what begins with - would be read as an option.")
    return text


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"of type {type(value).__name__}"
