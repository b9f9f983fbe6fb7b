"""Count what docs/architecture.md tells of the code, as rows of Markdown or as JSON.

usage: measures.py [--json] [--write] [--static] [TREE…]

Each TREE is a folder with a checkout or a commit of this one; without any: the last one without rooms, and this folder.
What ran in a deploy and in a probe is counted on practice fleets (`traced.py`), which needs root; `--static` leaves
that out. `make measures` does all of it, and `--write` puts the table into docs/architecture.md.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEFORE = "ffb20ea"
PACKAGE = "nixhive_nb"
SOURCES = (".py", ".nix", ".sh", ".js", ".css")
SMALL, LARGE = 40, 400
BEGIN, END = "<!-- measures: make measures -->", "<!-- end of measures -->"
OPTIONS = ("canary", "max_failures", "reboot_timeout", "stall_timeout", "activation_timeout")
"""Options of a deploy whose names mean nothing else in the rooms where options are declared."""
OPTION_ROOMS = ("commands", "plan", "view")
NOT_COUNTED = "not counted"

Row = tuple[str, str]


def sources(tree: Path) -> list[Path]:
    """Return the files of the package that a person wrote, in order."""
    package = tree / PACKAGE
    return sorted(path for path in package.rglob("*") if path.suffix in SOURCES and "__pycache__" not in path.parts)


def parsed(tree: Path) -> dict[str, ast.Module]:
    """Return the package's modules by their path below it."""
    python = [path for path in sources(tree) if path.suffix == ".py"]
    return {str(path.relative_to(tree / PACKAGE)): ast.parse(path.read_text()) for path in python}


def lines_of(path: Path) -> int:
    """Return the number of lines of a file."""
    return path.read_text().count("\n")


def classes_used_twice(modules: dict[str, ast.Module]) -> list[str]:
    """Return the names that two classes of the package have, or more."""
    nodes = (node for module in modules.values() for node in ast.walk(module))
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    return sorted(name for name, count in names.items() if count > 1)


def docstrings(modules: dict[str, ast.Module]) -> list[str]:
    """Return every docstring of a function."""
    nodes = (node for module in modules.values() for node in ast.walk(module))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [text for text in map(ast.get_docstring, functions) if text]


def option_places(modules: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return where each option is written: `FILE:FUNCTION` or `FILE:NAME`, at the top of a file.

    A place is where its name stands as a field, a keyword or a text, and not where the value is used
    (`options.canary`).
    """
    found: dict[str, set[str]] = defaultdict(set)
    for file, module in modules.items():
        if file.split("/")[0] not in OPTION_ROOMS:
            continue
        for node in module.body:
            for word in _words(node):
                name = word.removeprefix("--").replace("-", "_")
                if name in OPTIONS:
                    found[name].add(f"{file}:{_name_of(node)}")
    return {name: sorted(found[name]) for name in OPTIONS}


def _words(node: ast.AST) -> Iterator[str]:
    """Return the names of fields and keywords below a node, and its texts."""
    for below in ast.walk(node):
        match below:
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.Constant(value=str(text)):
                yield text


def _name_of(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else f"line {node.lineno}"


def static_measures(tree: Path) -> dict[str, Any]:
    """Return what can be counted by reading a tree."""
    files, modules = sources(tree), parsed(tree)
    python = {path: lines_of(path) for path in files if path.suffix == ".py"}
    texts = docstrings(modules)
    places = option_places(modules)
    return {
        "python_files": len(python),
        "other_files": len(files) - len(python),
        "python_lines": sum(python.values()),
        "other_lines": sum(lines_of(path) for path in files if path.suffix != ".py"),
        "small": sum(1 for path, lines in python.items() if lines < SMALL and path.name != "__init__.py"),
        "large": sorted(str(path.relative_to(tree / PACKAGE)) for path, lines in python.items() if lines > LARGE),
        "twice": classes_used_twice(modules),
        "option_places": places,
        "docstrings": len(texts),
        "give": sum(1 for text in texts if re.match(r"Give\b", text)),
    }


def traced_measures(tree: Path) -> dict[str, Any]:
    """Return what is seen when a tree's code runs on a practice fleet."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for what in ("terminal", "notebook", "probe"):
            result = Path(scratch, f"{what}.json")
            argv = [sys.executable, str(ROOT / "tools" / "traced.py"), str(tree), what, str(result)]
            environment = {**os.environ, "PYTHONPATH": str(tree), "NO_COLOR": "1", "IPYTHONDIR": scratch}
            done = subprocess.run(
                argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{' '.join(argv[1:])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
            found[what] = json.loads(result.read_text())
    return found


def hops(way: Sequence[str]) -> list[str]:
    """Return the functions from that of the command to that of the step, without what wraps them."""
    first = next((at for at, hop in enumerate(way) if hop.startswith("commands/")), 0)
    return [hop for hop in way[first:] if "<locals>" not in hop]


def files_of(way: Iterable[str]) -> list[str]:
    """Return the files of functions, each once."""
    return list(dict.fromkeys(hop.partition(":")[0] for hop in way))


def rows(measures: dict[str, Any]) -> list[Row]:
    """Return the measures of one tree as they stand in the table."""
    places = [len(found) for found in measures["option_places"].values()]
    found = [
        (
            "files of the package: Python, and others (Nix, shell, JavaScript, CSS)",
            f"{measures['python_files']} and {measures['other_files']}",
        ),
        ("lines of these", f"{measures['python_lines']:,} and {measures['other_lines']:,}"),
        (f"Python files under {SMALL} lines (`__init__.py` apart)", str(measures["small"])),
        (f"Python files over {LARGE} lines", str(len(measures["large"]))),
        ("class names that are used twice", str(len(measures["twice"]))),
        (
            f"places where an option of a deploy is written: the mean of {len(places)} options, and the most",
            f"{sum(places) / len(places):.1f}, {max(places)}",
        ),
        (
            'docstrings of functions that begin with "Give", of all',
            f"{measures['give']} of {measures['docstrings']}",
        ),
    ]
    traced = measures.get("traced")
    return found + (_traced_rows(traced) if traced else [])


def _traced_rows(traced: dict[str, Any]) -> list[Row]:
    way = hops(traced["terminal"]["hops"])
    probe = traced["probe"]
    return [
        ("files of ours that `nix-hive deploy -c example portico '*'` touches", _touched(traced["terminal"])),
        ("files of ours that the same line of `%hive` touches", _touched(traced["notebook"])),
        (
            "functions of ours that one probe of one host runs: with the login, and on a connection that is there",
            f"{probe['cold']['functions']}, {probe['warm']['functions']}",
        ),
        (
            "from the command to the function of the step `activate`: files, and functions",
            f"{len(files_of(way))}, {len(way)}" if way else NOT_COUNTED,
        ),
    ]


def _touched(seen: dict[str, Any]) -> str:
    return f"{len(seen['files'])} ({len(seen['functions'])} functions)"


def table(names: Sequence[str], columns: Sequence[Sequence[Row]]) -> str:
    """Return the trees side by side, a row a measure."""
    lines = [f"| measure | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    cells = [dict(column) for column in columns]
    lines += [
        f"| {name} | {' | '.join(column.get(name, NOT_COUNTED) for column in cells)} |"
        for name in dict.fromkeys(name for column in columns for name, _ in column)
    ]
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put the table between the marks of a page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for the table: {BEGIN} … {END}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def measured(tree: str, scratch: Path, *, static: bool) -> dict[str, Any]:
    """Return all measures of a folder, or of a commit, which is unpacked below `scratch`."""
    folder = Path(tree).resolve()
    if not (folder / PACKAGE).is_dir():
        folder = scratch / tree
        folder.mkdir()
        archive = subprocess.run(["git", "archive", tree], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    found = static_measures(folder)
    return found if static else {**found, "traced": traced_measures(folder)}


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trees", metavar="TREE", nargs="*", default=[BEFORE, str(ROOT)])
    parser.add_argument("--json", action="store_true", help="print all that was counted, with the names")
    parser.add_argument("--static", action="store_true", help="only what can be counted without a practice fleet")
    parser.add_argument("--write", action="store_true", help="put the table into docs/architecture.md")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = {tree: measured(tree, Path(scratch), static=words.static) for tree in words.trees}
    names = [f"before (`{tree}`)" if tree == BEFORE else "now" if tree == str(ROOT) else tree for tree in found]
    text = table(names, [rows(one) for one in found.values()])
    if words.write:
        write(PAGE, text)
    print(json.dumps(found, indent=2) if words.json else text)


if __name__ == "__main__":
    main()
