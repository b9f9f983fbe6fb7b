"""What systems were made from, as runs have noted it."""

from __future__ import annotations

import msgspec
import pytest

from nixhive_nb.deployment.revision import Revision
from nixhive_nb.run import made_from
from tests.plan.looked import looked

HERE = Revision(commit="a" * 40)
DIRTY = Revision(commit="b" * 40, dirty=True)


def at(revision):
    return msgspec.structs.replace(looked(), revision=revision)


def test_each_system_of_a_run_is_noted(tmp_path):
    assert made_from.noted(tmp_path) == {}
    plan = at(HERE)
    made_from.note(tmp_path / "own", plan)
    assert made_from.noted(tmp_path / "own") == {one.path: str(HERE) for one in plan.wanted}
    assert (tmp_path / "own" / "revisions").stat().st_mode & 0o777 == 0o600


def test_the_last_counts_and_one_that_was_committed_goes_before_one_that_was_not(tmp_path):
    for revision in (Revision(commit="c" * 40), HERE, DIRTY):
        made_from.note(tmp_path, at(revision))
    assert set(made_from.noted(tmp_path).values()) == {str(HERE)}


def test_nothing_is_written_where_nothing_is_new(tmp_path):
    made_from.note(tmp_path, at(None))
    assert not (tmp_path / "revisions").exists()
    made_from.note(tmp_path, at(HERE))
    size = (tmp_path / "revisions").stat().st_size
    made_from.note(tmp_path, at(HERE))
    assert (tmp_path / "revisions").stat().st_size == size


def test_it_does_not_grow_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(made_from, "_MOST", 2_000)
    for number in range(40):
        made_from.note(tmp_path, at(Revision(commit=f"{number:040x}")))
    assert (tmp_path / "revisions").stat().st_size <= 4_000 + 500
    assert set(made_from.noted(tmp_path).values()) == {f"{39:040x}"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe \n", b"one\n", b"/nix/store/x \n"])
def test_what_makes_no_sense_is_passed_over(tmp_path, content):
    (tmp_path / "revisions").write_bytes(content)
    assert not {"one", "/nix/store/x"} & made_from.noted(tmp_path).keys()
