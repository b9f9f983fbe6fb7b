"""Words of an ssh command line, as other formats have them, turned into options of a `Host` block.

Source: the manual of ssh(1), whose options name the keywords of ssh_config(5) that they stand for.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from nixhive_nb.deployment.names import port_problem
from nixhive_nb.deployment.values import breaks_line, is_ssh_option, ssh_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nixhive_nb.deployment.ways import SshOptions

_FLAGS = {
    "4": ("AddressFamily", "inet"),
    "6": ("AddressFamily", "inet6"),
    "A": ("ForwardAgent", "yes"),
    "a": ("ForwardAgent", "no"),
    "C": ("Compression", "yes"),
    "K": ("GSSAPIAuthentication", "yes"),
    "k": ("GSSAPIDelegateCredentials", "no"),
    "T": ("RequestTTY", "no"),
    "X": ("ForwardX11", "yes"),
    "x": ("ForwardX11", "no"),
    "Y": ("ForwardX11Trusted", "yes"),
    "q": ("LogLevel", "QUIET"),
    "v": ("LogLevel", "DEBUG"),
}
_VALUES = {
    "i": "IdentityFile",
    "p": "Port",
    "l": "User",
    "J": "ProxyJump",
    "b": "BindAddress",
    "B": "BindInterface",
    "c": "Ciphers",
    "m": "MACs",
    "S": "ControlPath",
    "I": "PKCS11Provider",
    "E": "",
    "F": "",
    "o": "",
}
"""What takes a value, joined to it or as the next word; with the keyword that it stands for, empty for none."""
_JOINED = re.compile(r"-\w\s")
_SEVERAL = {"identityfile", "certificatefile", "localforward", "remoteforward", "sendenv", "setenv"}
"""Keywords of which each value counts; of all others ssh takes the first."""


def ssh_options(words: Sequence[str]) -> SshOptions:
    """Return what words of an ssh command line say, by keyword in alphabetical order.

    A word such as `-o NAME=VALUE` is read as two: colmena joins all by blanks into NIX_SSHOPTS. Raises `ValueError`,
    whose text names the word that no option of a `Host` block stands for.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for keyword, value in _settings([part for word in words for part in _parts(word)]):
        name, values = found.setdefault(keyword.lower(), (keyword, []))
        if not values or name.lower() in _SEVERAL:
            values.append(value)
    return tuple(sorted((name, tuple(values)) for name, values in found.values()))


def _parts(word: str) -> list[str]:
    """Return the words in a word such as `-o Compression=yes`; a value with blanks is one."""
    if not _JOINED.match(word):
        return [word]
    try:
        return shlex.split(word)
    except ValueError as error:
        raise ValueError(f"`{word}` is no list of words: {error}") from None


def _settings(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield keywords with their values, in the order in which ssh reads them."""
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            raise ValueError(f"`{word}` is no option of ssh")
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _FLAGS:
                yield _FLAGS[letter]
                continue
            if letter not in _VALUES:
                raise ValueError(f"`{word}`: an instance cannot have -{letter} of ssh")
            if not letters and not left:
                raise ValueError(f"`{word}` lacks its value")
            yield _valued(letter, letters or left.pop(0), word)
            letters = ""


def _valued(letter: str, value: str, word: str) -> tuple[str, str]:
    if letter != "o":
        keyword = _VALUES[letter]
        if not keyword:
            raise ValueError(f"`{word}`: an instance cannot have -{letter} of ssh; write its lines as options")
    else:
        keyword, value = _option(value, word)
    wrong = breaks_line(value) and "it holds a line break or another control character"
    wrong = wrong or ssh_problem(keyword.lower(), value) or (port_problem(value) if keyword.lower() == "port" else "")
    if wrong:
        raise ValueError(f"`{word}`: {keyword} is {value!r}: {wrong}")
    return keyword, value


def _option(text: str, word: str) -> tuple[str, str]:
    """Read `NAME=VALUE` or `NAME VALUE`, as ssh_config(5) has them."""
    name, separator, value = text.partition("=")
    if not separator or " " in name.strip():
        name, separator, value = text.strip().partition(" ")
    if not separator or not is_ssh_option(name.strip()):
        raise ValueError(f"`{word} {text}`: -o takes NAME=VALUE" if word == "-o" else f"`{word}`: -o takes NAME=VALUE")
    return name.strip(), value.strip()
