"""What the value of an option may be: as a word of a command line, as a value of Python, and in words for a person."""

from __future__ import annotations

import math
import numbers
import re
import sys
from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from nixhive_nb.deployment.stores import PLACES, place_problem

_SHARE = re.compile(r"([0-9]{1,9})(%?)")
_SIZE = re.compile(r"([0-9]{1,9})([kKmMgG]?)")
_UNITS = " kMG"
_WHOLE = 100
_KIB = 1024


class Kind(Protocol):
    """What a value may be. What it may not be is a `ValueError`, whose text is what is `allowed`."""

    @property
    def allowed(self) -> str:
        """What it may be, so that "'x' is not …" is a sentence."""

    @property
    def range(self) -> str:
        """The numbers that it may be, in a few words; empty where it is no number."""

    def value(self, given: object) -> object:
        """Return a value of Python as options have it. Raises `ValueError`."""

    def read(self, word: str) -> object:
        """Return what a word of a command line stands for. Raises `ValueError`."""

    def word(self, value: object) -> str:
        """Return the word of a command line that stands for a value."""


class YesNo(msgspec.Struct, frozen=True):
    """True or False. On a command line: the flag, or not."""

    @property
    def allowed(self) -> str:
        """What it may be."""
        return "True or False"

    @property
    def range(self) -> str:
        """Nothing: it is no number in a range."""
        return ""

    def value(self, given: object) -> bool:
        """Return a bool; 1 and 0 are taken for one."""
        if not isinstance(given, int) or given not in (0, 1):
            raise ValueError(self.allowed)
        return bool(given)

    def read(self, word: str) -> bool:
        """Return what a word of a configuration stands for."""
        return self.value({"true": True, "false": False}.get(word.lower(), word))

    def word(self, value: object) -> str:
        """Return the word for a value."""
        return str(value)


class WholeNumber(msgspec.Struct, frozen=True):
    """A whole number; True is none. Those of numpy are taken, and 2.0 for 2."""

    least: int = 0

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"a whole number of {self.range}"

    @property
    def range(self) -> str:
        """The numbers that it may be."""
        return f"at least {self.least}"

    def value(self, given: object) -> int:
        """Return an int."""
        number = _finite(given)
        if number is None or not number.is_integer() or number < self.least:
            raise ValueError(self.allowed)
        return int(number)

    def read(self, word: str) -> int:
        """Return an int."""
        try:
            return self.value(int(word))
        except ValueError:
            raise ValueError(self.allowed) from None

    def word(self, value: object) -> str:
        """Return the word for a value."""
        return str(value)


class Decimal(msgspec.Struct, frozen=True, kw_only=True):
    """A number that can be counted with: infinity, nan and True are none."""

    least: float = 0.0
    above: bool = False
    """Whether the least itself is too little."""
    most: float = math.inf
    unit: str = ""

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"a number{f' of {self.unit}' if self.unit else ''}, {self.range}"

    @property
    def range(self) -> str:
        """The numbers that it may be."""
        if self.most < math.inf:
            return f"from {self.least:g} to {self.most:g}"
        return f"{'more than' if self.above else 'at least'} {self.least:g}"

    def value(self, given: object) -> float:
        """Return a float."""
        number = _finite(given)
        if number is None or not self.least <= number <= self.most or (self.above and number == self.least):
            raise ValueError(self.allowed)
        return number

    def read(self, word: str) -> float:
        """Return a float."""
        try:
            return self.value(float(word))
        except ValueError:
            raise ValueError(self.allowed) from None

    def word(self, value: object) -> str:
        """Return the word for a value, to the last digit."""
        return repr(value).removesuffix(".0")


class OneOf(msgspec.Struct, frozen=True):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"one of {', '.join(self.words)}"

    @property
    def range(self) -> str:
        """Nothing: it is no number in a range."""
        return ""

    def value(self, given: object) -> str:
        """Return the word."""
        if not isinstance(given, str) or given not in self.words:
            raise ValueError(self.allowed)
        return str(given)

    def read(self, word: str) -> str:
        """Return the word."""
        return self.value(word)

    def word(self, value: object) -> str:
        """Return the word for a value."""
        return str(value)


class SomeOf(msgspec.Struct, frozen=True):
    """Some of some words: a list of them, and on a command line with commas in between."""

    words: tuple[str, ...]
    what: str
    """What one of them is."""

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"a list of {self.what}: {', '.join(self.words)}"

    @property
    def range(self) -> str:
        """Nothing: it is no number in a range."""
        return ""

    def value(self, given: object) -> tuple[str, ...]:
        """Return the words; a text is no list of texts."""
        some = given if isinstance(given, Collection) and not isinstance(given, str | Mapping) else None
        if some is None or not all(word in self.words for word in some):
            raise ValueError(self.allowed)
        return tuple(map(str, some))

    def read(self, word: str) -> tuple[str, ...]:
        """Return the words between commas. Raises `ValueError` for the first that is none of them."""
        return self.value([one for one in word.split(",") if one])

    def word(self, value: object) -> str:
        """Return the word for a value."""
        return ",".join(value) if isinstance(value, tuple) else str(value)


class Share(msgspec.Struct, frozen=True):
    """A number, or a share of a whole in percent: `2` or `25%`."""

    least: int = 0

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"a number of at least {self.least}, or a share of at most 100%, such as 2 or 25%"

    @property
    def range(self) -> str:
        """Nothing: it is no number in a range."""
        return ""

    def value(self, given: object) -> str:
        """Return the text; an empty one is none at all."""
        number = _finite(given)
        text = given.strip() if isinstance(given, str) else f"{number:g}" if number is not None else "?"
        if text:
            self.split(text)
        return text

    def read(self, word: str) -> str:
        """Return the text."""
        return self.value(word)

    def word(self, value: object) -> str:
        """Return the word for a value."""
        return str(value)

    def split(self, text: str) -> tuple[int, bool]:
        """Return the number, and whether it is a share. Raises `ValueError`."""
        found = _SHARE.fullmatch(text.strip())
        number, share = (int(found[1]), bool(found[2])) if found else (-1, False)
        if number < self.least or (share and number > _WHOLE):
            raise ValueError(self.allowed)
        return number, share


class Size(msgspec.Struct, frozen=True):
    """A number of bytes, at least one; as a word also of 1,024, 1,024² or 1,024³ of them: `500k`, `64M`, `1G`."""

    @property
    def allowed(self) -> str:
        """What it may be as a word."""
        return "a size, such as 500k, 64M or 1G"

    @property
    def range(self) -> str:
        """Nothing: it is no number in a range."""
        return ""

    def value(self, given: object) -> int:
        """Return bytes."""
        try:
            return WholeNumber(1).value(given)
        except ValueError:
            raise ValueError("a whole number of bytes, at least 1") from None

    def read(self, word: str) -> int:
        """Return bytes."""
        found = _SIZE.fullmatch(word)
        if found is None or not int(found[1]):
            raise ValueError(self.allowed)
        return int(found[1]) << 10 * _UNITS.lower().index(found[2].lower() or " ")

    def word(self, value: object) -> str:
        """Return the shortest word for a number of bytes."""
        number, unit = self.value(value), 0
        while unit < len(_UNITS) - 1 and number % _KIB == 0:
            number, unit = number // _KIB, unit + 1
        return f"{number}{_UNITS[unit]}".rstrip()


class Text(msgspec.Struct, frozen=True):
    """A text that is not empty, as the name of a file."""

    what: str = "a text"

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"{self.what}: it must not be empty"

    @property
    def range(self) -> str:
        """Nothing: it is no number in a range."""
        return ""

    def value(self, given: object) -> str:
        """Return the text."""
        if not isinstance(given, str):
            raise ValueError(self.what)  # noqa: TRY004 - all that is not allowed is one error
        if not given:
            raise ValueError(self.allowed)
        return given

    def read(self, word: str) -> str:
        """Return the text."""
        return self.value(word)

    def word(self, value: object) -> str:
        """Return the word for a value."""
        return str(value)


class Where(msgspec.Struct, frozen=True):
    """A place where systems are built; an empty text leaves it to the deployment."""

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"{', '.join(PLACES)}, or a store that builds, such as ssh-ng://builder"

    @property
    def range(self) -> str:
        """Nothing: it is no number in a range."""
        return ""

    def value(self, given: object) -> str:
        """Return the place."""
        if not isinstance(given, str):
            raise ValueError(self.allowed)  # noqa: TRY004 - all that is not allowed is one error
        wrong = place_problem(given) if given else ""
        if wrong:
            raise ValueError(wrong)
        return given

    def read(self, word: str) -> str:
        """Return the place."""
        return self.value(word)

    def word(self, value: object) -> str:
        """Return the word for a value."""
        return str(value)


def _finite(given: object) -> float | None:
    """Return a number as a float; None for what is none, or cannot be counted with."""
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        return None
    if isinstance(given, int) and abs(given) > sys.float_info.max:
        return None
    number = float(given)
    return number if math.isfinite(number) else None
