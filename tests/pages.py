"""The pages of the docs as they are followed: their fenced blocks, what stands above them, and what they call.

A comment above a block says how a test follows it; a reader sees none of it:

    <!-- file: hive.nix -->      the block is the content of this file
    <!-- fails -->               the last command of the block ends with an error
    <!-- nobody is there -->     its commands have no terminal, as in a script
    <!-- not run: WHY -->        it cannot run on a practice fleet; its commands are only parsed

and one that stands alone:

    <!-- goes on from: PAGE -->  it is followed where that page ended

A `text` block right below another one is what that one prints: its lines in their order, `…` for anything.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"(?P<marks>(?:^ *<!-- [^\n]* -->\n)*)^(?P<indent> *)```(?P<language>[\w-]+)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"<!-- (?P<name>[a-z ]+)(?:: (?P<value>.*?))? -->")
_MARKS = {"file", "fails", "nobody is there", "not run"}
_OUTER = re.compile(r"^( *)(`{3,})[^`\n]*\n.*?^ *\2$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_CALL = re.compile(r"^(?:\w+ = )?(?:%{1,2}hive|nix-hive) +(?=\S)")


@dataclass(frozen=True)
class Block:
    """A fenced block. `output` is what it prints, as far as the page says so."""

    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)
    output: str = ""

    @property
    def cells(self) -> list[str]:
        """The commands of a terminal, each with its further lines; a notebook's block is one cell."""
        if self.language != "console":
            return [self.text]
        return [one.strip() for one in re.split(r"^\$ ", self.text, flags=re.MULTILINE) if one.strip()]


@dataclass(frozen=True)
class Page:
    """A page: its own path, and its text."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the checkout."""
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """What it says."""
        return self.path.read_text()

    @property
    def before(self) -> Page | None:
        """The page that must be followed first."""
        found = re.search(r"^<!-- goes on from: (.*) -->$", self.text, re.MULTILINE)
        return Page(self.path.parent / found[1]) if found else None

    def blocks(self) -> list[Block]:
        """Return its blocks in their order, each with what it prints."""
        text, found, end = self.text, [], -1
        for match in _BLOCK.finditer(text):
            lines = [line.removeprefix(match["indent"]) for line in match["text"].splitlines()]
            body = "\n".join(lines)
            if match["language"] == "text":
                assert end >= 0, self.name
                assert not text[end : match.start()].strip(), f"{self.name}: whose output is this?\n{body}"
                found[-1] = Block(**{**vars(found[-1]), "output": body})
            else:
                line = text.count("\n", 0, match.start("language")) + 1
                found.append(Block(line, match["language"], body, self._marks(match["marks"])))
            end = match.end()
        return found

    def _marks(self, text: str) -> dict[str, str]:
        marks = {mark["name"]: mark["value"] or "" for mark in _MARK.finditer(text)}
        assert set(marks) <= _MARKS, f"{self.name}: {set(marks) - _MARKS}"
        return marks

    def inline(self) -> list[str]:
        """Return what stands between backticks outside of blocks."""
        return [" ".join(span.split()) for span in _SPAN.findall(_OUTER.sub("", self.text))]


def pages() -> list[Page]:
    """Return all pages that are written by hand, the README first."""
    own = [path for path in sorted(DOCS.rglob("*.md")) if not path.is_symlink()]
    return [Page(ROOT / "README.md"), *(Page(path) for path in own)]


def notebooks() -> list[Page]:
    """Return the notebooks as Markdown, and the page about them: other tests run their cells."""
    return [Page(path) for path in sorted((ROOT / "notebooks").glob("*.md"))]


def calls(page: Page) -> list[str]:
    """Return the commands of ours that a page shows, in blocks and between backticks."""
    in_blocks = [line for block in page.blocks() for cell in block.cells for line in _lines(cell)]
    return [*(text for text in in_blocks if _CALL.match(text)), *calls_in_sentences(page)]


def calls_in_sentences(page: Page) -> list[str]:
    """Return the commands of ours that a page shows between backticks."""
    return [text for text in page.inline() if _CALL.match(text)]


def _lines(cell: str) -> list[str]:
    return [line.strip() for line in cell.replace("\\\n", " ").splitlines()]


def words_of(call: str) -> list[str]:
    """Return the words of a command as it stands in a text, with something in place of PLACEHOLDERS.

    `[--to GENERATION]` is taken as said, of `N|P%` the first, `…` stands for nothing, and a `?` at the end for help.
    """
    asked = call.removesuffix("?")
    words = [*shlex.split(_CALL.sub("", asked)), *(["--help"] if asked != call else [])]
    bare = [word.strip("[]").removesuffix("…").partition("|")[0] for word in words]
    return [PLACEHOLDERS.get(word, word) for word in bare if word]


PLACEHOLDERS = {
    "GENERATION": "41",
    "SECONDS": "5",
    "N": "1",
    "NAME": "name",
    "DIGEST": "7f3a91c0d2e4",
    "KEY": "key",
    "COMMAND": "deploy",
}
