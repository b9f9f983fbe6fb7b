"""The benchmarks on a fleet of two: each way of a row does its work, on all hosts, and the page says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import page
from tests.pages import ROOT

pytestmark = pytest.mark.fleet

ROWS = ("redeploy", "first-32", "run-warm")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    words = ["--hosts", "2", "--rounds", "1", "--folder", str(folder), "--page", str(folder / "page.md"), *ROWS]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.mark.parametrize("row", ROWS)
def test_each_way_of_a_row_does_its_work_on_all_hosts(bench, row):
    found = page.read(bench / f"{row}.json")
    assert found.hosts == 2
    assert {name: way.error for name, way in found.ways.items() if way.error} == {}
    assert {name: len(way.tries) for name, way in found.ways.items()} == dict.fromkeys(found.ways, 1)
    assert [one.failed for way in found.ways.values() for one in way.tries if one.failed] == []
    assert all(one.everywhere is not None for way in found.ways.values() for one in way.tries)


def test_the_page_has_what_was_measured_and_says_what_was_not(bench):
    text = (bench / "page.md").read_text()
    assert "make bench ROWS=redeploy HOSTS=2 ROUNDS=1" in text
    assert "Not measured yet: `make bench ROWS=large`." in text
