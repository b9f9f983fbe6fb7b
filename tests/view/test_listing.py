"""A listing as text and as HTML: what fits, what goes first, what is never lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.util.text import strip_control
from nixhive_nb.view.listing import Cell, Column, Row, Section, Table, listing, moment_text, path_cell, plain
from nixhive_nb.view.listing_html import listing_html
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.screen import Screen

EVIL = "\x1b]0;evil\x07<b>www</b>\x1b[31m"
NARROW = Screen(width=40)
COLUMNS = (
    Column("instance"),
    Column("state"),
    Column("tags", rank=2),
    Column("size", rank=1, number=True),
    Column("kind", wide=True),
)


def table(*rows, columns=COLUMNS, **more):
    cells = [Row(tuple(one if isinstance(one, Cell) else Cell(one) for one in row)) for row in rows]
    return Table(columns=columns, sections=listing(cells), **more)


def test_all_columns_that_say_something_stand_where_there_is_room():
    text = listing_text(table(("www-1", "done", "", "12 B", "light"), headline="1 host", facts=("now", "here")))
    assert text.splitlines() == ["1 host  (now · here)", "instance  state  size", "www-1     done   12 B"]
    assert listing_text(table(("a", "b", "c", "d", "e")), wide=True).splitlines()[0].split() == [
        "instance", "state", "tags", "size", "kind",
    ]  # fmt: skip


def test_columns_of_a_higher_rank_go_first():
    one = table(("www-1", "done", "x" * 20, "1,204 kB", ""))
    assert listing_text(one, NARROW).splitlines()[0].split() == ["instance", "state", "size"]
    assert listing_text(one, Screen(width=20)).splitlines()[0].split() == ["instance", "state"]
    assert "x" * 20 in listing_text(one, NARROW, wide=True)


def test_what_may_be_cut_is_cut_and_the_rest_is_whole():
    columns = (Column("instance"), Column("path", cut=True), Column("note", prose=True))
    one = table(("www-1", "aaaaaaaa…-nixos-system-www-24.05", "no route to host"), columns=columns)
    (_, row) = listing_text(one, Screen(width=50)).splitlines()
    assert "no route to host" in row
    assert re.search(r"aaaaaaaa…-nixos-sys\S*… ", row)


def test_a_note_without_room_stands_whole_below_its_row():
    columns = (Column("instance"), Column("state"), Column("note", prose=True, below=True))
    note = "ssh: connect to host www-2 port 22: " + "no route to host " * 3
    lines = listing_text(table(("www-1", "ok", ""), ("www-2", "bad", note), columns=columns), NARROW).splitlines()
    assert lines[:3] == ["instance  state", "www-1     ok", "www-2     bad"]
    assert " ".join(" ".join(lines[3:]).split()) == " ".join(note.split())
    assert all(line.startswith("    ") and len(line) <= 40 for line in lines[3:])


def test_a_headline_breaks_between_words():
    long = Table(headline="13 of 13 deployed, 4 unchanged, 2 with warnings", facts=("9.8 MB left this machine",) * 2)
    lines = listing_text(long, NARROW).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert " ".join(" ".join(lines).split()) == (
        "13 of 13 deployed, 4 unchanged, 2 with warnings (9.8 MB left this machine · 9.8 MB left this machine)"
    )


def test_colours_are_those_of_the_meaning_and_only_where_there_are_some():
    one = table(("www-1", Cell("✕ failed", "bad"), "", "", ""), headline="0 of 1 deployed", tone="bad")
    painted = listing_text(one, Screen(colour=True))
    assert "\x1b[31m✕ failed\x1b[0m" in painted
    assert "\x1b[1;31m0 of 1 deployed\x1b[0m" in painted
    assert strip_control(painted) == listing_text(one)


def test_nothing_is_said_in_a_sentence():
    nothing = table(headline="0 runs", empty="No run is in progress.")
    assert listing_text(nothing) == "No run is in progress."
    assert listing_html(nothing) == "<div>No run is in progress.</div>"


def test_sections_have_titles_and_share_their_columns():
    rows = (Row((Cell("a"),)),)
    two = Table(columns=(Column("package"),), sections=(Section(rows, "www-1"), Section(rows, "db")))
    assert listing_text(two).splitlines() == ["  package", "www-1", "  a", "db", "  a"]
    assert 'colspan="1"' in listing_html(two)


def test_what_is_not_shown_is_counted():
    rows = tuple(Row((Cell(str(number)),), "done" if number % 3 else "failed") for number in range(9))
    cut = Table(columns=(Column("n"),), sections=(Section(rows[:4], "a"), Section(rows[4:], "b"))).cut(5)
    assert len(cut.rows) == 5
    assert listing_text(cut).splitlines()[-1] == "… and 4 more: 3 done, 1 failed"
    assert cut.cut(5) == cut


def test_words_from_elsewhere_are_text_in_both_forms():
    one = table((plain(EVIL), Cell(plain(EVIL), "bad", EVIL), "", "", ""), headline=EVIL, notes=(Cell(EVIL, "warn"),))
    assert "\x1b" not in listing_text(one)
    html = listing_html(one)
    assert "<b>" not in html
    assert "\x1b" not in html


def test_html_has_the_whole_path_for_those_who_point_at_it():
    path = f"/nix/store/{'a' * 32}-nixos-system-www"
    html = listing_html(Table(columns=(Column("path"),), sections=listing([Row((path_cell(path),))])))
    assert f'title="{path}"' in html
    assert "aaaaaaaa…-nixos-system-www" in html


def test_a_moment_is_told_to_the_minute():
    assert moment_text(1795879026.697328) == "2026-11-28 15:17"
    assert moment_text(None) == moment_text(1e300) == ""


WORDS = st.text("ab -…/", max_size=30)


@given(st.lists(st.tuples(*[WORDS] * 5), min_size=1, max_size=4), st.integers(40, 120))
def test_no_line_is_longer_than_the_screen(rows, width):
    columns = (
        Column("instance"), Column("what", prose=True), Column("path", cut=True, rank=1), Column("tags", rank=2),
        Column("note", prose=True, below=True),
    )  # fmt: skip
    one = table(*rows, columns=columns)
    assert max(map(len, listing_text(one, Screen(width=width)).splitlines())) <= width


@pytest.mark.parametrize("width", [None, 80])
def test_a_listing_without_columns_is_its_headline(width):
    assert listing_text(Table(headline="0 hosts"), Screen(width=width)) == "0 hosts"
