"""Exceptions that are handled and not shown: each leaves its trace in the log."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator


@contextlib.contextmanager
def swallowed(log: logging.Logger, what: str, *errors: type[BaseException]) -> Iterator[None]:
    """Go on after one of these exceptions, as `contextlib.suppress` does, and log it with its trace.

    `what` says what was being done.
    """
    try:
        yield
    except errors:
        log.debug("went on after a failure: %s", what, exc_info=True)
