"""A password as long as it is needed: in memory alone, and overwritten at its end.

What Python makes of it on its way (the text that goes to a host, what `getpass` gave) it frees and does not overwrite,
and what the machine has swapped out is not ours to wipe: see `docs/howto/privilege.md`.
"""

from __future__ import annotations

from typing import NoReturn

from nixhive_nb.errors import OptionError

LONGEST = 255
"""Bytes that every sudo takes; longer ones are cut there by some, without a word."""


class Password:
    """One password. It is shown nowhere: neither as text nor as a part of another value, and it cannot be pickled."""

    __slots__ = ("_bytes",)

    def __init__(self, text: str) -> None:
        """Take it. Raises `OptionError` for what cannot be sent as one line."""
        data = text.encode("utf-8", "surrogateescape")
        if wrong := _problem(data):
            raise OptionError(f"The password {wrong}. Nothing was tried.")
        self._bytes = bytearray(data)

    def text(self) -> str:
        """Return it. Raises `OptionError` when it is gone."""
        if not self._bytes:
            raise OptionError("The password is not kept any more: the command that it was given for has ended.")
        return self._bytes.decode("utf-8", "surrogateescape")

    def wipe(self) -> None:
        """Overwrite it."""
        for at in range(len(self._bytes)):
            self._bytes[at] = 0
        self._bytes.clear()

    def __repr__(self) -> str:
        return "Password(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a password is not pickled")


def _problem(data: bytes) -> str:
    if not data:
        return "is empty"
    if len(data) > LONGEST:
        return f"has more than {LONGEST} bytes"
    if any(one in data for one in (b"\n", b"\r", b"\0")):
        return "has more than one line, or a NUL"
    return ""
