"""Text from hosts cannot steer a terminal, and numbers read well."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.util.text import (
    _CONTROLS,
    _is_plain,
    line_count,
    seconds_text,
    size_text,
    strip_control,
    strip_lines,
    table_text,
)


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("\x1b[31;1merror:\x1b[0m no", "error: no"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x08b\x07c\x00", "abc"),
        ("one\r\ntwo", "one\ntwo"),
        ("\x9b31mred", "red"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("tab\tstays", "tab\tstays"),
        ("ünïcödé 🚀", "ünïcödé 🚀"),
        ("\x1b(Bplain", "plain"),
        ("\x1b]0;no end\nplain\n", "\nplain\n"),
        ("\x90no end\r\nplain", "\nplain"),
    ],
)
def test_terminal_control_is_gone(raw, plain):
    assert strip_control(raw) == plain


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(raw):
    assert not [c for c in strip_control(raw) if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]


@given(st.text(alphabet="\x1b\x90\x9b\x9d\x07[]P\\0;a\r"))
def test_no_line_hides_the_next(raw):
    assert strip_control(f"{raw}\nnext").endswith("\nnext")


@pytest.mark.parametrize("unit", ["\0", "\0a", "\x1b[0m\n", "\r\n", "a\x9b31m", "\u202e"])
def test_a_long_text_is_cleaned_in_parts_and_costs_little_memory(unit):
    """D8: of 64 MB of NULs, each was an entry of a list, which took ten times as much."""
    text = "b\n" + unit * (2_000_000 // len(unit))
    tracemalloc.start()
    try:
        found = strip_control(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == "b\n" + strip_control("\n" + unit)[1:] * (2_000_000 // len(unit))
    assert peak < 24_000_000


def test_half_a_character_is_replaced():
    """E2: nothing can print it, save it or send it."""
    assert strip_control("a\ud800b\udcff") == "a\ufffdb\ufffd"


@pytest.mark.parametrize(("text", "lines"), [("", 0), ("\n", 1), ("a", 1), ("a\n", 1), ("a\n\n", 2), ("a\nb", 2)])
def test_lines_are_counted_with_the_last_whether_it_ends_or_not(text, lines):
    assert line_count(text) == lines == len(text.splitlines())


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (61_400_000, "61.4 MB"), (999_960, "1.0 MB")],
)
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.04, "0.0 s"), (2.13, "2.1 s"), (59.97, "1 min 00 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    assert seconds_text(seconds) == text


def test_columns_of_a_table_line_up():
    assert table_text(["a", "long"], [["wide one", "x"]]).splitlines() == ["a         long", "wide one  x"]


@given(st.text(st.characters(max_codepoint=0x2070), max_size=40), st.integers(1, 8))
def test_the_quick_looks_say_the_same_as_one_at_each_character(text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nixhive_nb.util.text._PIECE", size)
        assert _is_plain(text) == (text.isascii() and not _CONTROLS.search(text))
        assert not (text.isprintable() and _CONTROLS.search(text))
        if not _CONTROLS.search(text):
            assert strip_control(text) is text


@given(st.lists(st.text(st.sampled_from("ab\t\r\x1b[31m\x9b\x07é\u202e"), max_size=12), min_size=1))
def test_lines_are_each_without_terminal_control_as_they_would_be_alone(lines):
    assert strip_lines("\n".join(lines)) == "\n".join(map(strip_control, lines))
