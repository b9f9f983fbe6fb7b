"""Where a deployment is, by how it is named. References of flakes are those of the manual of `nix flake`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nixhive_nb.deployment.sources.where import (
    FlakePlace,
    deployment_above,
    deployment_path,
    is_reference,
    usual_config,
)
from nixhive_nb.errors import DeploymentError


@pytest.mark.parametrize(
    "text",
    [
        *("github:owner/repo", "git+https://example.org/x.git", "git+ssh://git@example.org/x", "path:/srv/fleet"),
        *(".#prod", "flake:fleet", "/srv/fleet#prod", "https://example.org/x.tar.gz", "#prod"),
        *("git+file:///srv/fleet?dir=hive", ".?dir=hive", "./fleet?dir=hive", "/srv/fleet?ref=prod"),
    ],
)  # fmt: skip
def test_a_url_and_an_output_are_references(text):
    assert is_reference(text)


@pytest.mark.parametrize("text", [".", "fleet", "./fleet/hive.nix", "/srv/fleet", "~/fleet", "hive.nix", "./what?.nix"])
def test_a_file_or_folder_is_none(text):
    assert not is_reference(text)


def test_what_is_there_is_a_file_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c#sharp").mkdir()
    assert not is_reference("c#sharp")


def test_a_flake_on_this_machine_is_known_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("flake.nix").touch()
    for text, reference in {
        ".#prod": str(tmp_path),
        "#prod": str(tmp_path),
        f"{tmp_path}#prod": str(tmp_path),
        "./flake.nix#prod": str(tmp_path),
        f"{tmp_path}/flake.nix#prod": str(tmp_path),
        f"path:{tmp_path}#prod": f"path:{tmp_path}",
        f"git+file://{tmp_path}#prod": f"git+file://{tmp_path}",
    }.items():
        place = FlakePlace.of(text)
        assert (place.reference, place.attribute, place.directory) == (reference, "prod", tmp_path), text
        assert deployment_path(text) == Path(f"{tmp_path}#prod")


def test_a_flake_below_the_top_of_its_tree_is_known_by_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hive = tmp_path / "hive"
    hive.mkdir()
    (hive / "flake.nix").touch()
    for text, reference in {
        ".?dir=hive#prod": str(hive),
        "?dir=hive#prod": str(hive),
        f"{tmp_path}?dir=hive#prod": str(hive),
        f"git+file://{tmp_path}?dir=hive#prod": f"git+file://{tmp_path}?dir=hive",
        f"git+file:{tmp_path}?ref=main&dir=hive#prod": f"git+file:{tmp_path}?ref=main&dir=hive",
        "git+file:./?dir=hive#prod": f"git+file:{tmp_path}?dir=hive",
        f"{tmp_path}?ref=main&dir=hive#prod": f"{tmp_path}?ref=main&dir=hive",
    }.items():
        place = FlakePlace.of(text)
        assert (place.reference, place.attribute, place.directory) == (reference, "prod", hive), text


def test_one_of_a_commit_need_not_be_in_the_folder(tmp_path):
    place = FlakePlace.of(f"git+file://{tmp_path}?rev=0123&dir=hive#prod")
    assert (place.reference, place.directory) == (f"git+file://{tmp_path}?rev=0123&dir=hive", None)


def test_links_are_followed_as_nix_does_not_follow_them(tmp_path):
    (tmp_path / "fleet" / "hive").mkdir(parents=True)
    (tmp_path / "fleet" / "hive" / "flake.nix").touch()
    real = str(tmp_path / "fleet" / "hive")
    (tmp_path / "link").symlink_to("fleet/hive")
    (tmp_path / "above").symlink_to("fleet")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "flake.nix").symlink_to("../fleet/hive/flake.nix")
    for text in ("link", "above/hive", "etc"):
        assert FlakePlace.of(f"{tmp_path}/{text}#prod").reference == real, text
        assert FlakePlace.local(tmp_path / text).directory == Path(real), text
    assert FlakePlace.of(f"path:{tmp_path}/link").reference == f"path:{real}"


def test_a_link_within_a_repository_is_for_nix_to_follow(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "hive").mkdir()
    (tmp_path / "flake.nix").touch()
    (tmp_path / "hive" / "flake.nix").symlink_to("../flake.nix")
    assert FlakePlace.local(tmp_path / "hive").directory == tmp_path / "hive"


def test_signs_of_a_url_in_a_path_are_written_as_one_has_them(tmp_path):
    folder = tmp_path / "my fleet"
    folder.mkdir()
    (folder / "flake.nix").touch()
    assert FlakePlace.of(f"{folder}#prod").reference == str(folder)
    assert FlakePlace.of(f"path:{tmp_path}/my%20fleet").reference == f"path:{tmp_path}/my%20fleet"
    folder.rename(tmp_path / "a+b@c=d")
    assert FlakePlace.of(f"path:{tmp_path}/a+b@c=d").reference == f"path:{tmp_path}/a+b@c=d"


def test_of_a_folder_below_one_with_a_deployment_it_is_said_what_to_type(tmp_path, monkeypatch):
    below = tmp_path / "notebooks" / "old"
    below.mkdir(parents=True)
    (tmp_path / "flake.nix").touch()
    (tmp_path / "notebooks" / "hive.nix").touch()  # it is no flake
    monkeypatch.chdir(below)
    with pytest.raises(DeploymentError) as refused:
        FlakePlace.of(".#prod")
    above = f"There is a flake.nix above, in {tmp_path}: -c '../..#prod'"
    assert str(refused.value) == f"There is no flake.nix in {below}. {above}"
    assert deployment_above(tmp_path) == ""


def test_one_elsewhere_has_no_folder():
    place = FlakePlace.of("github:owner/repo#prod")
    assert place == FlakePlace(reference="github:owner/repo", attribute="prod")
    assert place.path == Path("/github:owner/repo#prod")


def test_a_folder_without_a_flake_is_named(tmp_path):
    with pytest.raises(DeploymentError, match=f"There is no flake.nix in {tmp_path}"):
        FlakePlace.of(f"{tmp_path}#prod")


def test_a_folder_whose_name_a_reference_cannot_have_is_told(tmp_path):
    with pytest.raises(DeploymentError, match=r"holds one of \? # %"):
        FlakePlace.local(tmp_path / "100%")


def test_the_usual_deployment_is_hive_nix_and_else_the_flake_that_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert usual_config() == "hive.nix"
    Path("flake.nix").touch()
    assert usual_config() == "."
    Path("hive.nix").touch()
    assert usual_config() == "hive.nix"
