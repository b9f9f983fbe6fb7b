"""What we use of IPython and ipykernel though they never promised it, and of Python's frames: here, and nowhere else.

Any release may change it: `[tool.nixhive_nb.unpromised]` in `pyproject.toml` has the names and the ceilings,
`tests/notebook/test_private.py` fails where a newer one does so. Of JupyterLab's page it is `widgets/jupyterlab.js`.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from IPython.core.getipython import get_ipython
from IPython.core.inputtransformer2 import (
    assemble_continued_line,
    find_end_of_continued_line,
    make_tokens_by_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.magic import Magics


def in_kernel() -> bool:
    """Return whether we run in a kernel, where what was displayed can be renewed."""
    return getattr(get_ipython(), "kernel", None) is not None


def is_attended() -> bool:
    """Return whether a person is at the kernel: nbclient and papermill say with each cell that nobody can be asked."""
    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))


def magics_of(shell: InteractiveShell, kind: type[Magics]) -> Any:  # noqa: ANN401 - what IPython made of the class
    """Return the magics of a class that a shell has made, None where there are none."""
    manager: Any = shell.magics_manager
    return manager.registry.get(kind.__name__)


def drop_magics(shell: InteractiveShell, kind: type[Magics], name: str) -> None:
    """Take the magics of a class away, with their words for a line and for a cell. IPython itself has no such thing."""
    manager: Any = shell.magics_manager
    manager.registry.pop(kind.__name__, None)
    for where in ("line", "cell"):
        manager.magics[where].pop(name, None)


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of a cell that is not transformed yet: it may go on over several lines, each with a backslash."""

    first: int
    """The line that it begins in, from 0."""
    column: int
    """Where in that it begins."""
    last: int
    """The line that it ends in."""
    begins: str
    """Its first token."""
    ends: str
    """Its last token."""
    text: str


def statements(lines: list[str]) -> Iterator[Statement]:
    """Return what stands in a cell by tokens, so that a line inside a longer text is none."""
    for tokens in make_tokens_by_line(lines):
        words = [token for token in tokens if token.string.strip()]
        if words:
            first, column = words[0].start[0] - 1, words[0].start[1]
            last = min(find_end_of_continued_line(lines, first), len(lines) - 1)
            text = assemble_continued_line(lines, (first, column), last)
            yield Statement(
                first=first, column=column, last=last, begins=words[0].string, ends=words[-1].string, text=text
            )


_RUNNERS = ("run_line_magic", "run_cell_magic")
"""The functions of IPython that run a magic."""


def stands_alone() -> bool:
    """Return whether the magic that runs now is a statement by itself; False when that cannot be told.

    `df = %hive build` is to give the DataFrame, and `%hive build` to show the record and no table below. A value that
    shows itself cannot do that: it would have to be the DataFrame, which then were a record wherever else it is shown;
    and IPython has only the last expression of a cell show itself, while `%hive status` shows what it found in the
    middle of a cell as well, in a block and in a loop.

    The source of a cell is known to `linecache`, and the place of the call in it to the frame.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the way to one's caller
    while frame is not None and frame.f_code.co_name not in _RUNNERS:
        frame = frame.f_back
    caller = frame.f_back if frame is not None else None
    if caller is None:
        return False
    end = _end_of_call(caller)
    source = "".join(linecache.getlines(caller.f_code.co_filename, caller.f_globals))
    try:
        tree = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return False
    return any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and (node.value.end_lineno, node.value.end_col_offset) == end
        for node in ast.walk(tree)
    )


def _end_of_call(frame: FrameType) -> tuple[int | None, int | None]:
    """Return the line and column where the call ends that a frame is in the middle of."""
    positions = itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
    _, line, _, column = next(positions, (None, None, None, None))
    return line, column
