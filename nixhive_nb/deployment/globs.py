r"""Shell patterns as Go's `path.Match` reads them.

    pattern: { term }
    term:    '*'         any characters but '/'
             '?'         any character but '/'
             '[' [ '^' ] { range } ']'   one character of the ranges (or none of them, after '^'); not empty
             c           itself, if not one of * ? \ [
             '\' c        the character c
    range:   c | '\' c, or two of them with '-' between; c is not one of \ - ]

As in Go, a class may match '/', and what follows a '*' matches at the first place where it can.
"""

from __future__ import annotations

import functools
import re

from nixhive_nb.errors import TargetError

_SIGNS = re.compile(r"[*?\[\\]")


def is_plain(pattern: str) -> bool:
    """Return whether a pattern matches itself and nothing else: no sign of it means more than itself."""
    return _SIGNS.search(pattern) is None


@functools.lru_cache(maxsize=256)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """Return a regular expression whose `fullmatch` tells whether a name matches the pattern.

    Raises `TargetError` when the pattern is malformed, whatever it would be matched with.
    """
    chunks = _GlobParser(pattern).chunks()
    last = len(chunks) - 1
    parts = [chunks[0], *(_after_star(chunk, is_last=index == last) for index, chunk in enumerate(chunks[1:], 1))]
    return re.compile("".join(parts), re.DOTALL)


def _after_star(chunk: str, *, is_last: bool) -> str:
    """Return a star and what follows it. Go takes the first place where the chunk fits, and does not look back."""
    return f"[^/]*?{chunk}" if is_last else f"(?>[^/]*?{chunk})"


class _GlobParser:
    """Reads a pattern once, from left to right."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.rest = pattern

    def chunks(self) -> list[str]:
        """Return the regular expressions between the stars; neighbouring stars are one."""
        chunks = [""]
        in_star = False
        while self.rest:
            character = self.take()
            if character == "*" and not in_star:
                chunks.append("")
            elif character != "*":
                chunks[-1] += self.term(character)
            in_star = character == "*"
        return chunks

    def term(self, character: str) -> str:
        if character == "?":
            return "[^/]"
        if character == "[":
            return self.character_class()
        return re.escape(self.take() if character == "\\" else character)

    def character_class(self) -> str:
        negated = self.rest.startswith("^")
        if negated:
            self.take()
        ranges = [self.range()]
        while not self.rest.startswith("]"):
            ranges.append(self.range())
        self.take()
        inside = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
        if not inside:
            return "." if negated else "(?!)"
        return f"[{'^' if negated else ''}{inside}]"

    def range(self) -> tuple[str, str]:
        low = self.member()
        if not self.rest.startswith("-"):
            return low, low
        self.take()
        return low, self.member()

    def member(self) -> str:
        """Take a character of a class; one must be left after it, as the class has to be closed."""
        character = self.take()
        if character in "-]":
            raise self.malformed()
        if character == "\\":
            character = self.take()
        if not self.rest:
            raise self.malformed()
        return character

    def take(self) -> str:
        if not self.rest:
            raise self.malformed()
        character, self.rest = self.rest[0], self.rest[1:]
        return character

    def malformed(self) -> TargetError:
        return TargetError(
            f"The pattern '{self.pattern}' is malformed: a class is written [a-z] or [^a-z], and \\ stands before a "
            "character that means itself."
        )
