"""Why a copy failed, by what Nix, its ssh and the other side complained of, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixhive_nb.nix.log import NixLog

_NOISE = re.compile(r"'nix-store --serve' protocol mismatch from .*", re.DOTALL)
_UNKNOWN = "don't know how to open Nix store"
_SIGNATURE = re.compile(r"lacks a (?:valid signature|signature by a trusted key)")
"""What Nix says of what it does not take, 2.8 and newer ones."""
_UNSIGNED = (
    ". Sign what is sent (signing.keyFile of the deployment, with its public key in trusted-public-keys there), or "
    "name the login user in trusted-users there"
)
_COMPLAINT = re.compile(
    r"\berror:|^ssh: |Permission denied|Host key|[Cc]onnection (?:refused|closed|timed out)|_percent_expand: "
)
_REFUSED = re.compile(r"Permission denied \(|_percent_expand: ")
_BY_SSH = ". Nix copies by ssh, whatever carries commands: `nix-hive ssh HOST true` shows what keeps it out"


def why_copy_failed(said: Iterable[str], log: NixLog) -> str:
    """Return what the other side or ssh complained of; Nix itself often sees only that the link has ended."""
    lines = list(said)
    noise = next((found for line in (*log.errors, *lines) if (found := _NOISE.search(line))), None)
    if noise:
        return f"{' '.join(noise[0].split())[:300]}: the login shell there prints something at its start"
    theirs = [line for line in lines if _COMPLAINT.search(line) and line not in log.errors]
    text = " ".join((theirs or log.errors or ["it said nothing"])[-1].removeprefix("error: ").split())[:300]
    if _UNKNOWN in text:
        return f"{text}. The Nix of this machine knows no such kind of store. For s3:// it has to be built with S3"
    if _REFUSED.search(text):
        return f"{text.removesuffix('.')}{_BY_SSH}"
    return f"{text}{_UNSIGNED if any(_SIGNATURE.search(line) for line in (*log.errors, *lines)) else ''}"
