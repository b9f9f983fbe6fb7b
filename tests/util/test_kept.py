"""What is kept of a stream that somebody else fills: whole up to a limit, and bounded beyond it (D8, E4)."""

from __future__ import annotations

import asyncio
import stat
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.errors import HiveError
from nixhive_nb.util import process
from nixhive_nb.util.files import file_name, read_tail
from nixhive_nb.util.kept import BoundedFile, Cutter, Kept

PARTS = st.lists(st.binary(max_size=40), max_size=20)


def full(kept, parts):
    for part in parts:
        kept.add(part)
    text = kept.text()
    assert [kept.ended(), kept.ended(), kept.text()] == [text] * 3
    return text


@given(PARTS)
def test_what_is_not_too_long_is_kept_as_it_is(parts):
    whole = b"".join(parts)
    assert full(Kept(len(whole)), parts) == whole.decode("utf-8", "replace")


def test_of_what_is_too_long_the_beginning_and_the_end_are_kept_and_said_so():
    """D8: what an error is lies at the end, so that must be there, too."""
    parts = [b"%06d\n" % number for number in range(100_000)]
    text = full(Kept(700), parts)
    assert text.startswith("000000\n000001\n")
    assert text.endswith("099998\n099999\n")
    assert "are left out here and not kept" in text
    assert len(text) < 700 + 60


def test_the_memory_of_it_is_bounded_by_its_limit():
    """D8: 200 MB into one of 1 MB."""
    tracemalloc.start()
    try:
        kept, data = Kept(2**20), bytes(32768)
        for _ in range(6400):
            kept.add(bytes(data))
        kept.text()
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_there_is_one_copy_of_what_is_kept():
    """Bytes, the text of them, and that text with a line in it were three: 1 GB for 4 hosts of 100 MB each."""
    tracemalloc.start()
    try:
        kept, data = Kept(32 * 2**20, lambda _: "/x.log"), b"a line\n" * 5000
        for _ in range(1200):
            kept.add(data)
        text = kept.ended()
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()
    assert text.isascii()
    assert "MB are left out here: see /x.log ...\n" in text


@given(PARTS, st.integers(1, 60))
def test_all_of_what_is_too_long_goes_elsewhere_from_its_first_byte(parts, most):
    taken = []
    kept = Kept(most, lambda data: taken.append(data) or "/x.log")
    text = full(kept, parts)
    whole = b"".join(parts)
    assert b"".join(taken) == (b"" if len(whole) <= most else whole)
    assert not kept.is_cut or ": see /x.log ..." in text


@given(PARTS)
def test_lines_are_cut_at_their_ends_wherever_the_bytes_are_cut(parts):
    cutter = Cutter()
    lines = [line for part in [*parts, b""] for line in cutter.feed(part, last=False)]
    lines += cutter.feed(b"", last=True)
    whole = b"".join(parts).decode("utf-8", "replace").split("\n")
    assert lines == [line.removesuffix("\r") for line in (whole if whole[-1] else whole[:-1])]


def test_lines_that_end_together_are_given_together():
    cutter = Cutter()
    assert list(cutter.blocks(b"a\r\nb\n\nc")) == ["a\nb\n"]
    assert list(cutter.blocks(b"d\ne", last=True)) == ["cd", "e"]
    assert len(list(cutter.blocks(b"line\n" * 100_000))) < 10


@given(PARTS, st.integers(1, 30))
def test_a_line_without_an_end_comes_in_pieces(parts, most):
    """D8: an open line had no limit at all."""
    cutter = Cutter(most=most)
    pieces = []
    for part in parts:
        pieces += cutter.feed(part.replace(b"\n", b"").replace(b"\r", b""))
    pieces += cutter.feed(b"", last=True)
    whole = b"".join(parts).replace(b"\n", b"").replace(b"\r", b"").decode("utf-8", "replace")
    assert "".join(pieces) == whole
    assert all(len(piece) < most + 40 for piece in pieces)


def test_a_log_has_a_limit_of_its_own_and_says_where_it_ends(tmp_path):
    """E4: the disk of the operator does not belong to a host either."""
    file = BoundedFile(tmp_path / "a.log", 1000)
    assert {file.add(b"x" * 300) for _ in range(50)} == {str(tmp_path / "a.log")}
    file.close()
    text = (tmp_path / "a.log").read_text()
    assert text.startswith("x" * 1000 + "\n… this log has reached its limit of 1.0 kB")
    assert len(text) < 1200
    assert stat.S_IMODE((tmp_path / "a.log").stat().st_mode) == 0o600


def test_a_log_never_follows_a_link_or_takes_a_file_that_is_there(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a.log").symlink_to(tmp_path / "mine")
    assert BoundedFile(tmp_path / "a.log").add(b"x") == ""
    assert (tmp_path / "mine").read_text() == "mine"


def printing(code):
    return [sys.executable, "-c", f"import sys; o, e = sys.stdout, sys.stderr; {code}"]


def test_a_program_that_prints_without_end_is_ended():
    """D8: `nix-store`, `ssh -W`, or `%hive ssh www-1 cat /dev/zero`, whose output is caught."""
    with pytest.raises(HiveError, match=r"^.*python.* printed more than 200\.0 kB: it was ended\."):
        process.run(printing("[o.write('x' * 1000) for _ in iter(int, 1)]"), most=200_000)


def test_of_the_errors_of_a_program_the_beginning_and_the_end_are_kept():
    ended = process.run(
        printing("o.write('out'); [e.write('x' * 99 + chr(10)) for _ in range(9000)]; e.write('last')"), most=999
    )
    assert (ended.stdout, ended.status) == ("out", 0)
    assert ended.stderr.endswith("x\nlast")
    assert len(ended.stderr) < 300_000


def test_both_outputs_of_a_program_are_read_side_by_side():
    code = "[(o.write('o' * 5000), e.write('e' * 5000)) for _ in range(200)]"
    ended = process.run(printing(code))
    assert (ended.stdout, ended.stderr) == ("o" * 1_000_000, "e" * 1_000_000)


def test_a_program_that_is_streamed_is_bounded_where_nobody_takes_its_lines(monkeypatch):
    """D8: `process._lines` kept all of it."""
    monkeypatch.setattr(process, "KEPT", 100_000)
    with pytest.raises(HiveError, match=r"printed more than 100\.0 kB"):
        asyncio.run(process.stream(printing("[o.write('x' * 1000) for _ in iter(int, 1)]")))
    ended = asyncio.run(process.stream(printing("[e.write('x' * 1000) for _ in range(900)]; e.write('last')")))
    assert ended.stderr.endswith("xlast")
    assert len(ended.stderr) < 300_000


def test_a_line_of_a_program_that_is_longer_than_any_comes_in_pieces(monkeypatch):
    """D8: such a line was an error, `Separator is not found, and chunk exceed the limit`, told as a bug of ours."""
    monkeypatch.setattr(process, "LINE_LIMIT", 100_000)
    lines = []
    ended = asyncio.run(
        process.stream(printing("e.write('x' * 900_000); e.write(chr(10) + 'last')"), on_stderr=lines.append)
    )
    assert ended.status == 0
    assert "".join(lines) == "x" * 900_000 + "last"
    assert lines[-1] == "last"


@pytest.mark.parametrize(
    "name", [".", "..", "...", ".hidden", "a/b", "/etc", "../../x", "a\0b", "é" * 200, "%2E", "\ud800", "w" * 300, ""]
)
def test_a_name_is_never_a_way_out_of_its_folder(tmp_path, name):
    """E7: the root link of a system `..` was the folder above."""
    file = file_name(name)
    assert (tmp_path / (file or "x")).resolve().parent == tmp_path.resolve()
    assert len(file.encode()) <= 200
    if file:
        (tmp_path / file).symlink_to("anywhere")


@given(st.lists(st.text(st.characters()), unique=True, max_size=9))
def test_names_are_told_apart_by_their_files(names):
    """E7."""
    assert len(set(map(file_name, names))) == len(names)


def test_an_ordinary_name_stays_as_it_is():
    assert [file_name(name) for name in ("www-1", "a.b.c", "a b", "x" * 180)] == ["www-1", "a.b.c", "a%20b", "x" * 180]


def test_of_a_long_log_only_the_end_is_read(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff" + b"x" * 200_000 + b"end")
    assert read_tail(tmp_path / "log", most=4) == "xend"
    assert read_tail(tmp_path / "log", start=200_001) == "end"
    assert read_tail(tmp_path / "log", start=300_000) == ""
