"""Which format a deployment has, by where it is and what lies there. Nothing is evaluated."""

from __future__ import annotations

import pytest

from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.find import named_source
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.errors import DeploymentError, OptionError


def found(path, format_=None):
    source = named_source(path, Evaluation(format=format_))
    return source.format, source.path


def refusal(path, format_):
    with pytest.raises(DeploymentError) as refused:
        named_source(path, Evaluation(format=format_))
    return str(refused.value)


def test_of_a_folder_the_first_that_is_there_counts(tmp_path):
    (tmp_path / "flake.nix").touch()
    assert found(tmp_path) == ("flake", tmp_path)
    (tmp_path / "hive.nix").touch()
    assert found(tmp_path) == ("hive", tmp_path / "hive.nix")
    (tmp_path / "default.nix").touch()
    assert found(tmp_path) == ("hive", tmp_path)


def test_a_format_that_is_named_passes_by_what_cannot_have_it(tmp_path):
    for name in ("flake.nix", "hive.nix"):
        (tmp_path / name).touch()
    assert found(tmp_path, "flake") == ("flake", tmp_path)
    assert found(tmp_path, "deploy-rs") == ("deploy-rs", tmp_path)
    assert found(tmp_path, "colmena") == ("colmena", tmp_path / "hive.nix")
    assert found(tmp_path, "morph") == ("morph", tmp_path / "hive.nix")
    (tmp_path / "hive.nix").unlink()
    assert found(tmp_path, "colmena") == ("colmena", tmp_path)
    assert "holds none of default.nix and hive.nix, and so nothing in the format morph" in refusal(tmp_path, "morph")
    (tmp_path / "flake.nix").unlink()
    assert "holds no flake.nix, and so nothing in the format deploy-rs" in refusal(tmp_path, "deploy-rs")


def test_a_deployment_in_a_folder_above_is_no_silent_default_but_is_told(tmp_path, monkeypatch):
    (tmp_path / "hive.nix").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    above = f"There is a hive.nix above, in {tmp_path}: -c .."
    assert refusal(".", None).endswith(above)
    assert refusal("hive.nix", None).endswith(above)
    assert "above" not in refusal("fleet.nix", None)


def test_a_file_and_a_flake_have_formats_of_their_own(tmp_path):
    for name in ("flake.nix", "fleet.nix"):
        (tmp_path / name).touch()
    assert found(tmp_path / "fleet.nix", "morph") == ("morph", tmp_path / "fleet.nix")
    assert "fleet.nix is a file, which cannot be in the format flake" in refusal(tmp_path / "fleet.nix", "flake")
    assert found(tmp_path / "flake.nix") == ("flake", tmp_path)
    assert "flake.nix is a flake, which cannot be in the format morph" in refusal(tmp_path / "flake.nix", "morph")
    assert "cannot be in the format hive: flake, colmena, deploy-rs." in refusal("github:owner/fleet", "hive")


@pytest.mark.nix
@pytest.mark.parametrize(
    "default", ["{ packages = { }; }", "{ pkgs }: { }", "{ lib ? 1 }: { devShells = { }; checks = { }; }"]
)
def test_a_default_nix_that_is_no_deployment_is_passed_by_for_the_flake_beside_it(tmp_path, default):
    (tmp_path / "default.nix").write_text(default)
    (tmp_path / "flake.nix").write_text("""{ outputs = _: {
      nixosConfigurations.www = { };
      deploy.nodes.www = { hostname = "www"; profiles.system.path = throw "never"; };
    }; }""")
    assert load(tmp_path).inventory.format == "deploy-rs"
    with pytest.raises(DeploymentError, match=r"default\.nix"):
        load(tmp_path / "default.nix")


def test_a_format_that_there_is_not_is_told():
    with pytest.raises(OptionError, match="There is no format nixops: it is one of hive, flake, colmena"):
        Evaluation.of(format="nixops")
