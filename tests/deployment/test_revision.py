"""A revision in words."""

from __future__ import annotations

import pytest

from nixhive_nb.deployment.revision import is_of, short_revision


@pytest.mark.parametrize(
    ("said", "wanted", "is_meant"),
    [
        ("1a2b3c4d5e6f", "1a2b", True),
        ("1a2b3c4d5e6f", "1a2c", False),
        ("1a2b3c4d5e6f-dirty", "1a2b3c", True),
        ("1a2b3c4d5e6f-dirty", "1a2b3c-dirty", True),
        ("1a2b3c4d5e6f", "1a2b3c-dirty", False),
        ("1a2b3c4d5e6f-dirty", "dirty", True),
        ("1a2b3c4d5e6f", "dirty", False),
        ("", "unknown", True),
        ("1a2b3c4d5e6f", "unknown", False),
        ("", "dirty", False),
        ("", "1a2b", False),
        ("v1.2", "v1.2", True),
    ],
)
def test_a_revision_is_meant_by_its_beginning(said, wanted, is_meant):
    assert is_of(said, wanted) is is_meant


def test_in_a_table_a_commit_has_twelve_digits():
    assert short_revision("ab" * 20) == "abababababab"
    assert short_revision(f"{'ab' * 20}-dirty") == "abababababab-dirty"
    assert short_revision("release-2026.11") == "release-2026.11"
    assert short_revision("") == ""
