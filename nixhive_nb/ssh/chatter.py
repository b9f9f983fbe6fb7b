"""What OpenSSH writes that tells nobody why it failed: such lines would stand in front of the one that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHATTER = (
    *("Warning: Permanently added", "debug", "Authenticated to ", "Transferred:", "Bytes per second:"),
    # Of a server without such a key exchange (seen with OpenSSH 10.6): `WarnWeakCrypto`.
    *("** WARNING: connection is not using a post-quantum", "** This session may be vulnerable to"),
    "** The server may need to be upgraded",
)


def without_chatter(lines: Iterable[str]) -> list[str]:
    """Return those lines that may tell."""
    return [line for line in lines if not line.startswith(_CHATTER)]
