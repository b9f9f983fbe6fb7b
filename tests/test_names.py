"""One name, one class: whoever reads `Wave` somewhere in the package knows which one it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import nixhive_nb

PACKAGE = Path(nixhive_nb.__file__).parent
SAME = {
    # The name of the settings in `%config Hive` and `c.Hive`; the class of the API is what they are the settings of.
    "Hive": {"hive.py", "notebook/settings.py"},
}


def classes() -> dict[str, set[str]]:
    """The files that define a class of a name."""
    found = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].add(path.relative_to(PACKAGE).as_posix())
    return found


def test_a_class_has_a_name_of_its_own():
    assert {name: files for name, files in classes().items() if len(files) > 1} == SAME
