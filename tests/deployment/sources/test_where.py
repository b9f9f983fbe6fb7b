"""Where a deployment is, by how it is named. References of flakes are those of the manual of `nix flake`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nixhive_nb.deployment.sources.where import FlakePlace, deployment_path, is_reference, usual_config
from nixhive_nb.errors import DeploymentError


@pytest.mark.parametrize(
    "text",
    [
        *("github:owner/repo", "git+https://example.org/x.git", "git+ssh://git@example.org/x", "path:/srv/fleet"),
        *(".#prod", "flake:fleet", "/srv/fleet#prod", "https://example.org/x.tar.gz", "#prod"),
        "git+file:///srv/fleet?dir=hive",
    ],
)  # fmt: skip
def test_a_url_and_an_output_are_references(text):
    assert is_reference(text)


@pytest.mark.parametrize("text", [".", "fleet", "./fleet/hive.nix", "/srv/fleet", "~/fleet", "hive.nix"])
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
        f"path:{tmp_path}#prod": f"path:{tmp_path}",
        f"git+file://{tmp_path}#prod": f"git+file://{tmp_path}",
    }.items():
        place = FlakePlace.of(text)
        assert (place.reference, place.attribute, place.directory) == (reference, "prod", tmp_path), text
        assert deployment_path(text) == Path(f"{tmp_path}#prod")


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
