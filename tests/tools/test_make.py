"""The Makefile: what it starts ends with it."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests import side_by_side


@pytest.mark.parametrize("target", ["demo", "test", "test-fast", "test-lowest", "test-nix", "bench", "soak"])
def test_what_make_starts_ends_with_the_shell_that_make_ends(target):
    """TERM for make ended its shell, and left what that had started: all tests went on, with their fleets."""
    words = ["make", "--dry-run", "--always-make", "--no-print-directory", target]
    said = subprocess.run(words, cwd=side_by_side.ROOT, capture_output=True, text=True, check=False).stdout
    long = [
        found
        for line in said.splitlines()
        if (found := re.match("(.*)(-m pytest|demo.py \\||-m benchmarks.* </dev)", line))
    ]
    assert long, said
    assert all("setpriv --pdeathsig TERM " in found[1] for found in long)
