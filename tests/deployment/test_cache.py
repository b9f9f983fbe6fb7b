"""What flakes evaluated to is kept: a second load starts no evaluation, and one after any change does."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from nixhive_nb.commands.session import Session
from nixhive_nb.deployment import cache
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.places import places_of
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.util import process
from nixhive_nb.workspace import unwatched
from tests.counting import counted
from tests.deployment.sources.test_flake import NEVER, NIX, flake, git

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.nix

DATA = (
    'nixhive = { instances.www = { store = "https://me:secret@cache.example.org"; tags = [ (import ./tag.nix) ]; }; };'
)
DEPLOY = """deploy = {
  sshOpts = [ "-p" "2222" ];
  nodes.www = { hostname = "www.example.org"; profiles.system = { user = "root"; path = throw "evaluated"; }; };
};"""
HIVE = """colmena = {
  meta.nixpkgs = import nixpkgs { system = "x86_64-linux"; };
  www = { deployment.targetHost = "www.example.org"; networking.hostName = "www"; };
};"""


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "nixhive_nb" / "deployments"


@pytest.fixture
def place(tmp_path):
    return locked(tmp_path / "fleet", DATA)


def locked(folder: Path, outputs: str) -> Path:
    folder.mkdir()
    (folder / "tag.nix").write_text('"web"\n')
    (folder / ".hidden.nix").write_text("1\n")
    flake(folder, NEVER + outputs)
    process.run([*NIX, "flake", "lock", str(folder)])
    git(folder, "add", "--all")
    return folder


def evaluations(monkeypatch, path, *, anew=False, **how):
    """Load, and return how often Nix was started, and what was loaded."""
    with monkeypatch.context() as patch:
        started = counted(patch, process, "run")
        loaded = load(path, how=Evaluation(**how), anew=anew, name="fleet")
    return sum(argv[0].startswith("nix") for (argv, *_) in started), loaded


def kept(caches: Path) -> list[Path]:
    return sorted(caches.glob("*"))


@pytest.mark.parametrize("outputs", [DATA, DEPLOY, HIVE, ""], ids=["data", "deploy-rs", "colmena", "names alone"])
def test_a_second_load_of_a_flake_starts_no_nix_and_gives_the_same(tmp_path, monkeypatch, outputs):
    place = locked(tmp_path / "fleet", outputs)
    first, before = evaluations(monkeypatch, place)
    second, after = evaluations(monkeypatch, place)
    assert first > 0
    assert second == 0
    assert after.inventory == before.inventory
    assert (after.log, after.path, type(after.source)) == (before.log, before.path, type(before.source))
    assert after.changed() is None
    command = after.source.toplevels(after.inventory, ["www"])
    assert command == before.source.toplevels(before.inventory, ["www"])
    if outputs is HIVE:
        assert "/nix/store/" in process.run(command).stdout


def test_to_load_anew_evaluates(place, monkeypatch):
    first, _ = evaluations(monkeypatch, place)
    again, _ = evaluations(monkeypatch, place, anew=True)
    assert again == first


def test_commands_take_what_is_kept_and_load_does_not(place, monkeypatch):
    evaluations(monkeypatch, place)
    monkeypatch.chdir(place)
    counts = []
    for anew in (False, True):
        session = Session(program="nix-hive", follow=None, warn=pytest.fail)
        # As a command calls it: by the name that the user gave.
        load(place, anew=True, name=str(place), own=unwatched(places_of(place, ".hive.state")))
        with monkeypatch.context() as patch:
            started = counted(patch, process, "run")
            session.hive({"config": str(place)}, anew=anew)
            counts.append(sum(argv[0].startswith("nix") for (argv, *_) in started))
        session.close()
    assert counts[0] == 0
    assert counts[1] > 0


def test_what_is_kept_is_for_its_owner_alone(place, monkeypatch, caches):
    evaluations(monkeypatch, place)
    (file,) = kept(caches)
    assert (file.stat().st_mode & 0o777, caches.stat().st_mode & 0o777) == (0o600, 0o700)
    assert b"secret" in file.read_bytes()  # why


def _edit(place):
    before = (place / "tag.nix").stat()
    (place / "tag.nix").write_text('"dns"\n')
    os.utime(place / "tag.nix", ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same length, too


def _edit_hidden(place):
    (place / ".hidden.nix").write_text("2\n")


def _commit(place):
    git(place, "-c", "user.name=me", "-c", "user.email=me@example.org", "commit", "--quiet", "-m", "all")


def _tell_git_of_another(place):
    (place / "more.nix").write_text("1")
    git(place, "add", "more.nix")


def _unlock(place):
    git(place, "rm", "--quiet", "--cached", "flake.lock")


@pytest.mark.parametrize("change", [_edit, _edit_hidden, _commit, _tell_git_of_another, _unlock])
def test_after_a_change_of_what_an_evaluation_may_see_it_is_evaluated(place, monkeypatch, change):
    evaluations(monkeypatch, place)
    change(place)
    count, loaded = evaluations(monkeypatch, place)
    assert count > 0
    assert loaded.inventory.instances["www"].tags == (("dns",) if change is _edit else ("web",))


def test_a_file_that_git_does_not_know_changes_nothing(place, monkeypatch):
    evaluations(monkeypatch, place)
    (place / "notes.nix").write_text("1")
    assert evaluations(monkeypatch, place)[0] == 0


def test_of_a_folder_in_no_repository_each_file_counts(place, monkeypatch):
    process.run(["rm", "-r", str(place / ".git")])
    evaluations(monkeypatch, place)
    assert evaluations(monkeypatch, place)[0] == 0
    (place / "notes.txt").write_text("1")
    assert evaluations(monkeypatch, place)[0] > 0


@pytest.mark.parametrize(
    ("name", "value"), [("NIX_CONFIG", "cores = 1"), ("XDG_CONFIG_HOME", "config"), ("LOGNAME", "somebody")]
)
def test_other_settings_and_another_user_are_another_question(place, monkeypatch, tmp_path, name, value):
    evaluations(monkeypatch, place)
    if name == "XDG_CONFIG_HOME":
        value = str(tmp_path)
        (tmp_path / "nix").mkdir()
        (tmp_path / "nix" / "nix.conf").write_text("cores = 1\n")
    monkeypatch.setenv(name, value)
    assert evaluations(monkeypatch, place)[0] > 0


@pytest.mark.parametrize(
    "how",
    [
        {"impure": True},
        {"override_inputs": (("nixpkgs", "path:/nowhere"),)},
        {"options": (("pure-eval", "false"),)},
    ],
)
def test_an_evaluation_that_may_see_what_is_not_pinned_is_not_kept(place, monkeypatch, caches, how):
    if "override_inputs" in how:
        lock = json.loads((place / "flake.lock").read_bytes())
        how = {"override_inputs": (("nixpkgs", f"path:{lock['nodes']['nixpkgs']['locked']['path']}"),)}
    evaluations(monkeypatch, place, **how)
    assert kept(caches) == []


def test_a_flake_without_a_lock_file_is_not_kept(place, monkeypatch, caches):
    git(place, "rm", "--quiet", "--force", "flake.lock")
    evaluations(monkeypatch, place)
    assert kept(caches) == []


def test_a_flake_whose_lock_file_lacks_an_input_is_not_kept(place, monkeypatch, caches):
    file = place / "flake.nix"
    file.write_text(
        file.read_text().replace(
            "outputs =", f'inputs.more = {{ url = "path:{place.parent}"; flake = false; }}; outputs ='
        )
    )
    file.write_text(file.read_text().replace("{ self, nixpkgs }", "{ self, nixpkgs, more }"))
    evaluations(monkeypatch, place)
    assert kept(caches) == []


def test_a_flake_elsewhere_is_kept_where_its_commit_is_named(place, monkeypatch):
    _commit(place)
    commit = process.run(["git", "-C", str(place), "rev-parse", "HEAD"]).stdout.strip()
    url = f"git+file://{place}?ref=HEAD"
    monkeypatch.setattr(
        "nixhive_nb.deployment.sources.where._LOCAL", re.compile("never-this^")
    )  # as if on no disk here
    evaluations(monkeypatch, url)
    assert evaluations(monkeypatch, url)[0] > 0
    pinned = f"{url}&rev={commit}"
    evaluations(monkeypatch, pinned)
    assert evaluations(monkeypatch, pinned)[0] == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"depends": 1}', b"\xff"])
def test_a_file_that_is_broken_is_ignored_and_written_anew(place, monkeypatch, caches, content):
    evaluations(monkeypatch, place)
    (file,) = kept(caches)
    file.write_bytes(content)
    assert evaluations(monkeypatch, place)[0] > 0
    assert evaluations(monkeypatch, place)[0] == 0


def test_a_file_or_a_folder_that_others_may_write_is_ignored(place, monkeypatch, caches):
    evaluations(monkeypatch, place)
    (file,) = kept(caches)
    file.chmod(0o666)
    assert evaluations(monkeypatch, place)[0] > 0
    assert evaluations(monkeypatch, place)[0] == 0  # written anew
    caches.chmod(0o777)
    assert evaluations(monkeypatch, place)[0] > 0
    assert evaluations(monkeypatch, place)[0] > 0


def test_an_answer_that_names_what_left_the_store_is_none(place, monkeypatch, caches):
    evaluations(monkeypatch, place)
    (file,) = kept(caches)
    entry = json.loads(file.read_bytes())
    entry["answer"]["inventory"]["paths"] = [f"a=/nix/store/{'0' * 32}-gone/lib"]
    file.write_bytes(msgspec.json.encode(entry))
    assert evaluations(monkeypatch, place)[0] > 0


def test_no_more_deployments_are_kept_than_a_bound(place, monkeypatch, caches, tmp_path):
    monkeypatch.setattr(cache, "MOST_KEPT", 2)
    evaluations(monkeypatch, place)
    for number in range(2):
        other = locked(tmp_path / f"other-{number}", DATA)
        evaluations(monkeypatch, other)
    assert len(kept(caches)) == 2
    assert evaluations(monkeypatch, other)[0] == 0


def test_inputs_that_are_folders_here_are_watched(tmp_path, monkeypatch):
    library = tmp_path / "library"
    library.mkdir()
    (library / "flake.nix").write_text("{ outputs = _: { }; }")
    folder = tmp_path / "fleet"
    folder.mkdir()
    flake(folder, NEVER + "nixhive.instances = { };", more=f'inputs.library.url = "path:{library}";')
    text = (folder / "flake.nix").read_text().replace("{ self, nixpkgs }", "{ self, nixpkgs, library }")
    (folder / "flake.nix").write_text(text)
    process.run([*NIX, "flake", "lock", str(folder)])
    git(folder, "add", "--all")
    loaded = load(folder)
    assert loaded.changed() is None
    (library / "flake.nix").write_text("{ outputs = _: { a = 1; }; }")
    assert loaded.changed() == str(library / "flake.nix")


def test_each_file_of_the_repository_that_git_knows_is_watched(tmp_path):
    (tmp_path / "beside.nix").write_text('"web"\n')
    git(tmp_path, "init", "--quiet")
    place = locked(tmp_path / "fleet", DATA.replace("./tag.nix", "../beside.nix"))
    process.run(["rm", "-r", str(place / ".git")])
    git(tmp_path, "add", "--all")
    (place / ".hive.state").write_text("{}")
    (place / "fleet.ipynb").write_text("{}")
    git(tmp_path, "add", "--all")
    own = [str(place / ".hive.state")]
    loaded = load(place, own=own)
    assert loaded.inventory.instances["www"].tags == ("web",)
    assert loaded.changed() is None
    (place / ".hive.state").write_text("{ }")
    (place / "fleet.ipynb").write_text("{ }")
    assert loaded.changed() is None
    (place / ".hidden.nix").write_text("22\n")
    assert loaded.changed() == str(place / ".hidden.nix")
    loaded = load(place, own=own)
    (tmp_path / "beside.nix").write_text('"relay"\n')
    assert loaded.changed() == str(tmp_path / "beside.nix")
    assert load(place, anew=False).inventory.instances["www"].tags == ("relay",)
