"""Stores by a name without secrets: what plans, journals and tables hold in place of a URL that has a password.

Only the backend knows the URL of a name, when it copies. A URL without a secret is its own name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

_JUMP = re.compile(r"^(?:ssh://)?(?:[^@]*@)?(\[[^\]]*\]|[^:]*)")
PLACES = ("here", "instance", "relay")
"""Where a system can be built, beside a store that is named by its URL."""

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
    from nixhive_nb.util.redaction import redact  # noqa: PLC0415 - what options need of here is less

    return redact(url)


@lru_cache(maxsize=4096)
def store_host(url: str) -> str:
    """Return the host that an `ssh://` or `ssh-ng://` store names; empty for other stores."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("ssh", "ssh-ng"):
        return ""
    authority = rest.partition("?")[0].partition("/")[0]
    found = _JUMP.match(authority)
    return found[1].strip("[]") if found else ""


def place_problem(where: str) -> str:
    """Return what is wrong with a place that a system is to be built at; empty where nothing is."""
    if where in PLACES:
        return ""
    scheme, _, rest = where.partition("://")
    if scheme not in ("ssh", "ssh-ng") or not rest:
        return f"it is {', '.join(PLACES)}, or the URL of a store such as ssh-ng://builder"
    if re.search(r"[\s?#/]|^-", rest.removesuffix("/")):
        return "of the URL of a store that builds, only user, host and port count: ssh-ng://USER@HOST:PORT"
    if shown_store(where) != where:
        return "a URL with a password is shown in plans and journals: leave that to ssh's own keys"
    return ""
