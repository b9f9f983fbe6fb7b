"""The short form of what Nix writes when an evaluation fails, and the warnings that it writes when it does not.

Nix prints the message and a stack of the frames that led to it: up to about 2.13 the message first and the innermost
frame next, since then the outermost frame first and the message last. A frame is `… what` and, where Nix knows it,
`at FILE:LINE:COLUMN:` with some lines of the source. A message that begins with a line break, as that of a failed
assertion of NixOS does, stands below a bare `error:`.
"""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_log = logging.getLogger(__name__)

OWN_EXPRESSIONS = Path(__file__).resolve().parent
"""Positions in here are ours, and say nothing to a person."""

_LONGEST = 500  # lines of one message
_LAST_LINES = 5
_LARGEST = 1_000_000  # bytes of a file that is looked through
_INDENT = 7  # of what belongs to an error
_NOISE = re.compile(
    r"evaluating file '|\(use '--show-trace'|\(stack trace truncated|\s*\(\d+ duplicate frames|\s+\d*\| ?|\s+\|\s*\^"
)
_ERROR = re.compile(r"\s*error: *(.*)")
_POSITION = re.compile(r"\s*at (\S.*?):(\d+):(\d+):?\s*$")
_FILE = re.compile(r"\s*… while evaluating the file '(.+)'")
_DEFINITIONS = re.compile(r"\s*… while evaluating definitions from `(/[^',]+)")
_OPTION = re.compile(r"\s*… while evaluating the option `([^']+)'")
_CONTEXT = re.compile(r"\s*… nix-hive: (?!described at|nixpkgs at)(.+)")
_DESCRIBED = re.compile(r"\s*… nix-hive: described at (/.+)")
_NIXPKGS = re.compile(r"\s*… nix-hive: nixpkgs at (/.+)")
_CONSEQUENCE = re.compile(
    r"\s*error: (\d+ dependenc|build of '"
    r"|Cannot build '.*'\.\n\s*Reason: \d+ dependenc)"  # since Nix 2.30
)
_MESSAGE_LAST = re.compile(r"error:\s*$")
_OUTPUTS = "Output paths:"
_GLUED = re.compile(r"^(\s*at .+:\d+:\d+:)(Did you mean)", re.MULTILINE)  # where Nix 2.8 shows no source
_HINT = re.compile(r"\s*(Did you mean .+)")
_NAMED = re.compile(r"(?:[Ii]n|by|[Mm]odule|file) [`'](/[^`',]+)")
_NAMED_OPTION = re.compile(r"option [`']([^']+)'")
_NO_HINT = ("", "system.build.toplevel", "assertions", "warnings")
"""Options that each system evaluates: to name them says nothing."""
_NO_JSON = re.compile(r"(/.+?):(\d+):\d+: \[json\.exception")
_READ_FILE = re.compile(r"readFile\s+\(?([./][^\s();]+)")
_WARNING = re.compile(r"(?:trace: )?(?:evaluation )?warning: (.*)")
_PASSING = re.compile(
    r"(?:error: )?SQLite database .* is busy|.*[;,] retrying in \d+ ms"
    r"|Git tree '.*' (?:is dirty|has uncommitted changes)|you don't have Internet access; disabling"
)
"""What Nix waits for while others use the store or the network, and then has: it says nothing of the deployment.

That a tree is dirty stands in the revision that plans and reports have.
"""
_OF_A_PROGRAM = re.compile(r"program '.*' failed with exit code \d+|Failed to fetch git repository")
"""What Nix says where it is a program of others that says why: `git`, and the `ssh` that it starts."""
_MOST_SAID = 8  # lines of such a program
_OTHER = re.compile(r"(trace|warning|evaluation warning|error|evaluating file|copied source|copying) *[:']")


class _Message(msgspec.Struct, frozen=True):
    text: tuple[str, ...]
    place: str
    """`FILE:LINE:COLUMN` that stands right after the message; empty where Nix knows none."""
    hint: str


def explain(stderr: str, *, show_trace: bool = False) -> str:
    """Return what Nix wrote on its standard error as `FILE:LINE:COLUMN: message`, without the stack.

    The place is the user's: outside of the store, of nixpkgs and of our own expressions, as near to the error as there
    is one. Where it was raised elsewhere follows. `show_trace` gives everything that Nix wrote, but for frames of ours
    and the list of the files that it read. A text without an error gives its last lines.
    """
    if show_trace:
        return "\n".join(_without_own_frames(stderr.splitlines()))
    lines = [line for line in _GLUED.sub(r"\1\n\2", stderr).splitlines() if not _NOISE.match(line)]
    start = _error_line(lines)
    if start is None:
        return "\n".join([line for line in lines if line.strip()][-_LAST_LINES:])
    before, after = lines[:start], lines[start + 1 :]
    end = _frame_after(after)
    message = _message(lines[start], after[:end])
    # What failed may have been said before the stack of what needed it.
    message_last = any(map(_MESSAGE_LAST.match, after))
    behind = _innermost_first(after[end:]) if message_last else after[end:]
    short = _short_form(message, [*behind, *_innermost_first(before)])
    said = _said_last(before) if _OF_A_PROGRAM.match(message.text[0]) else []
    return "\n".join([short, *said, *_no_json(short)])


def _said_last(lines: Sequence[str]) -> list[str]:
    """Return what others said last before an error: what stands above its stack, and is none of Nix's own lines."""
    above = itertools.dropwhile(
        lambda line: not line.strip() or line[0] == " " or _MESSAGE_LAST.match(line), lines[::-1]
    )
    said = itertools.takewhile(lambda line: not _ERROR.match(line), above)
    return [line for line in said if line.strip() and not _OTHER.match(line)][:_MOST_SAID][::-1]


def _no_json(short: str) -> list[str]:
    """Name the file that is no JSON, as the line that reads it does: a generated one may be half-written."""
    place = _NO_JSON.match(short)
    if place is None:
        return []
    with swallowed(_log, "looking which file is no JSON", OSError, ValueError):
        line = Path(place[1]).read_text(encoding="utf-8").splitlines()[int(place[2]) - 1 :][:1]
        return [
            f"{found[1]} is no JSON, or not all of it is written yet."
            for found in map(_READ_FILE.search, line)
            if found
        ]
    return []


def warnings_in(stderr: str) -> tuple[str, ...]:
    """Return the warnings of an evaluation, each once and whole, the file that it names and the line first."""
    found: dict[str, None] = {}
    lines: list[str] = []
    for line in [*stderr.splitlines(), "error:"]:
        started = _WARNING.match(line)
        if (started or _OTHER.match(line)) and lines:
            found["\n".join(_with_place(lines, _named_place("\n".join(lines), "")))] = None
            lines = []
        if started:
            lines = [] if _PASSING.match(started[1]) else [started[1]]
        elif lines and not _OTHER.match(line):
            lines.append(line)
    return tuple(text.rstrip() for text in found)


def _short_form(message: _Message, frames: Sequence[str]) -> str:
    nixpkgs = _first(_NIXPKGS, frames)
    places = list(_places(frames))
    text = "\n".join(message.text)
    described = _first(_DESCRIBED, frames) if nixpkgs else ""
    own = message.place if _is_theirs(message.place, nixpkgs) else ""
    named = _named_place(text, nixpkgs)
    theirs = [place for place in places if _is_theirs(place, nixpkgs)]
    # Of a file alone the line is known perhaps from where the system is described.
    place = own or _nearest([*filter(None, [named]), *([] if named else theirs), described]) or message.place
    lines = _with_place(message.text, place or next(iter(places), ""))
    if message.place and message.place != place:
        lines.append(f"(raised at {message.place})")
    option = _first(_OPTION, frames)
    if option not in _NO_HINT and not own and not _NAMED_OPTION.search(text):
        lines.append(f"(while evaluating the option `{option}')")
    if message.hint:
        lines.append(message.hint)
    context = _first(_CONTEXT, frames)
    if context:
        lines.append(f"(in {context})")
    return "\n".join(lines)


def _nearest(places: Sequence[str]) -> str:
    """Return the first place, with a line where a later one of that file has one."""
    first = next(iter(places), "")
    return next((place for place in places if place.startswith(f"{first}:")), first)


def _with_place(lines: Sequence[str], place: str) -> list[str]:
    return [f"{place}: {lines[0]}" if place else lines[0], *lines[1:]]


def _first(pattern: re.Pattern[str], lines: Iterable[str]) -> str:
    return next((found[1] for line in lines if (found := pattern.match(line))), "")


def _is_theirs(place: str, nixpkgs: str) -> bool:
    if not place or place.startswith("/nix/store/"):
        return False
    return not (nixpkgs and place.startswith(f"{nixpkgs.rstrip('/')}/"))


def _is_ours(file: str) -> bool:
    return OWN_EXPRESSIONS in Path(file).parents


def _named_place(text: str, nixpkgs: str) -> str:
    """Return the file of theirs that a message of NixOS names, with the line where its option stands, if one does."""
    for found in _NAMED.finditer(text):
        file = found[1]
        if not _is_ours(file) and _is_theirs(file, nixpkgs):
            option = _NAMED_OPTION.search(text)
            line = _line_of(Path(file), option[1]) if option else 0
            return f"{file}:{line}" if line else file
    return ""


def _line_of(file: Path, option: str) -> int:
    """Return the only line of a file that has an option, or as much of its end as is written there; 0 for none."""
    try:
        if file.stat().st_size > _LARGEST:
            return 0
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        _log.debug("looking for %s in %s", option, file, exc_info=True)
        return 0
    parts = option.split(".")
    for start in range(len(parts)):
        word = re.compile(rf"(?<![\w'-]){re.escape('.'.join(parts[start:]))}(?![\w'-])")
        hits = [number for number, line in enumerate(lines, start=1) if word.search(line.partition("#")[0])]
        if hits:
            return hits[0] if len(hits) == 1 else 0
    return 0


def _error_line(lines: Sequence[str]) -> int | None:
    """Return where the message stands: of the last error that is not the mere consequence of a build that failed."""
    errors = [index for index, line in enumerate(lines) if line.startswith("error:")]
    if not errors:
        return max((index for index, line in enumerate(lines) if _ERROR.match(line)), default=None)
    ends = [*errors[1:], len(lines)]
    messages = [_message_line(lines, index, end) for index, end in zip(errors, ends, strict=True)]
    causes = [index for index in messages if not _CONSEQUENCE.match("\n".join(lines[index : index + 2]))]
    return max(causes or messages)


def _message_line(lines: Sequence[str], start: int, end: int) -> int:
    """Return where the message of an error stands: at its `error:`, or where only a stack is there, below that."""
    rest = range(start + 1, end)
    below = next((lines[index] for index in rest if lines[index].strip()), "")
    if not _MESSAGE_LAST.match(lines[start]) or not _is_frame(below):
        return start
    last = max(index for index in rest if _is_frame(lines[index]))
    return next((index for index in range(last + 1, end) if _ERROR.match(lines[index])), start)


def _is_frame(line: str) -> bool:
    return line.lstrip().startswith("… ")


def _frame_after(lines: Sequence[str]) -> int:
    return next((index for index, line in enumerate(lines) if _is_frame(line)), len(lines))


def _message(first: str, rest: Sequence[str]) -> _Message:
    found = _ERROR.match(first)
    text = [found[1].rstrip() if found else first]
    place = hint = ""
    over = False
    for line in rest:
        if line.strip() == _OUTPUTS:  # of a build that failed: nothing is there
            break
        if position := _POSITION.match(line):
            place, over = place or _known_place(position), True
        elif line.strip().startswith("at «"):
            over = True
        elif suggested := _HINT.match(line):
            hint = suggested[1]
        elif line.strip() and not line.startswith(" "):
            break
        elif not over:
            text.append(line.removeprefix(" " * _INDENT).rstrip())
    return _Message(_whole(text), place, hint)


def _whole(text: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of a message without empty ones around it."""
    lines = "\n".join(text).strip("\n").splitlines() or [""]
    rest = len(lines) - _LONGEST
    return (*lines[:_LONGEST], f"… and {rest} lines more") if rest > 0 else tuple(lines)


def _known_place(position: re.Match[str]) -> str:
    """Return `FILE:LINE:COLUMN`, or nothing for a file of ours or one that is none."""
    file = position[1]
    if not file.startswith("/") or _is_ours(file):
        return ""
    return f"{file}:{position[2]}:{position[3]}"


def _places(frames: Iterable[str]) -> Iterator[str]:
    for line in frames:
        if position := _POSITION.match(line):
            if place := _known_place(position):
                yield place
        elif (file := _FILE.match(line) or _DEFINITIONS.match(line)) and not _is_ours(file[1]):
            yield file[1]


def _frames(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the lines before the first frame, and those of each frame."""
    part: list[str] = []
    for line in lines:
        if _is_frame(line):
            yield part
            part = []
        part.append(line)
    yield part


def _innermost_first(lines: Sequence[str]) -> list[str]:
    """Turn frames that stand outermost first around. Lines of one frame keep their order."""
    _, *frames = _frames(lines)
    return [line for frame in reversed(frames) for line in frame]


def _without_own_frames(lines: Sequence[str]) -> Iterator[str]:
    for frame in _frames(line for line in lines if not line.startswith("evaluating file '")):
        position = next((found for line in frame if (found := _POSITION.match(line))), None)
        if position is None or not _is_frame(frame[0]) or not _is_ours(position[1]):
            yield from frame
            continue
        # In the new form, the message stands below the last frame.
        error = next((index for index, line in enumerate(frame) if _ERROR.match(line)), len(frame))
        yield from frame[error:]
