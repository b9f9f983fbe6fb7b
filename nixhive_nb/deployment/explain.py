"""The short form of what Nix writes when an evaluation fails.

Nix prints the message and a stack of the frames that led to it: up to about 2.13 the message first and the innermost
frame next, since then the outermost frame first and the message last. A frame is `… what` and, where Nix knows it,
`at FILE:LINE:COLUMN:` with some lines of the source.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OWN_EXPRESSIONS = Path(__file__).resolve().parent
"""Positions in here are ours, and say nothing to a person."""

_LONGEST = 12  # lines of one message
_LAST_LINES = 5
_NOISE = re.compile(r"evaluating file '|\(use '--show-trace'|\(stack trace truncated|\s+\d*\| ?|\s+\|\s*\^")
_ERROR = re.compile(r"\s*error: *(\S.*)")
_POSITION = re.compile(r"\s*at (\S.*?):(\d+):(\d+):?\s*$")
_FILE = re.compile(r"\s*… while evaluating the file '(.+)'")
_CONTEXT = re.compile(r"\s*… nix-hive: (.+)")
_CONSEQUENCE = re.compile(
    r"\s*error: (\d+ dependenc|build of '"
    r"|Cannot build '.*'\.\n\s*Reason: \d+ dependenc)"  # since Nix 2.30
)
_MESSAGE_LAST = re.compile(r"error:\s*$")
_OUTPUTS = "Output paths:"
_GLUED = re.compile(r"^(\s*at .+:\d+:\d+:)(Did you mean)", re.MULTILINE)  # where Nix 2.8 shows no source
_HINT = re.compile(r"\s*(Did you mean .+)")


class _Message(msgspec.Struct, frozen=True):
    text: tuple[str, ...]
    place: str
    """`FILE:LINE:COLUMN` that stands right after the message; empty where Nix knows none."""
    hint: str


def explain(stderr: str, *, show_trace: bool = False) -> str:
    """Give what Nix wrote on its standard error as `FILE:LINE:COLUMN: message`, without the stack.

    A message that stands in the store is followed by the nearest place outside of it. `show_trace` gives everything
    that Nix wrote, without the list of the files that it read. A text without an error gives its last lines.
    """
    if show_trace:
        return "\n".join(line for line in stderr.splitlines() if not line.startswith("evaluating file '"))
    lines = [line for line in _GLUED.sub(r"\1\n\2", stderr).splitlines() if not _NOISE.match(line)]
    start = _last_error(lines)
    if start is None:
        return "\n".join([line for line in lines if line.strip()][-_LAST_LINES:])
    before, after = lines[:start], lines[start + 1 :]
    end = _frame_after(after)
    message = _message(lines[start], after[:end])
    # What failed may have been said before the stack of what needed it.
    message_last = any(map(_MESSAGE_LAST.match, after))
    behind = _innermost_first(after[end:]) if message_last else after[end:]
    return _short_form(message, [*behind, *_innermost_first(before)])


def _short_form(message: _Message, frames: Sequence[str]) -> str:
    places = list(_places(frames))
    theirs = next((place for place in places if not place.startswith("/nix/store/")), "")
    place = message.place or theirs
    lines = list(message.text)
    if place:
        lines[0] = f"{place}: {lines[0]}"
    if place.startswith("/nix/store/") and theirs:
        lines.append(f"(called from {theirs})")
    if message.hint:
        lines.append(message.hint)
    context = next((found[1] for line in frames if (found := _CONTEXT.match(line))), "")
    if context:
        lines.append(f"(in {context})")
    return "\n".join(lines)


def _last_error(lines: Sequence[str]) -> int | None:
    """Give where the last error is, if possible one that is not the mere consequence of a build that failed."""
    errors = [index for index, line in enumerate(lines) if _ERROR.match(line)]
    causes = [index for index in errors if not _CONSEQUENCE.match("\n".join(lines[index : index + 2]))]
    return max(causes or errors, default=None)


def _frame_after(lines: Sequence[str]) -> int:
    return next((index for index, line in enumerate(lines) if line.lstrip().startswith("… ")), len(lines))


def _message(first: str, rest: Sequence[str]) -> _Message:
    found = _ERROR.match(first)
    text = [found[1].rstrip() if found else first]
    place = hint = ""
    for line in rest:
        if line.strip() == _OUTPUTS:  # of a build that failed: nothing is there
            break
        if position := _POSITION.match(line):
            place = place or _known_place(position)
        elif line.strip().startswith("at «"):
            continue
        elif suggested := _HINT.match(line):
            hint = suggested[1]
        elif line.startswith(" ") and line.strip() and not place:
            text.append(line.removeprefix(" " * 7).rstrip())
    return _Message(tuple(text[:_LONGEST]), place, hint)


def _known_place(position: re.Match[str]) -> str:
    """Give `FILE:LINE:COLUMN`, or nothing for a file of ours or one that is none."""
    file = position[1]
    if not file.startswith("/") or Path(file).parent == OWN_EXPRESSIONS:
        return ""
    return f"{file}:{position[2]}:{position[3]}"


def _places(frames: Iterable[str]) -> Iterator[str]:
    for line in frames:
        if position := _POSITION.match(line):
            if place := _known_place(position):
                yield place
        elif (file := _FILE.match(line)) and Path(file[1]).parent != OWN_EXPRESSIONS:
            yield file[1]


def _innermost_first(lines: Sequence[str]) -> list[str]:
    """Turn frames that stand outermost first around. Lines of one frame keep their order."""
    frames: list[list[str]] = []
    for line in lines:
        if line.lstrip().startswith("… "):
            frames.append([])
        if frames:
            frames[-1].append(line)
    return [line for frame in reversed(frames) for line in frame]
