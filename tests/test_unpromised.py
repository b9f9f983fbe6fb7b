"""Finding C5: what we use of others though they never promised it is listed, and each of them has a ceiling.

The list is `[tool.nixhive_nb.unpromised]` in pyproject.toml: by package, by file, the names. It is held to the code:
what has an underscore and is not ours must be listed, and what is listed must stand in that file and in the
package that is installed. What has no underscore cannot be found so; a person lists it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import nixhive_nb

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nixhive_nb"
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = CONFIG["project"]
UNPROMISED: dict[str, dict[str, list[str]]] = CONFIG["tool"]["nixhive_nb"]["unpromised"]
ROWS = [
    (package, file, name) for package, files in UNPROMISED.items() for file, names in files.items() for name in names
]
LISTED = {(file, name) for _, file, name in ROWS}
IMPORTED_AS = {"ipython": "IPython"}

PROMISED = {
    "_replace": "of a named tuple",
    "_esm": "of anywidget",
    "_css": "of anywidget",
    "_metadata": "of pandas, for classes made of a DataFrame",
}
"""Names with an underscore that are documented. Those of IPython (`_repr_html_`) end in one as well."""


def private(name: str) -> bool:
    return bool(re.fullmatch(r"_[A-Za-z]\w*(?<!_)", name)) and name not in PROMISED


def trees(folder: Path) -> dict[str, ast.Module]:
    return {path.relative_to(folder).as_posix(): ast.parse(path.read_text()) for path in folder.rglob("*.py")}


def own(tree: ast.AST) -> set[str]:
    """The names that code defines: functions, classes, variables, attributes that it sets."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def taken(tree: ast.AST, ours: set[str]) -> set[str]:
    """The names with an underscore that code takes from elsewhere, whether written out or in a `getattr`."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()) | ast.alias(name=name):
                found.add(name)
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[_, ast.Constant(str(name)), *_]):
                found.add(name)
    return {name for name in found if private(name) and name not in ours}


def replaced() -> set[tuple[str, str]]:
    """The names with an underscore that classes of ours have over those of a class of others."""
    found, written = set(), {file: own(tree) for file, tree in trees(PACKAGE).items()}
    for module in pkgutil.walk_packages(nixhive_nb.__path__, "nixhive_nb."):
        if module.name.endswith("__main__"):
            continue
        for one in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(one) and one.__module__ == module.name:
                others = [base for base in one.__mro__[1:] if not base.__module__.startswith("nixhive_nb")]
                file = Path(inspect.getsourcefile(one)).relative_to(PACKAGE).as_posix()
                names = filter(private, vars(one).keys() & written[file])  # the others are made by metaclasses
                found |= {(file, name) for name in names if any(name in vars(base) for base in others)}
    return found


@functools.cache
def words(package: str) -> str:
    """The source of a package that is installed."""
    (place,) = find_spec(IMPORTED_AS.get(package, package)).submodule_search_locations
    return "\n".join(path.read_text(errors="replace") for path in Path(place).rglob("*.py"))


def test_what_is_taken_from_others_under_an_underscore_is_listed():
    found = trees(PACKAGE)
    ours = {name for tree in found.values() for name in own(tree)}
    assert {(file, name) for file, tree in found.items() for name in taken(tree, ours)} <= LISTED


def test_what_is_replaced_in_classes_of_others_under_an_underscore_is_listed():
    assert replaced() <= LISTED


def test_this_finds_what_is_not_ours():
    code = (
        "from a import _b\nclass C:\n  def _own(self): self._own(); self._c(); d._e\ngetattr(f, '_g', 0); h._replace()"
    )
    tree = ast.parse(code)
    assert taken(tree, own(tree)) == {"_b", "_c", "_e", "_g"}


@pytest.mark.parametrize(("package", "file", "name"), ROWS)
def test_what_is_listed_stands_there(package, file, name):
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    assert word.search((PACKAGE / file).read_text()), f"{file} does not use {name}"
    if package != "python" and file.endswith(".py"):
        assert word.search(words(package)), f"{package} has no {name}"


def test_those_and_only_those_have_a_ceiling():
    """Python has none: on a newer one, installers would look for an older release of ours. The tests run on several."""
    extras = PROJECT["optional-dependencies"]
    every = [*PROJECT["dependencies"], *(one for extra in extras.values() for one in extra)]
    with_ceiling = {re.match(r"[\w-]+", one)[0] for one in every if "<" in one}
    assert with_ceiling == UNPROMISED.keys() - {"python"}
