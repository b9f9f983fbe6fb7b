r"""Target expressions: `@(web and not www-2)`, and groups: `@failed`.

    target:     '@' NAME  |  '@(' either ')'
    either:     both { 'or' both }
    both:       one { 'and' one }
    one:        'not' one  |  '(' either ')'  |  '@' NAME  |  PATTERN  |  '"' PATTERN '"'
              |  'revision' '=' REVISION

A word that begins with `@` is never a glob; a glob for a tag that does is written `\@…`. Blanks separate words; a
pattern that is itself `and`, `or` or `not`, or that holds blanks or parentheses, stands in double quotes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from nixhive_nb.errors import TargetError
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KNOWN_GROUPS = {
    "picked": "picked",
    "failed": "in another state than wanted after the last run",
    "unreachable": "out of reach now",
    "outdated": "running or booting something else than what is wanted",
}
"""The groups, and what it means to be in one."""
REVISION = "revision="
"""How the name of a group begins that a revision makes: the instances that run what was made from it."""

_TOKEN = re.compile(r'\s*(?:(?P<mark>[()])|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s()"]+))')
_WORDS = ("and", "or", "not")
_REVISION = re.compile(r"dirty|unknown|[0-9A-Za-z][0-9A-Za-z._+-]{3,}", re.ASCII)
_DEEPEST = 50


class Leaf(msgspec.Struct, frozen=True):
    """A pattern, or the name of a group."""

    kind: Literal["pattern", "group"]
    text: str


class Combined(msgspec.Struct, frozen=True):
    """Parts put together: `not` has one, `and` and `or` have two or more."""

    kind: Literal["and", "or", "not"]
    parts: tuple[Expression, ...]


Expression = Leaf | Combined


def is_expression(pattern: str) -> bool:
    """Return whether a word is an expression or a group, and so no glob."""
    return pattern.startswith("@")


def parse(text: str) -> Expression:
    """Read a group (`@failed`) or an expression (`@(…)`). Raises `TargetError`."""
    if not text.startswith("@("):
        return _group(text)
    if not text.endswith(")"):
        raise _malformed(text, "it does not end with )")
    return _ExpressionParser(text, text[2:-1]).whole()


def evaluate(
    expression: Expression,
    matching: Callable[[str], Iterable[str]],
    group: Callable[[str], Iterable[str]],
    every: frozenset[str],
) -> frozenset[str]:
    """Return what an expression holds; `matching` gives what a pattern hits, `group` who is in a group."""
    if isinstance(expression, Leaf):
        found = matching(expression.text) if expression.kind == "pattern" else group(expression.text)
        return frozenset(found) & every
    sets = [evaluate(part, matching, group, every) for part in expression.parts]
    if expression.kind == "not":
        return every - sets[0]
    return frozenset.intersection(*sets) if expression.kind == "and" else frozenset.union(*sets)


def meaning(group: str) -> str:
    """Return what it means to be in a group, behind "no instance is"."""
    if group.startswith(REVISION):
        return f"known to run what was made from revision {group.removeprefix(REVISION)}"
    return KNOWN_GROUPS[group]


def groups_in(expression: Expression) -> frozenset[str]:
    """Return the names of the groups that occur in an expression."""
    if isinstance(expression, Leaf):
        return frozenset([expression.text] if expression.kind == "group" else [])
    return frozenset().union(*(groups_in(part) for part in expression.parts))


def _group(text: str) -> Leaf:
    name = text[1:]
    if name not in KNOWN_GROUPS:
        alike = near(name, KNOWN_GROUPS)
        hint = f" Near: @{alike[0]}." if alike else ""
        tag = f" A tag is written without @: '{name}'." if re.fullmatch(r"\S+", name) else ""
        raise TargetError(
            f"There is no group '{text}'.{hint} The groups are {', '.join(f'@{one}' for one in KNOWN_GROUPS)}.{tag} An "
            "expression is written '@(web and not www-2)', and a pattern for a tag that begins with @ '\\@…'."
        )
    return Leaf("group", name)


def _malformed(text: str, why: str) -> TargetError:
    return TargetError(
        f"The expression '{text}' is malformed: {why}. Write '@(web and not www-2)': patterns with and, or, not and "
        "parentheses, and in double quotes what holds blanks or is such a word."
    )


class _ExpressionParser:
    """Reads from left to right; `and` binds tighter than `or`."""

    def __init__(self, text: str, inside: str) -> None:
        self.text = text
        self.tokens = self.split(inside)
        self.at = 0
        self.depth = 0

    def split(self, inside: str) -> list[tuple[str, str]]:
        """Return (kind, text) of each token: mark, quoted or word."""
        tokens, at = [], 0
        inside = inside.rstrip()
        while at < len(inside):
            found = _TOKEN.match(inside, at)
            if found is None or found.lastgroup is None:
                raise _malformed(self.text, "a quote is not closed")
            tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        return tokens

    def whole(self) -> Expression:
        found = self.either()
        if self.at < len(self.tokens):
            raise _malformed(self.text, f"'{self.tokens[self.at][1]}' stands where and, or or ) was expected")
        return found

    def either(self) -> Expression:
        return self.chain("or", self.both)

    def both(self) -> Expression:
        return self.chain("and", self.one)

    def chain(self, word: Literal["and", "or"], part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self.accept("word", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Combined(word, tuple(parts))

    def one(self) -> Expression:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _malformed(self.text, f"more than {_DEEPEST} parentheses and not stand in each other")
        found = self.operand()
        self.depth -= 1
        return found

    def operand(self) -> Expression:
        if self.at >= len(self.tokens):
            raise _malformed(self.text, "it ends where a pattern was expected")
        kind, text = self.tokens[self.at]
        self.at += 1
        if (kind, text) == ("word", "not"):
            return Combined("not", (self.one(),))
        if (kind, text) == ("mark", "("):
            inner = self.either()
            if not self.accept("mark", ")"):
                raise _malformed(self.text, "a ( is not closed")
            return inner
        if kind == "quoted":
            return Leaf("pattern", re.sub(r'\\"', '"', text))
        if kind == "mark" or text in _WORDS:
            raise _malformed(self.text, f"'{text}' stands where a pattern was expected")
        if text == "revision" and self.follows("="):
            self.at += 1
            return self.revision(self.tokens[self.at - 1][1].removeprefix("="))
        if text.startswith(REVISION):
            return self.revision(text.removeprefix(REVISION))
        return _group(text) if is_expression(text) else Leaf("pattern", text)

    def revision(self, text: str) -> Expression:
        if not text and self.at < len(self.tokens):
            kind, text = self.tokens[self.at]
            self.at += 1
            text = "" if kind == "mark" else text
        if not _REVISION.fullmatch(text):
            raise _malformed(
                self.text, "behind revision = stands the beginning of a commit (4 digits or more), dirty or unknown"
            )
        return Leaf("group", f"{REVISION}{text}")

    def follows(self, mark: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at][1].startswith(mark)

    def accept(self, kind: str, text: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == (kind, text):
            self.at += 1
            return True
        return False
