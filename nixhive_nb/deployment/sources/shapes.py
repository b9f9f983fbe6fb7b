"""Data of other formats as types of ours: what is of another type is told in the words of a deployment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from nixhive_nb.deployment.node import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_WRONG = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?(.*)`)?")
_BOUND = re.compile(r"Expected `[^`]+` > 0(?:\.0)? - at `\$\.?(.*)`")
_LACKING = re.compile(r"Object missing required field `([^`]+)`(?: - at `\$\.?(.*)`)?")
_BY_JSON = {
    "array": KINDS["list"],
    "bool": KINDS["bool"],
    "float": KINDS["float"],
    "int": KINDS["int"],
    "null": KINDS["null"],
    "object": KINDS["set"],
    "str": KINDS["string"],
}


def of_type(value: Any, kind: type[T]) -> T:  # noqa: ANN401 - what JSON gave
    """Return a value as a type of ours. Raises `ValueError` with what is of another type."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise ValueError(in_words(error)) from None


def each_of_type(values: Mapping[str, Any], kind: type[T], whose: str, problems: list[str]) -> dict[str, T]:
    """Return the values that are of a type, by name. Each other one is a problem: `whose` and its name stand before."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = of_type(value, kind)
        except ValueError as error:
            problems.append(f"{whose} {name}: {error}.")
    return found


def in_words(error: msgspec.ValidationError) -> str:
    """Return what is of a wrong type: "`hostname` is a number, not a string"."""
    text = str(error)
    if wrong := _WRONG.fullmatch(text):
        wanted, got, path = wrong.groups()
        return f"{_named(path) or 'it'} is {_kinds(got)}, not {_kinds(wanted)}"
    if lacking := _LACKING.fullmatch(text):
        return f"{_named('.'.join(part for part in (lacking[2], lacking[1]) if part))} is missing"
    if bound := _BOUND.fullmatch(text):
        return f"{_named(bound[1])} is not more than 0"
    return text


def _named(path: str | None) -> str:
    # A name that anybody may have given is left out.
    return f"`{path.replace('[...]', '.…')}`" if path else ""


def _kinds(names: str) -> str:
    kinds = [_BY_JSON.get(name, name) for name in names.split(" | ")]
    # What is null is not set, which nobody would write to mend it.
    return " or ".join([kind for kind in kinds if kind != KINDS["null"]] or kinds)
