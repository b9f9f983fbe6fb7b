"""docs/architecture.md tells of the rooms and of the way of a deploy as they are."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from tests.pages import ROOT
from tools import rooms

PACKAGE = ROOT / "nixhive_nb"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
WAY = ARCHITECTURE.read_text().partition("## The way of one deploy\n")[2].partition("\n## ")[0]


def hops():
    """Return the functions of the table, each as (file, function)."""
    rows = re.findall(r"^\| [^|]+ \| `([\w/]+\.py)` \| ([^|]+) \|", WAY, re.MULTILINE)
    return [(file, function) for file, cell in rows for function in re.findall(r"`([\w.]+)`", cell)]


def functions_of(file):
    """Return the functions of a file: `name`, and `Class.name` for methods."""
    found = set()
    for node in ast.parse((PACKAGE / file).read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        found |= {f"{prefix}{one.name}" for one in inner if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


def test_the_picture_of_the_rooms_is_drawn_from_the_import_contracts():
    text = ARCHITECTURE.read_text()
    assert text == rooms.drawn_into(text), "To draw it anew: python tools/rooms.py --write"


def test_the_picture_names_every_room():
    text = rooms.picture()
    for path in PACKAGE.iterdir():
        if path.name not in ("__pycache__", "__init__.py", "py.typed"):
            assert rooms.written(path.stem) in text


def test_a_page_without_a_place_for_the_picture_is_refused():
    with pytest.raises(SystemExit, match="no place for the rooms"):
        rooms.drawn_into("# A page\n")


@pytest.mark.parametrize(("file", "function"), hops())
def test_each_hop_of_a_deploy_is_there(file, function):
    assert function in functions_of(file)


@pytest.mark.fleet
def test_a_deploy_takes_the_way_that_is_told(tmp_path):
    result = tmp_path / "seen.json"
    argv = [sys.executable, str(ROOT / "tools" / "traced.py"), str(ROOT), "terminal", str(result)]
    subprocess.run(
        argv,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    called = {tuple(one.split(":")[:2]) for one in json.loads(result.read_text())["functions"]}
    assert set(hops()) - called == set()
