"""What docs/architecture.md says of the code's size and hops is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import measures

ROOT = Path(__file__).parent.parent.parent
OPTIONS = '''
"""Options."""


class How:
    """Words."""

    canary: int = 0


def words(how):
    """Give words."""
    return click("--canary", canary=how.canary)


def used(options):
    """Return a value that is only used here."""
    return options.canary
'''


@pytest.fixture
def tree(tmp_path):
    """A small package."""
    files = {
        "plan/options.py": OPTIONS,
        "plan/long.py": "class How:\n    pass\n" + "one = 1\n" * 450,
        "plan/__init__.py": "",
        "hosts/word.sh": "true\nfalse\n",
        "hosts/canary.py": "canary: int = 0\n",
    }
    for name, text in files.items():
        path = tmp_path / "nixhive_nb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_tree_is_counted_by_reading_it(tree):
    found = measures.static_measures(tree)
    places = found.pop("option_places")
    assert found == {
        "python_files": 4,
        "other_files": 1,
        "python_lines": OPTIONS.count("\n") + 452 + 1,
        "other_lines": 2,
        "small": 2,
        "large": ["plan/long.py"],
        "twice": ["How"],
        "docstrings": 2,
        "give": 1,
    }
    assert places["canary"] == ["plan/options.py:How", "plan/options.py:words"]
    assert places["max_failures"] == []


def test_the_way_of_a_deploy_begins_with_its_command():
    way = [
        "cli/main.py:main",
        "commands/changing.py:deploy",
        "hive.py:once.<locals>.call",
        "hive.py:Hive.plan",
        "hive.py:Hive.execute",
    ]
    assert measures.hops(way) == ["commands/changing.py:deploy", "hive.py:Hive.plan", "hive.py:Hive.execute"]
    assert measures.files_of(measures.hops(way)) == ["commands/changing.py", "hive.py"]


def test_a_table_has_a_column_for_each_tree_and_stands_between_the_marks_of_the_page(tmp_path):
    text = measures.table(["before", "now"], [[("lines", "7"), ("files", "2")], [("lines", "5")]])
    assert text.splitlines() == [
        "| measure | before | now |",
        "| --- | --- | --- |",
        "| lines | 7 | 5 |",
        f"| files | 2 | {measures.NOT_COUNTED} |",
    ]
    page = tmp_path / "page.md"
    page.write_text(f"above\n{measures.BEGIN}\nold\n{measures.END}\nbelow\n")
    measures.write(page, text)
    assert page.read_text() == f"above\n{measures.BEGIN}\n{text}\n{measures.END}\nbelow\n"
    page.write_text("no marks\n")
    with pytest.raises(SystemExit, match="no place for the table"):
        measures.write(page, text)


def test_the_page_names_each_measure_in_its_order(tree):
    """The numbers are those of the day on which somebody counted; that they are about the same things is held here."""
    names = [name for name, _ in measures.rows(measures.static_measures(tree))]
    held = measures.PAGE.read_text().partition(measures.BEGIN)[2].partition(measures.END)[0]
    written = [line.split(" | ")[0].removeprefix("| ") for line in held.strip().splitlines()[2:]]
    assert written[: len(names)] == names
    assert len(written) == len(names) + 4


@pytest.mark.fleet
def test_what_one_probe_of_a_host_runs_is_seen(tmp_path):
    result = tmp_path / "seen.json"
    argv = [sys.executable, str(ROOT / "tools" / "traced.py"), str(ROOT), "probe", str(result)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
    seen = json.loads(result.read_text())
    assert 0 < seen["warm"]["functions"] < seen["cold"]["functions"]
