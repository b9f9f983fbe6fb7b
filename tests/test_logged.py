"""Every exception that is handled and not shown leaves its trace in the log (C6): held for the whole package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nixhive_nb

PACKAGE = Path(nixhive_nb.__file__).parent
BROAD = {"Exception", "BaseException", ""}
EXPECTED = {
    "CancelledError", "Cancelled", "KeyboardInterrupt", "RunInterrupted", "Abort", "Exit",  # signals, not failures
    "Empty", "StopIteration", "ProcessLookupError", "ValueError", "KeyError", "IndexError", "NameError", "SyntaxError",
    "UnicodeEncodeError", "UnicodeDecodeError", "binascii.Error", "DecodeError", "TypeError",  # the answer "no"
    "FileNotFoundError", "BlockingIOError", "TimeoutExpired", "PackageNotFoundError",
    "ssl.SSLWantReadError", "ssl.SSLZeroReturnError",
}  # fmt: skip
"""Exceptions that are how one asks, or how one is told: they need no line."""
THE_LOG = ("log.py", "swallowed.py")
"""What the log is made of cannot log: `log.trouble` tells of its failures, and `swallowed` is how others do it."""
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.name not in THE_LOG]


def _names(node):
    match node:
        case None:
            return {""}
        case ast.Tuple():
            return {name for one in node.elts for name in _names(one)}
        case ast.Starred():
            return {ast.unparse(node.value)}
    return {ast.unparse(node)}


def _short(name):
    return name if name in EXPECTED else name.rpartition(".")[2]


def _logs(body):
    calls = [node.func for part in body for node in ast.walk(part) if isinstance(node, ast.Call)]
    return any(isinstance(func, ast.Attribute) and ast.unparse(func.value) == "_log" for func in calls)


def _raises_always(body):
    return any(isinstance(part, ast.Raise) for part in body)


def _uses(handler):
    return handler.name is not None and any(
        isinstance(node, ast.Name) and node.id == handler.name for part in handler.body for node in ast.walk(part)
    )


def _silent(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            names = {_short(name) for name in _names(node.type)}
            if _logs(node.body) or _raises_always(node.body):
                continue
            if names & BROAD or (names - EXPECTED and not _uses(node)):
                yield node.lineno, sorted(names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("suppress", "contextlib.suppress"):
            names = {_short(name) for one in node.args for name in _names(one)}
            if names - EXPECTED:
                yield node.lineno, sorted(names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_exception_is_swallowed_without_a_line_in_the_log(file):
    """C6: one that is raised anew, shown, or an answer that was asked for, needs none; `Exception` always does."""
    assert list(_silent(ast.parse(file.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "try:\n  f()\nexcept Exception as error:\n  tell(error)",
        "try:\n  f()\nexcept:\n  pass",
        "try:\n  f()\nexcept OSError:\n  return None",
        "with contextlib.suppress(Exception):\n  f()",
        "with suppress(OSError, ValueError):\n  f()",
    ],
)
def test_what_is_swallowed_is_found(text):
    assert list(_silent(ast.parse(text)))
