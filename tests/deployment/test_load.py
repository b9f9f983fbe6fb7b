"""Loading a deployment with real Nix: what is accepted, and what a person sees when it cannot be evaluated."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from nixhive_nb.deployment import changes
from nixhive_nb.deployment.load import load
from nixhive_nb.errors import DeploymentError, MissingProgram

pytestmark = pytest.mark.nix

HIVES = Path(__file__).parent.parent / "hives"
WWW = "systems.www.configuration = { ... }: { };"


@pytest.fixture
def hive(tmp_path: Path) -> Path:
    """A folder with a deployment that is all right."""
    folder = tmp_path / "example"
    folder.mkdir()
    (folder / "default.nix").write_text(f'{{ {WWW} instances.www-1.system = "www"; }}')
    return folder


def write(hive: Path, text: str) -> Path:
    (hive / "default.nix").write_text(text)
    return hive


def refusal(path: Path | str, **options: bool) -> str:
    with pytest.raises(DeploymentError) as caught:
        load(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(folder.name for folder in HIVES.iterdir()))
def test_the_inventory_is_what_nix_hive_prints(name: str) -> None:
    expected = (HIVES / name / "inventory.json").read_text()
    assert load(HIVES / name).inventory.to_json() == json.loads(expected)


def test_a_file_and_the_folder_that_holds_it_are_the_same_deployment(hive: Path) -> None:
    assert load(hive).inventory.instances == load(hive / "default.nix").inventory.instances


def test_the_default_is_hive_nix_here(hive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hive / "default.nix").rename(hive / "hive.nix")
    monkeypatch.chdir(hive)
    loaded = load()
    assert loaded.inventory.source == "hive.nix"
    assert loaded.path == hive / "hive.nix"


def test_a_folder_is_named_with_a_slash(hive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hive.parent)
    assert load("example").inventory.source == load("example/").inventory.source == "example/"


def test_a_system_is_for_this_platform_unless_it_says_otherwise() -> None:
    here = subprocess.run(
        ["nix-instantiate", "--eval", "-E", "builtins.currentSystem"], capture_output=True, text=True, check=True
    )
    systems = load(HIVES / "system-paths").inventory.systems
    assert systems["www"].platform == json.loads(here.stdout)
    assert systems["db"].platform == "aarch64-linux"


def test_the_paths_of_a_system_stand_before_those_of_the_deployment() -> None:
    paths = load(HIVES / "system-paths").inventory.include_paths("db")
    nixpkgs = [path for path in paths if path.startswith("nixpkgs=")]
    assert nixpkgs[0].endswith("/nixos-22.05/nixexprs.tar.xz")
    assert paths[-3:] == load(HIVES / "system-paths").inventory.paths


def test_a_path_is_not_copied_to_the_store(hive: Path) -> None:
    write(hive, f"{{ {WWW} paths.here = ./.; }}")
    assert load(hive).inventory.paths == (f"here={hive}",)


def test_what_the_deployment_traces_is_kept(hive: Path) -> None:
    write(hive, f'{{ {WWW} instances = builtins.trace "seventeen hosts" {{ }}; }}')
    assert "trace: seventeen hosts" in load(hive).log


ADVICE = "Name a deployment with -c: a file, a folder that holds default.nix, hive.nix or flake.nix, or a flake."


def test_no_such_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "hive.nix") == (f"There is no {tmp_path}/hive.nix. {ADVICE}")


def test_a_home_folder_of_nobody_is_named():
    with pytest.raises(DeploymentError, match="~nobody-here/hive: nobody of that name has a home folder here"):
        load("~nobody-here/hive")


def test_a_folder_that_holds_no_deployment(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (f"The folder {tmp_path} holds none of default.nix, hive.nix and flake.nix. {ADVICE}")


def test_a_folder_with_hive_nix_is_that_file(hive: Path) -> None:
    (hive / "default.nix").rename(hive / "hive.nix")
    assert load(hive).path == hive / "hive.nix"
    assert load(hive).inventory.instances == load(hive / "hive.nix").inventory.instances


def test_nix_is_not_installed(hive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match="'nix-instantiate' is not installed or not on PATH") as caught:
        load(hive)
    assert "apt-get install nix-bin" in str(caught.value)


def test_a_syntax_error_is_one_line_with_its_place(hive: Path) -> None:
    write(hive, "{\n  systems = ;\n}\n")
    message = refusal(hive)
    assert message == f"{hive}/default.nix:2:13: syntax error, unexpected ';'"


def test_an_error_in_an_imported_file_names_that_file_and_the_system(hive: Path) -> None:
    write(hive, "{ systems.www.configuration = import ./www.nix; }")
    (hive / "www.nix").write_text("{ ... }:\n{ services.nginx.enable = ture; }\n")
    assert refusal(hive) == f"{hive}/www.nix:2:27: undefined variable 'ture'\n(in `configuration` of system www)"


def test_a_thrown_error_names_the_file_that_throws(hive: Path) -> None:
    write(hive, "{ instances = import ./instances.nix; }")
    (hive / "instances.nix").write_text('throw "terraform has not run yet"')
    place, _, message = refusal(hive).partition(": ")
    assert place.startswith(f"{hive}/instances.nix")
    assert message == "terraform has not run yet\n(in `instances`)"


def test_an_error_keeps_what_nix_suggests(hive: Path) -> None:
    write(hive, "let hosts = { one = 1; }; in { instances = hosts.onee; }")
    assert f"{hive}/default.nix:1:44: attribute 'onee' missing\nDid you mean one?" in refusal(hive)


def test_the_stack_of_nix_is_shown_when_asked_for(hive: Path) -> None:
    write(hive, "{ systems.www.configuration = import ./www.nix; }")
    (hive / "www.nix").write_text("1 + true")
    assert "…" not in refusal(hive)
    assert "… while evaluating" in refusal(hive, show_trace=True)
    assert "evaluating file '" not in refusal(hive, show_trace=True)


def test_the_error_carries_all_that_nix_wrote(hive: Path) -> None:
    write(hive, "{ instances = 1 + true; }")
    with pytest.raises(DeploymentError) as caught:
        load(hive)
    assert any("… while evaluating" in line for line in caught.value.log)


def test_a_function_that_needs_an_argument(hive: Path) -> None:
    write(hive, "{ pkgs, stage, region ? 1 }: { }")
    assert refusal(hive) == f"{hive}/ is a function that needs pkgs, stage: give them defaults (`pkgs, stage ? …`)."


def test_a_deployment_that_is_no_set(hive: Path) -> None:
    write(hive, "[ ]")
    assert refusal(hive) == f"{hive}/ is a list, not an attribute set."


def test_an_empty_deployment_is_a_warning() -> None:
    empty = HIVES / "empty"
    assert load(empty).inventory.warnings == (f"{empty}/ has no systems and no instances.",)


def test_a_system_without_instances_is_a_warning(hive: Path) -> None:
    write(hive, f"{{ {WWW} }}")
    assert load(hive).inventory.warnings == (f"{hive}/ has no instances.",)


def test_nothing_has_changed_at_first(hive: Path) -> None:
    assert load(hive).changed() is None


def test_a_changed_deployment_is_seen(hive: Path) -> None:
    loaded = load(hive)
    write(hive, "{ }")
    assert loaded.changed() == str(hive / "default.nix")


def test_an_imported_file_outside_the_folder_is_watched(hive: Path) -> None:
    other = hive.parent / "common.nix"
    other.write_text("{ ... }: { }")
    write(hive, "{ systems.www.configuration = import ../common.nix; }")
    loaded = load(hive)
    assert loaded.changed() is None
    other.write_text("{ ... }: { services = { }; }")
    assert loaded.changed() == str(other)


def test_a_file_in_the_store_is_not_watched(hive: Path) -> None:
    files = ["/nix/store/abc-nixpkgs/lib/default.nix", "/srv/common.nix"]
    assert set(changes.look(hive).and_files(files).others) == {"/srv/common.nix"}


def test_a_file_that_is_read_as_data_is_watched(hive: Path) -> None:
    data = hive / "terraform" / "instances.json"
    data.parent.mkdir()
    data.write_text("{}")
    write(hive, f"{{ {WWW} instances = builtins.fromJSON (builtins.readFile ./terraform/instances.json); }}")
    loaded = load(hive)
    data.write_text('{"www-1": {"system": "www"}}')
    assert loaded.changed() == str(data)


def test_a_file_that_comes_or_goes_is_seen(hive: Path) -> None:
    loaded = load(hive)
    new = hive / "hosts" / "www-2.nix"
    new.parent.mkdir()
    new.touch()
    assert loaded.changed() == str(new)
    with_it = load(hive)
    new.unlink()
    assert with_it.changed() == str(new)


def test_nix_path_is_watched(hive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(hive)
    monkeypatch.setenv("NIX_PATH", "nixpkgs=/elsewhere")
    assert loaded.changed() == "$NIX_PATH"


@pytest.mark.parametrize(
    "name", [".hive.state", ".hive/runs/1.jsonl", "fleet.ipynb", "hive.state", "__pycache__/a.pyc"]
)
def test_what_we_and_a_notebook_write_is_not_a_change(hive: Path, name: str) -> None:
    loaded = load(hive)
    (hive / name).parent.mkdir(exist_ok=True, parents=True)
    (hive / name).touch()
    assert loaded.changed() is None


def test_links_to_the_store_and_to_folders_are_not_followed(hive: Path) -> None:
    (hive / "result").symlink_to("/nix/store/00000000000000000000000000000000-none")
    (hive / "loop").symlink_to(hive)
    (hive / "linked.json").symlink_to("../data.json")
    (hive.parent / "data.json").write_text("1")
    loaded = load(hive)
    assert set(loaded.watched.tree) == {str(hive / "default.nix"), str(hive / "linked.json")}
    (hive.parent / "data.json").write_text("12")
    assert loaded.changed() == str(hive / "linked.json")


def test_a_folder_with_too_many_files_is_a_warning(hive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixhive_nb.deployment.changes.MOST_ENTRIES", 3)
    deep = hive / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "data.json").touch()
    (deep / "used.nix").write_text("{ ... }: { }")
    write(hive, "{ systems.www.configuration = import ./a/b/used.nix; }")
    loaded = load(hive)
    assert "5,000 files and folders" in loaded.inventory.warnings[-1]
    (deep / "data.json").write_text("1")
    assert loaded.changed() is None
    (deep / "used.nix").write_text("{ ... }: { x = 1; }")
    assert loaded.changed() == str(deep / "used.nix")


def test_as_many_files_as_are_watched_are_no_warning(hive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixhive_nb.deployment.changes.MOST_ENTRIES", 2)
    (hive / "data.json").touch()
    assert changes.look(hive).complete
    (hive / "more.json").touch()
    assert not changes.look(hive).complete
