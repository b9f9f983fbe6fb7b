"""The order in which people count."""

from __future__ import annotations

import pytest

from nixhive_nb.util.order import natural


@pytest.mark.parametrize(
    "names",
    [
        ["www-1", "www-2", "www-10"],
        ["1", "2", "10"],
        ["", "1", "a"],
        ["a1b2", "a1b10", "a2b1"],
        ["www", "www-1"],
        ["www-01", "www-1", "www-02"],
        ["db", "www"],
    ],
)
def test_numbers_in_names_count_as_numbers(names):
    names.reverse()
    assert sorted(names, key=natural) == names[::-1]
