"""Names that are near to a mistyped one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALIKE = 0.6
_MOST = 3


def near(word: str, names: Iterable[str]) -> list[str]:
    """Return at most three of the names, those most like the word first, equally like ones in order of name."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(word.casefold())
    found: list[tuple[float, str]] = []
    for name in set(names):
        matcher.set_seq1(name.casefold())
        if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE:
            found.append((-matcher.ratio(), name))
    return [name for _, name in sorted(found)[:_MOST]]
