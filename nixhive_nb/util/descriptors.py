"""How many files this process may open: raised as far as may be, and shared out among connections."""

from __future__ import annotations

import errno
import logging
import resource

from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)
_OURS = 24
"""Descriptors that we have open ourselves: streams, loops, journals."""
_LOGIN = 7
"""What a login needs at most, while `ssh -G` runs for it."""
_KEPT = 4
"""What an open connection needs at most: behind a ProxyCommand."""
_AT_ONCE = 8
"""Lookups with `ssh -G` at the same time."""


def allow_many() -> None:
    """Raise the limit of open files to what the system allows us; programs that we start have it, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with swallowed(_log, "raising the limit of open files", ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_at_once() -> int:
    """Return how many connections may be kept open, such that each can have another beside it while it is confirmed."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return 1_000_000
    return max(2, (limit - _OURS) // _LOGIN, (limit - _OURS - _AT_ONCE * _LOGIN) // _KEPT) // 2


def is_ours(error: BaseException) -> bool:
    """Return whether an error is that we, or this machine, may open no more files: no host is at fault."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def words() -> str:
    """Say what is in the way, and what helps."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"this machine lets us open {limit} files, and no more: raise its limit (`ulimit -Hn`), or lower --parallel"
