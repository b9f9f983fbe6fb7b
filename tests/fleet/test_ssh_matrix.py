"""Wherever `ssh -o BatchMode=yes` gets in, every word does: one light host for each row of a matrix, on real sshd."""

from __future__ import annotations

import shutil

import pytest

from tests.fleet.every_word import holds, rows_of, said_by
from tests.fleet.matrix import FACTORS, ROWS, SHELLS, matrix
from tests.fleet.pairs import all_pairs, pairs_of

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What is said of all hosts, each as its row says."""
    if missing := [program for program in (*SHELLS.values(), "doas") if shutil.which(program) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with matrix(tmp_path_factory.mktemp("matrix")) as fleet:
        yield said_by(fleet)


def test_each_value_meets_each_other():
    met = set().union(*map(pairs_of, ROWS))
    assert met == all_pairs(FACTORS)


@pytest.mark.parametrize(("host", "row", "kind"), rows_of(ROWS))
def test_a_host_that_ssh_reaches_is_reached_by_every_word(host, row, kind, said):
    holds(said, host, row, kind)
