"""Whether somebody takes the value of a magic: `df = %hive build` does, `%hive build` alone does not."""

from __future__ import annotations

import ast
import itertools
import linecache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_RUNNERS = ("run_line_magic", "run_cell_magic")


def stands_alone(frame: FrameType | None) -> bool:
    """Return whether the magic that runs in `frame` is a statement by itself; False when that cannot be told.

    The source of a cell is known to `linecache`, and the place of the call in it to the frame.
    """
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
