"""A line of `%hive`: what stands before the cursor in it, and that it is read then as it will be when it is run."""

from __future__ import annotations

import ast
import re

import hypothesis
import pytest
from hypothesis import strategies as st
from IPython.core.error import UsageError

from nixhive_nb.notebook.line import read_line, scan_typed, typed_before

# What they stand for is how they are written, in braces: `plain` makes the same of `$a` and `${a}`.
NAMES = {"a": "{a}", "d": {"} ": '{d["} "]}'}}
PARTS = [
    " ",
    "  ",
    "'",
    '"',
    "\\",
    "$a",
    "${a}",
    "{a}",
    '{d["} "]}',
    "$",
    "$$",
    "{",
    "{{",
    "}",
    "}}",
    "#",
    ";",
    "w",
    "é",
]
WORDS = ["-c ", "-- ", "--no=", "run ", "run web ", "ssh ", "ssh -p ", "deploy ", "--force ", "--canary "]
TEXTS = re.compile(r"""\{\s*((?:(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*)+)\}""")
"""What is in braces and is text to Python: one or several pieces of it, with blanks between."""
LINES = st.lists(st.sampled_from([*PARTS, *WORDS]), max_size=12).map("".join)


def typed(text):
    """Return what is typed where `|` marks the cursor."""
    before, _, after = text.partition("|")
    line = before.count("\n")
    return typed_before(before + after, line, len(before.split("\n")[line]))


@pytest.mark.parametrize(
    "text",
    [
        "%hive deploy w|",
        "x = %hive deploy w|",
        "a, b = %hive deploy w|",
        "z: object = %hive deploy w|",
        "d['k'] = %hive deploy w|",
        "d['a-b'] = %hive deploy w|",
        'd["a/b"][x + 1] = %hive deploy w|',
        "z: 'list[T]' = %hive deploy w|",
        "%time %hive deploy w|",
        "x = %time %hive deploy w|",
        "    %hive deploy w|",
        "for x in y:\n    df = %hive deploy w|",
        "%hive deploy \\\n    w|",
        "%hive \\\n  deploy \\\n w|eb",
        "%%time\n%hive deploy w|",
    ],
)
def test_a_line_of_ours(text):
    found = typed(text)
    assert (found.words, found.value, found.raw, found.cell) == (("deploy",), "w", "w", False)


@pytest.mark.parametrize("text", ["%%hive run w|", "\n\n%%hive run w|\nuptime", "  %%hive run w|"])
def test_the_first_line_of_a_cell_of_ours(text):
    found = typed(text)
    assert (found.words, found.value, found.cell) == (("run",), "w", True)


@pytest.mark.parametrize(
    "text",
    [
        "%hive|",
        "%hives deploy w|",
        "# %hive deploy w|",
        "x == %hive deploy w|",
        "x += %hive deploy w|",
        "x = 1  # y = %hive deploy w|",
        "%timed %hive deploy w|",
        "text = 'a %hive deploy w|",
        "%%hive run web\n%hive deploy w|",
        "%hive run web 'a \\\n w|",
        "print(1)|",
        "|",
    ],
)
def test_other_lines(text):
    assert typed(text) is None


@pytest.mark.parametrize(
    ("text", "words", "value", "raw", "quote"),
    [
        ("%hive |", (), "", "", ""),
        ("%hive deploy 'a b' \"c d\" e|", ("deploy", "a b", "c d"), "e", "e", ""),
        ("%hive deploy '|", ("deploy",), "", "'", "'"),
        ("%hive deploy 'a b|", ("deploy",), "a b", "'a b", "'"),
        ('%hive deploy "a \\" b|', ("deploy",), 'a " b', '"a \\" b', '"'),
        ('%hive deploy "a\\b|', ("deploy",), "a\\b", '"a\\b', '"'),
        ("%hive deploy a\\ b|", ("deploy",), "a b", "a\\ b", ""),
        ("%hive deploy 'a'b|", ("deploy",), "ab", "'a'b", ""),
        ("%hive deploy {hosts[: 3]} w|", ("deploy", "{hosts[: 3]}"), "w", "w", ""),
        ("%hive deploy {{x}} $$y|", ("deploy", "{x}"), "$y", "$$y", ""),
        ("%hive deploy ${x} $y|", ("deploy", "${x}"), "$y", "$y", ""),
        ("%hive deploy '{x' w|", ("deploy", "{x"), "w", "w", ""),
        ("%hive deploy a#b|", ("deploy",), "a#b", "a#b", ""),
        ("%hive deploy a; b|", ("deploy", "a;"), "b", "b", ""),
        ("%hive deploy {'}'} b|", ("deploy", "{'}'}"), "b", "b", ""),
        ("%hive run web {a b} c|", ("run", "web", "{a", "b}"), "c", "c", ""),
    ],
)
def test_words_are_read_as_they_will_be(text, words, value, raw, quote):
    found = typed(text)
    assert (found.words, found.value, found.raw, found.quote) == (words, value, raw, quote)
    assert found.kind == "word"


def test_what_is_no_word():
    assert typed("%hive deploy # w|").kind == "comment"
    assert typed("%hive deploy w; |").kind == "end"
    assert typed("%hive deploy {hosts[: |").kind == "python"


def test_a_brace_that_the_editor_closed_already():
    assert typed("%hive deploy ${w|}").braced
    assert not typed("%hive deploy ${w|").braced


def test_a_quote_that_the_editor_closed_already():
    assert typed("%hive deploy 'w|'").closed
    assert not typed("%hive deploy 'w|").closed
    assert not typed("%hive deploy w|'").closed


def test_python_warns_of_nothing_that_is_only_typed(recwarn):
    assert typed("%hive deploy {f('\\d')} w|").words == ("deploy", "{f('\\d')}")
    assert not recwarn


def plain(words):
    """Return words with each way to write `a`, and each text in braces, as what it stands for."""
    texts = (TEXTS.sub(lambda found: ast.literal_eval(found[1]), word) for word in words)
    return [re.sub(r"\$*\{a\}|\$+a", "{a}", word) for word in texts]


@hypothesis.given(line=LINES, cell=st.booleans())
@hypothesis.settings(max_examples=1000, deadline=None)
@hypothesis.example(line="deploy {d[\"} \"]} 'x' # y", cell=False)
@hypothesis.example(line="run web {a b} $a", cell=False)
@hypothesis.example(line="{'\"'}", cell=False)
@hypothesis.example(line="{ '\"'}", cell=False)
@hypothesis.example(line="{'}' 'w' }", cell=False)
@hypothesis.example(line="run web {a} $a", cell=True)
def test_a_whole_line_is_read_alike_when_it_is_typed_and_when_it_is_run(line, cell):
    try:
        run = read_line(line, NAMES, cell=cell)
    except UsageError:
        hypothesis.reject()
    typed = scan_typed(f"{line} ", cell=cell)
    assert plain(typed.words) == plain(run.argv)
    assert (typed.value, typed.quote, typed.kind == "end") == ("", "", run.quiet)


@hypothesis.given(line=LINES, cell=st.booleans())
@hypothesis.settings(max_examples=1000, deadline=None)
def test_the_words_before_the_cursor_are_those_of_the_whole_line(line, cell):
    try:
        whole = read_line(line, NAMES, cell=cell).argv
    except UsageError:
        whole = None
    for end in range(len(line) + 1):
        typed = scan_typed(line[:end], cell=cell)
        assert line[:end].endswith(typed.raw)
        if whole is not None and typed.kind != "end":  # a `;` ends a line as long as nothing comes after it
            assert plain(typed.words) == plain(whole[: len(typed.words)])
