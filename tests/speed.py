"""How thorough the tests are: `make test-fast` and `make test-lowest` try fewer examples than `make test` does."""

from __future__ import annotations

import os

FAST = bool(os.environ.get("NIXHIVE_TEST_FAST"))
"""Whether fewer are enough. It is never a reason to leave a test out: markers do that."""
_SHARE = 5


def examples(count: int) -> int:
    """Return how many examples of a property are tried."""
    return max(10, count // _SHARE) if FAST else count


def stride(step: int) -> int:
    """Return the step through what is otherwise tried one by one."""
    return step if FAST else 1
