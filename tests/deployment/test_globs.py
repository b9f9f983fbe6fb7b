"""Patterns mean what Go's `path.Match` says they mean."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.deployment.globs import compile_glob
from nixhive_nb.errors import TargetError

# The cases of Go's own test of `path.Match`.
GO_MATCHES = [
    ("abc", "abc", True),
    ("*", "abc", True),
    ("*c", "abc", True),
    ("a*", "a", True),
    ("a*", "abc", True),
    ("a*", "ab/c", False),
    ("a*/b", "abc/b", True),
    ("a*/b", "a/c/b", False),
    ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
    ("a*b?c*x", "abxbbxdbxebxczzx", True),
    ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[c]", "abc", True),
    ("ab[b-d]", "abc", True),
    ("ab[e-g]", "abc", False),
    ("ab[^c]", "abc", False),
    ("ab[^b-d]", "abc", False),
    ("ab[^e-g]", "abc", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "ab", False),
    ("a?b", "a☺b", True),
    ("a[^a]b", "a☺b", True),
    ("a???b", "a☺b", False),
    ("a[^a][^a][^a]b", "a☺b", False),
    ("[a-ζ]*", "α", True),  # noqa: RUF001
    ("*[a-ζ]", "A", False),
    ("a?b", "a/b", False),
    ("a*b", "a/b", False),
    ("[\\]a]", "]", True),
    ("[\\-]", "-", True),
    ("[x\\-]", "x", True),
    ("[x\\-]", "-", True),
    ("[x\\-]", "z", False),
    ("[\\-x]", "x", True),
    ("[\\-x]", "-", True),
    ("[\\-x]", "a", False),
    ("*x", "xxx", True),
]
GO_MALFORMED = [
    "[]a]",
    "[-]",
    "[x-]",
    "[-x]",
    "\\",
    "[a-b-c]",
    "[",
    "[^",
    "[^bc",
    "a[",
    "a/b[",
    "[]",
    "[a",
    "a\\",
    "[a\\",
]


@pytest.mark.parametrize(("pattern", "name", "expected"), GO_MATCHES)
def test_the_cases_of_go(pattern: str, name: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    assert bool(compile_glob(pattern).fullmatch(name)) is expected


@pytest.mark.parametrize("pattern", GO_MALFORMED)
def test_a_malformed_pattern_is_an_error_that_names_it(pattern: str) -> None:
    with pytest.raises(TargetError) as caught:
        compile_glob(pattern)
    assert str(caught.value).startswith(f"The pattern '{pattern}' is malformed: a class is written [a-z] or [^a-z]")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("a[/]b", "a/b", True),
        ("[[]*]", "[x]", True),
        ("]", "]", True),
        ("a-b", "a-b", True),
        ("www-1", "www-1\n", False),
        ("*[/x]*y", "x/y", False),
        (".*", "abc", False),
        ("a|b", "a", False),
    ],
)
def test_what_go_does_elsewhere(pattern: str, name: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    assert bool(compile_glob(pattern).fullmatch(name)) is expected


def test_many_stars_take_no_longer_than_few() -> None:
    assert not compile_glob("a*" * 40 + "b").fullmatch("a" * 3000)


class Term(NamedTuple):
    """One term of the grammar in Go's documentation."""

    kind: str
    ranges: tuple[tuple[str, str], ...] = ()


class Malformed(Exception):  # noqa: N818 - Go calls it ErrBadPattern
    pass


def terms_of(pattern: str) -> list[Term]:
    """Read a pattern by the grammar, a character at a time."""
    terms: list[Term] = []
    at = 0

    def class_character() -> str:
        nonlocal at
        if at >= len(pattern) or pattern[at] in "-]":
            raise Malformed
        if pattern[at] == "\\":
            at += 1
        if at >= len(pattern):
            raise Malformed
        at += 1
        return pattern[at - 1]

    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character in "*?":
            terms.append(Term(character))
        elif character == "[":
            kind = "["
            if pattern[at : at + 1] == "^":
                kind = "^"
                at += 1
            ranges = []
            while not ranges or pattern[at : at + 1] != "]":
                low = high = class_character()
                if pattern[at : at + 1] == "-":
                    at += 1
                    high = class_character()
                ranges.append((low, high))
            at += 1
            terms.append(Term(kind, tuple(ranges)))
        else:
            if character == "\\":
                if at >= len(pattern):
                    raise Malformed
                character = pattern[at]
                at += 1
            terms.append(Term("[", ((character, character),)))
    return terms


def fits(term: Term, character: str) -> bool:
    if term.kind == "?":
        return character != "/"
    within = any(low <= character <= high for low, high in term.ranges)
    return within is (term.kind == "[")


def matches(terms: list[Term], name: str) -> bool:
    """Match as Go does: the terms up to the next star go to the first place where they fit, for good."""
    chunks: list[list[Term]] = [[]]
    for term in terms:
        if term.kind == "*":
            chunks.append([])
        else:
            chunks[-1].append(term)
    at = 0
    for index, chunk in enumerate(chunks):
        start = at
        last = index == len(chunks) - 1
        while True:
            end = start + len(chunk)
            window = name[start:end]
            if len(window) == len(chunk) and all(map(fits, chunk, window)) and (not last or end == len(name)):
                break
            if index == 0 or start >= len(name) or name[start] == "/":
                return False
            start += 1
        at = end
    return True


PATTERNS = st.text(alphabet="ab-^*?[]\\/", max_size=8)
NAMES = st.text(alphabet="ab-^*[]\\/", max_size=8)


@given(pattern=PATTERNS, name=NAMES)
def test_a_pattern_means_what_the_grammar_says(pattern: str, name: str) -> None:
    try:
        expected = matches(terms_of(pattern), name)
    except Malformed:
        with pytest.raises(TargetError):
            compile_glob(pattern)
    else:
        assert bool(compile_glob(pattern).fullmatch(name)) is expected


@given(name=st.text(max_size=20))
def test_an_escaped_name_matches_itself_alone(name: str) -> None:
    pattern = compile_glob("".join(f"\\{character}" for character in name))
    assert pattern.fullmatch(name)
    assert not pattern.fullmatch(f"{name}a")
