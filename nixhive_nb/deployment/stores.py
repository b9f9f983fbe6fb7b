"""Stores by a name without secrets: what plans, journals and tables hold in place of a URL that has a password.

Only the backend knows the URL of a name, when it copies. A URL without a secret is its own name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from nixhive_nb.util.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable


def store_names(urls: Iterable[str]) -> dict[str, str]:
    """Return the name of each store of a deployment by its URL.

    No two have one name: a `#2` tells apart what otherwise only a password does.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for url in sorted({*urls} - {""}):
        plain = shown_store(url)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}#{number}"
        taken.add(name)
        names[url] = name
    return names


@lru_cache(maxsize=4096)
def shown_store(url: str) -> str:
    """Return the URL of a store without secrets."""
    return redact(url)
