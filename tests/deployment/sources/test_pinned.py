"""Whether an evaluation of a flake looks at nothing that may be another thing tomorrow, by what Nix tells of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nixhive_nb.deployment.sources import pinned
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.deployment.sources.where import FlakePlace
from nixhive_nb.util import process

if TYPE_CHECKING:
    from pathlib import Path

HASH = "sha256-eMlwfNhUb+tL4eolovXW05+ypZfW2tNd1sbClGR1LKM="
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lock(locked):
    node = {"locked": locked, "original": {"id": "nixpkgs", "type": "indirect"}}
    return {"nodes": {"root": {"inputs": {"nixpkgs": "nixpkgs"}}, "nixpkgs": node}, "root": "root", "version": 7}


def is_pinned(folder: Path, monkeypatch, found, kept, *, reference="", rev=COMMIT) -> bool:
    (folder / "flake.lock").write_text(json.dumps(kept))
    told = {"locks": found, "path": str(folder), "locked": {"rev": rev}}
    ended = process.Finished(argv=(), status=0, stdout=json.dumps(told), stderr="")
    monkeypatch.setattr(process, "run", lambda *_: ended)
    place = FlakePlace(reference=reference) if reference else FlakePlace.local(folder)
    return pinned.is_pinned(place, Evaluation())


@pytest.mark.parametrize(
    ("locked", "expected"),
    [
        ({"type": "github", "rev": COMMIT, "narHash": HASH}, True),
        ({"type": "path", "path": "/lib", "narHash": HASH}, True),
        ({"type": "path", "path": "./lib"}, True),  # part of the flake itself, from Nix 2.26 on
        ({"type": "path", "path": "/lib"}, False),
        ({"type": "git", "url": "file:///lib"}, False),  # a tree with changes
    ],
)
def test_each_input_must_have_a_hash(tmp_path, monkeypatch, locked, expected):
    assert is_pinned(tmp_path, monkeypatch, lock(locked), lock(locked)) is expected


def test_what_nix_takes_must_be_what_the_lock_file_says(tmp_path, monkeypatch):
    locked = {"type": "path", "path": "/lib", "narHash": HASH}
    marked = {**locked, "__final": True}  # some versions of Nix tell it, and never write it
    assert is_pinned(tmp_path, monkeypatch, lock(marked), lock(locked))
    assert not is_pinned(tmp_path, monkeypatch, lock({**locked, "path": "/other"}), lock(locked))
    assert not is_pinned(tmp_path, monkeypatch, lock(locked), {"nodes": {"root": {}}, "root": "root"})


@pytest.mark.parametrize("reference", ["github:me/fleet", f"github:me/{COMMIT[::-1]}"])
def test_a_flake_elsewhere_must_be_named_with_its_commit(tmp_path, monkeypatch, reference):
    locked = lock({"type": "github", "rev": COMMIT, "narHash": HASH})
    assert not is_pinned(tmp_path, monkeypatch, locked, locked, reference=reference)
    assert is_pinned(tmp_path, monkeypatch, locked, locked, reference=f"github:me/fleet/{COMMIT}")


@pytest.mark.parametrize("reference", ["git+file://{}?ref=main", "path:{}", "{}?dir=sub"])
def test_what_lies_in_a_folder_need_not_be_what_a_reference_means(tmp_path, reference):
    place = FlakePlace(reference=reference.format(tmp_path), directory=tmp_path)
    assert pinned.contents(place, ()) is None


def test_of_a_folder_with_too_much_in_it_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("1")
    assert pinned.contents(FlakePlace.local(tmp_path), ()) is not None
    (tmp_path / "b").write_text("2")
    before = pinned.contents(FlakePlace.local(tmp_path), ())
    assert before == pinned.contents(FlakePlace.local(tmp_path), ())
    assert before != pinned.contents(FlakePlace.local(tmp_path), [str(tmp_path / "b")])
    monkeypatch.setattr(pinned, "_MOST_BYTES", 1)
    assert pinned.contents(FlakePlace.local(tmp_path), ()) is None
    monkeypatch.setattr(pinned, "_MOST_BYTES", 10)
    monkeypatch.setattr(pinned, "_MOST_FILES", 0)
    assert pinned.contents(FlakePlace.local(tmp_path), ()) is None


def test_links_and_modes_count(tmp_path):
    file, link = tmp_path / "a", tmp_path / "link"
    file.write_text("1")
    link.symlink_to("a")
    first = pinned.contents(FlakePlace.local(tmp_path), ())
    link.unlink()
    link.symlink_to("b")
    second = pinned.contents(FlakePlace.local(tmp_path), ())
    file.chmod(0o755)
    assert len({first, second, pinned.contents(FlakePlace.local(tmp_path), ())}) == 3
