"""Rows in which each value of a factor meets each value of every other one: fewer than all, and the same each time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Row = dict[str, str]
Pair = frozenset[tuple[str, str]]


def pairs_of(row: Mapping[str, str]) -> set[Pair]:
    """Return the pairs of values that meet in a row."""
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def all_pairs(factors: Mapping[str, Sequence[str]], *, fits: Callable[[Row], bool] = bool) -> set[Pair]:
    """Return the pairs that are to meet: all but those that no row may have, by what `fits` says of two."""
    found = set()
    for (one, ones), (two, twos) in itertools.combinations(factors.items(), 2):
        for first, second in itertools.product(ones, twos):
            if fits({one: first, two: second}):
                found.add(frozenset({(one, first), (two, second)}))
    return found


def covering(factors: Mapping[str, Sequence[str]], *, fits: Callable[[Row], bool] = bool) -> list[Row]:
    """Return rows in which each pair meets. Each begins with a pair that is missing, and takes on as many as it can."""
    missing = all_pairs(factors, fits=fits)
    rows = []
    while missing:
        row: Row = dict(sorted(min(missing, key=sorted)))
        for name, values in factors.items():
            if name not in row:
                able = [value for value in values if fits({**row, name: value})]
                row[name] = max(able, key=lambda value: len(pairs_of({**row, name: value}) & missing))
        rows.append({name: row[name] for name in factors})
        missing -= pairs_of(row)
    return rows
