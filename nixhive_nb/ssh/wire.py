"""Values as the SSH protocol writes them (RFC 4251, section 5), read strictly: what is cut short is no value."""

from __future__ import annotations

_LENGTH = 4
_LONG = 8


class Malformed(ValueError):  # noqa: N818 - a part of a message, never shown by its name
    """Some bytes are not what they should be."""


class Reader:
    """Reads values one after the other. Raises `Malformed` where they end too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at(self) -> int:
        """How many bytes were read."""
        return self._at

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def number(self, size: int = _LENGTH) -> int:
        """Return an unsigned number of so many bytes."""
        return int.from_bytes(self._take(size), "big")

    def long(self) -> int:
        """Return an unsigned number of 8 bytes."""
        return self.number(_LONG)

    def string(self) -> bytes:
        """Return a string of bytes."""
        return self._take(self.number())

    def text(self) -> str:
        """Return a string as text; what is not UTF-8 in it is replaced."""
        return self.string().decode("utf-8", errors="replace")

    def strings(self) -> tuple[str, ...]:
        """Return a string that holds strings itself."""
        inner = Reader(self.string())
        found: list[str] = []
        while not inner.is_done:
            found.append(inner.text())
        return tuple(found)

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise Malformed("it ends too soon")
        self._at += size
        return taken
