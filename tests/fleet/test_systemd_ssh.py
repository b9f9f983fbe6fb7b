"""Wherever `ssh -o BatchMode=yes` gets in, every word does: some rows of the matrix on hosts with systemd."""

from __future__ import annotations

import pytest

from tests.fleet.every_word import holds, rows_of, said_by
from tests.fleet.matrix import REAL_KINDS, REAL_ROWS, matrix

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300), pytest.mark.usefixtures("systemd_hosts")]


@pytest.fixture(scope="module")
def said(tmp_path_factory, systemd_hosts):
    """What is said of all hosts, each as its row says."""
    with matrix(tmp_path_factory.mktemp("matrix"), REAL_ROWS, REAL_KINDS) as fleet:
        yield said_by(fleet)


@pytest.mark.parametrize(("host", "row", "kind"), rows_of(REAL_ROWS, *REAL_KINDS))
def test_a_host_with_systemd_that_ssh_reaches_is_reached_by_every_word(host, row, kind, said):
    holds(said, host, row, kind)
