"""What stands before the cursor in a line of `%hive`."""

from __future__ import annotations

import pytest

from nixhive_nb.notebook.typed import typed_before


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
    ],
)
def test_words_are_read_as_they_will_be(text, words, value, raw, quote):
    found = typed(text)
    assert (found.words, found.value, found.raw, found.quote) == (words, value, raw, quote)
    assert found.kind == "word"


def test_what_is_no_word():
    assert typed("%hive deploy # w|").kind == "comment"
    assert typed("%hive deploy {hosts[: |").kind == "python"


def test_a_brace_that_the_editor_closed_already():
    assert typed("%hive deploy ${w|}").braced
    assert not typed("%hive deploy ${w|").braced


def test_a_quote_that_the_editor_closed_already():
    assert typed("%hive deploy 'w|'").closed
    assert not typed("%hive deploy 'w|").closed
    assert not typed("%hive deploy w|'").closed
