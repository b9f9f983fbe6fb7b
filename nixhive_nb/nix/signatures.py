"""Who vouches for paths: what `nix path-info --sigs` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_CONTENT = "ca:"
"""Before the content address of a path: its name alone vouches for it."""
_NAME_LENGTH = 200


def signed_lines(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each path with the words that stand behind it: `ultimate`, a content address, signatures."""
    for line in text.splitlines():
        path, *words = line.split()
        if path.startswith("/nix/store/"):
            yield path, tuple(words)


def vouched(words: Collection[str], keys: Collection[str]) -> bool:
    """Return whether a path has a content address, or a signature by one of the keys."""
    return any(word.startswith(_CONTENT) or word.partition(":")[0] in keys for word in words)


def key_name(file: str) -> str:
    """Return the name of the key in a file of a secret key, of which nothing else is read. Raises `OSError`."""
    name = b""
    with Path(file).open("rb", buffering=0) as stream:
        while (byte := stream.read(1)) not in (b"", b":", b"\n") and len(name) < _NAME_LENGTH:
            name += byte
    return name.decode(errors="replace")
