"""The order in which people count: www-2 before www-10."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return the key that sorts names as a person does: what is a number in them counts as one."""
    # Texts stand at the even places and numbers at the odd ones. Of two numbers, the one with fewer digits is less.
    parts = ((0, part) if at % 2 == 0 else _number(part) for at, part in enumerate(_NUMBER.split(name)))
    return tuple(parts), name


def _number(digits: str) -> tuple[int, str]:
    plain = digits.lstrip("0")
    return len(plain), plain
