"""The state file keeps what it says, whoever wrote it and however it ended."""

from __future__ import annotations

import os
import string
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.deployment import state as module
from nixhive_nb.deployment.state import State, parse, read_state, render, update_state
from nixhive_nb.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = """\
(r0|portico|/nix/store/aaa-nixos-portico)
(d0|portico|/nix/store/aaa-nixos-portico.drv)
(r0|www|/nix/store/bbb-nixos-www)
(d0|www|/nix/store/bbb-nixos-www.drv)
"""
TERMS = st.text(
    alphabet=st.one_of(st.sampled_from("~|()qpse/- \r\t"), st.characters(codec="utf-8", exclude_characters="\n"))
)
TABLES = st.dictionaries(TERMS, TERMS, max_size=4)
TEXTS = st.text(alphabet=string.ascii_lowercase[:3] + "~qpse|()\n r0d", max_size=60)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".hive.state"


def test_a_file_of_nix_hive_is_read(file: Path) -> None:
    file.write_text(REFERENCE)
    assert read_state(file) == State(
        results={"portico": "/nix/store/aaa-nixos-portico", "www": "/nix/store/bbb-nixos-www"},
        derivations={"portico": "/nix/store/aaa-nixos-portico.drv", "www": "/nix/store/bbb-nixos-www.drv"},
    )


def test_a_file_is_written_as_nix_hive_writes_it(file: Path) -> None:
    update_state(file, {"www": ("/nix/store/bbb-nixos-www", "/nix/store/bbb-nixos-www.drv")})
    update_state(file, {"portico": ("/nix/store/aaa-nixos-portico", "/nix/store/aaa-nixos-portico.drv")})
    assert file.read_text() == REFERENCE


def test_escapes_are_those_of_nix_hive() -> None:
    assert render(State(results={"a~b|c(d)": "/x"})) == "(r0|a~qb~pc~sd~e|/x)\n"
    assert parse("(r0|a~qb~pc~sd~e|~qq)") == State(results={"a~b|c(d)": "~q"})


def test_no_file_is_an_empty_state(file: Path) -> None:
    assert read_state(file) == State()


def test_hive_state_is_read_where_only_that_exists(file: Path) -> None:
    old = file.with_name("hive.state")
    old.write_text("(r0|www|/old)\n")
    assert read_state(file).results == {"www": "/old"}
    update_state(file, {"db": ("/db", "/db.drv")})
    assert read_state(file).results == {"db": "/db", "www": "/old"}
    assert old.read_text() == "(r0|www|/old)\n"
    file.write_text("(r0|www|/new)\n")
    assert read_state(file).results == {"www": "/new"}


def test_another_file_has_no_stand_in(tmp_path: Path) -> None:
    (tmp_path / "hive.state").write_text("(r0|www|/old)\n")
    assert read_state(tmp_path / "other.state") == State()


def test_results_of_systems_that_are_not_named_are_kept(file: Path) -> None:
    file.write_text(REFERENCE + "(r0|gone|/gone)\n")
    found = update_state(file, {"www": ("/new", "/new.drv")})
    assert found == read_state(file)
    assert found.results == {"gone": "/gone", "portico": "/nix/store/aaa-nixos-portico", "www": "/new"}


def test_an_empty_fact_of_another_system_is_kept(file: Path) -> None:
    file.write_text("(r0|db|)\n")
    assert update_state(file, {"www": ("", "")}).results == {"db": ""}


def test_an_empty_string_takes_a_fact_away(file: Path) -> None:
    file.write_text(REFERENCE)
    update_state(file, {"www": ("", "/new.drv")})
    assert "(r0|www" not in file.read_text()
    assert "(d0|www|/new.drv)\n" in file.read_text()


def test_what_is_not_ours_is_given_back(file: Path) -> None:
    file.write_text(
        "# built on ant (see wiki)\n(z9|other|fact)\n(r0|only two)(r0|www|/a)  trailing\n(r0|bad~escape|/x)\n"
    )
    update_state(file, {"www": ("/b", "/b.drv")})
    assert file.read_text().splitlines() == [
        "# built on ant (see wiki)",
        "(z9|other|fact)",
        "(r0|only two)",
        "trailing",
        "(r0|bad~escape|/x)",
        "(r0|www|/b)",
        "(d0|www|/b.drv)",
    ]


def test_a_fact_that_was_cut_short_swallows_no_other(file: Path) -> None:
    file.write_text("(r0|db|/db)\n(r0|www|/nix/st")
    update_state(file, {"portico": ("/portico", "/portico.drv")})
    assert file.read_text() == "(r0|db|/db)\n(r0|portico|/portico)\n(d0|portico|/portico.drv)\n(r0|www|/nix/st\n"
    assert read_state(file).results == {"db": "/db", "portico": "/portico"}


def test_what_was_written_after_a_cut_is_read() -> None:
    assert parse("(r0|www|/nix/st(r0|db|/db)\n(d0|ww\n(d0|db|/db.drv)").results == {"db": "/db"}
    assert parse("(r0|www|/nix/st(r0|db|/db)\n(d0|ww\n(d0|db|/db.drv)").derivations == {"db": "/db.drv"}


def test_the_later_of_two_facts_holds() -> None:
    assert parse("(r0|www|/a)\n(r0|www|/b)\n").results == {"www": "/b"}


def test_bytes_that_are_no_text_are_given_back(file: Path) -> None:
    file.write_bytes(b"# caf\xe9\n(r0|www|/a)\n")
    update_state(file, {"db": ("/db", "")})
    assert file.read_bytes() == b"# caf\xe9\n(r0|db|/db)\n(r0|www|/a)\n"


def test_the_file_is_for_its_owner_alone(file: Path) -> None:
    file.touch(0o644)
    update_state(file, {"www": ("/a", "/a.drv")})
    assert file.stat().st_mode & 0o777 == 0o600


def test_nothing_else_is_left_beside_it(file: Path) -> None:
    update_state(file, {"www": ("/a", "/a.drv")})
    assert {entry.name for entry in file.parent.iterdir()} <= {".hive.state", ".hive.state.lock"}


def test_a_link_is_followed_and_stays(file: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    file.symlink_to("kept/state")
    update_state(file, {"www": ("/a", "/a.drv")})
    assert file.is_symlink()
    assert (tmp_path / "kept" / "state").read_text() == "(r0|www|/a)\n(d0|www|/a.drv)\n"


def test_a_crash_while_writing_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(REFERENCE)

    def crash(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(StateError, match=r"hive\.state cannot be written: No space left on device\.$"):
        update_state(file, {"www": ("/new", "/new.drv")})
    assert file.read_text() == REFERENCE
    assert {entry.name for entry in file.parent.iterdir()} <= {".hive.state", ".hive.state.lock"}


def test_a_folder_is_no_state_file(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"cannot be read: Is a directory\.$"):
        read_state(tmp_path)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"state cannot be written: there is no folder .*none\.$"):
        update_state(tmp_path / "none" / "state", {})


def test_a_file_that_stays_locked_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0)
    with (
        filelock.FileLock(f"{file}.lock"),
        pytest.raises(StateError, match=r"Another process keeps .*hive\.state\.lock"),
    ):
        update_state(file, {})


def test_a_line_break_cannot_be_written(file: Path) -> None:
    with pytest.raises(StateError, match="cannot hold a line break"):
        update_state(file, {"a\nb": ("/a", "")})


def write_many(file: str, writer: int) -> None:
    for number in range(10):
        update_state(file, {f"system-{writer}-{number}": (f"/{writer}-{number}", "")})


def test_writers_at_the_same_time_lose_nothing(file: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(write_many, [str(file)] * 4, range(4)))
    assert len(read_state(file).results) == 40


@given(results=TABLES, derivations=TABLES)
def test_what_is_written_is_read_back(results: dict[str, str], derivations: dict[str, str]) -> None:
    state = State(results=results, derivations=derivations)
    assert parse(render(state)) == state


@given(text=TEXTS)
def test_reading_and_writing_settles_at_once(text: str) -> None:
    state = parse(text)
    assert parse(render(state)) == state


@given(results=TABLES, derivations=TABLES, data=st.data())
def test_a_file_cut_anywhere_gives_what_is_whole(
    results: dict[str, str], derivations: dict[str, str], data: st.DataObject
) -> None:
    text = render(State(results=results, derivations=derivations))
    length = data.draw(st.integers(0, len(text)))
    whole = text[:length].count(")")
    state = parse(text[:length])
    assert len(state.results) + len(state.derivations) == whole
    assert state.results.items() <= results.items()
    assert state.derivations.items() <= derivations.items()
    assert parse(render(state)) == state
