"""What tests of several rooms share."""

from __future__ import annotations

import pytest

from tests.practice import start


@pytest.fixture(scope="module")
def practice(tmp_path_factory):
    """One fleet for the tests of a module, with three web servers."""
    one = start(tmp_path_factory.mktemp("fleet"))
    yield one
    one.lab.down()
