"""The table of the programs in docs/versions.md is what was seen: it is compared with what this run runs on."""

from __future__ import annotations

import re

import pytest

from tests.pages import DOCS
from tests.programs import codename, versions

pytestmark = pytest.mark.nix


def table() -> dict[str, dict[str, str]]:
    """Return the table by the name of a release (`trixie`), then by program."""
    section = (DOCS / "versions.md").read_text().partition("## The machine and its hosts\n")[2]
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", section, re.MULTILINE)
    ]
    head, _, *body = rows
    return {title: {row[0]: row[at] for row in body} for at, title in enumerate(head) if title.startswith("Debian ")}


def test_the_table_of_programs_is_what_runs_here() -> None:
    told = next((column for title, column in table().items() if codename() and codename() in title), None)
    if told is None:
        pytest.skip(f"the table tells nothing of {codename() or 'this system'}")
    wrong = {name: (told[name], found) for name, found in versions().items() if not is_of(found, told[name])}
    assert wrong == {}


def is_of(found: str, told: str) -> bool:
    """Return whether a version is one of those that the table means: `257` means each 257.x."""
    return told != "" and re.split(r"[.p]", found)[: len(re.split(r"[.p]", told))] == re.split(r"[.p]", told)


@pytest.mark.parametrize(
    ("found", "told", "expected"),
    [
        ("257.13", "257", True),
        ("2.26.3", "2.26.3", True),
        ("2.26.30", "2.26.3", False),
        ("10.0p2", "10.0p2", True),
        ("10.0p2", "9.2p1", False),
        ("3.13.5", "", False),
    ],
)
def test_a_version_is_compared_part_by_part(found: str, told: str, expected: bool) -> None:  # noqa: FBT001
    assert is_of(found, told) is expected
