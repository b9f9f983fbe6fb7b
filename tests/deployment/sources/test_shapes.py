"""What is of another type than a format has it, in words."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import pytest

from nixhive_nb.deployment.node import KINDS
from nixhive_nb.deployment.sources.flakes import own_file
from nixhive_nb.deployment.sources.shapes import each_of_type, of_type


class Inner(msgspec.Struct, frozen=True):
    words: list[str] = []
    seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Outer(msgspec.Struct, frozen=True):
    name: str
    inner: Inner = Inner()
    by_name: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": 5}, "`name` is a number, not a string"),
        ({"name": None}, "`name` is null, not a string"),
        ({}, "`name` is missing"),
        ([], "it is a list, not an attribute set"),
        ({"name": "a", "inner": {"words": "one"}}, "`inner.words` is a string, not a list"),
        ({"name": "a", "inner": {"words": ["one", True]}}, "`inner.words[1]` is a boolean, not a string"),
        ({"name": "a", "inner": {"seconds": "5"}}, "`inner.seconds` is a string, not a number"),
        ({"name": "a", "inner": {"seconds": 0}}, "`inner.seconds` is not more than 0"),
        ({"name": "a", "by_name": {"x": {"words": {}}}}, "`by_name.….words` is an attribute set, not a list"),
    ],
)
def test_the_attribute_and_both_types_are_told(value, said):
    with pytest.raises(ValueError, match=r".") as wrong:
        of_type(value, Outer)
    assert str(wrong.value) == said


def test_nix_has_the_same_words_for_its_types():
    said = re.findall(r'^  (\w+) = "(.*)";$', own_file("kind_of").read_text(), re.MULTILINE)
    assert dict(said) == {kind: word for kind, word in KINDS.items() if kind != "derivation"}


def test_of_many_each_that_is_wrong_is_a_problem_by_its_name():
    problems = []
    found = each_of_type({"a": {"name": "a"}, "b": {"name": 1}, "c": 2}, Outer, "node", problems)
    assert found == {"a": Outer("a")}
    assert problems == [
        "node b: `name` is a number, not a string.",
        "node c: it is a number, not an attribute set.",
    ]
