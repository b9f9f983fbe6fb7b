"""How a deployment says that a login becomes root: `elevate`, a word or a list of words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE = "none"
PROGRAMS = ("sudo", "run0", "doas")
"""Those whose ways are known: they are given what keeps them from asking, and what ends their words."""
KINDS = (NONE, *PROGRAMS)
"""What `elevate` may be as a text."""
_TAKES = {"sudo": "CDghpRrTtUu", "doas": "Cu", "run0": "DgMpSu"}
"""The letters that take a word of their own behind them."""
_ASKS = "leave it out; a password is given by --ask-password, --password-command or NIXHIVE_PASSWORD_FD"
_STARTS_NOTHING = "it does not start a program and wait for that"
_REFUSED = {
    "sudo": {
        "S": _ASKS, "stdin": _ASKS, "A": _ASKS, "askpass": _ASKS, "p": _ASKS, "prompt": _ASKS,
        "b": _STARTS_NOTHING, "background": _STARTS_NOTHING, "e": _STARTS_NOTHING, "edit": _STARTS_NOTHING,
        "K": _STARTS_NOTHING, "remove-timestamp": _STARTS_NOTHING, "l": _STARTS_NOTHING, "list": _STARTS_NOTHING,
        "v": _STARTS_NOTHING, "validate": _STARTS_NOTHING,
    },
    "doas": {"L": _STARTS_NOTHING, "C": _STARTS_NOTHING},
    "run0": {"pty": "a terminal would mix what is said with what is read", "no-block": _STARTS_NOTHING},
}  # fmt: skip


def elevate_problem(words: Sequence[str]) -> str:
    """Return what is wrong with the words of `elevate`; empty where nothing is."""
    if not words:
        return 'it is empty; write "none" where the login is root'
    if any(not word or not word.isprintable() for word in words):
        return "it holds an empty word, or a line break or another control character"
    if words[0] == NONE and len(words) > 1:
        return f'"{NONE}" goes with no other word'
    program = words[0].rpartition("/")[2]
    refused = _REFUSED.get(program, {})
    for option, name in _options(program, words[1:]):
        if name in refused:
            return f"{option} of {program} is refused: {refused[name]}"
    return ""


def text_problem(text: str) -> str:
    """Return what is wrong with `elevate` where it is a text; empty where nothing is."""
    known = ", ".join(f'"{kind}"' for kind in KINDS)
    return "" if text in KINDS else f"write {known}, or a list of words"


def _options(program: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """Return the options among words: each as it is written, and its name or letter."""
    takes, found, passed = _TAKES.get(program, ""), [], False
    for word in words:
        if passed:
            passed = False
        elif word.startswith("--"):
            found.append((word.partition("=")[0], word[2:].partition("=")[0]))
        elif word.startswith("-"):
            for at, letter in enumerate(word[1:], start=1):
                found.append((f"-{letter}", letter))
                if letter in takes:
                    passed = at == len(word) - 1
                    break
    return found
