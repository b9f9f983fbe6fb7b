"""Agents that hold keys: whether one answers at all."""

from __future__ import annotations

import logging
import socket

from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)
_LIST = b"\0\0\0\1\x0b"
"""`SSH_AGENTC_REQUEST_IDENTITIES`, which asks no person."""
_SECONDS = 2.0


def agent_answers(path: str) -> bool:
    """Return whether an agent says which keys it has, within two seconds. One that is not there needs no time."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(_SECONDS)
            with swallowed(_log, f"the agent at {path}", ConnectionError, FileNotFoundError):
                asked.connect(path)
                asked.sendall(_LIST)
                asked.recv(1)
    except TimeoutError:
        _log.debug("the agent at %s does not answer", path, exc_info=True)
        return False
    except OSError:
        _log.debug("the agent at %s", path, exc_info=True)
    return True
