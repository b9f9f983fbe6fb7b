"""Instantiating systems with a stand-in for `<nixpkgs/nixos/lib/eval-config.nix>`, in a store of the test's own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.nix_errors import explain
from nixhive_nb.deployment.sources.hive import toplevel_expression
from nixhive_nb.util import process

if TYPE_CHECKING:
    from nixhive_nb.util.process import Finished

pytestmark = pytest.mark.nix

EVAL_CONFIG = """
{ modules, system, specialArgs ? { }, prefix ? "" }:
let
  arguments = { lib = { }; } // specialArgs;
  configurations = map (module: module arguments) modules;
  text = builtins.concatStringsSep " " (map (configuration: configuration.text) configurations);
in
{
  config.system.build.toplevel = derivation {
    name = "${prefix}CHANNEL-${text}";
    inherit system;
    builder = "/bin/sh";
  };
}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with its own store, and no nixpkgs but what a test makes."""
    monkeypatch.setenv("NIX_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("NIX_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("NIX_REMOTE", "local")
    monkeypatch.setenv("NIX_PATH", "")
    return tmp_path


def channel(world: Path, name: str) -> Path:
    file = world / name / "nixos" / "lib" / "eval-config.nix"
    file.parent.mkdir(parents=True)
    file.write_text(EVAL_CONFIG.replace("CHANNEL", name))
    return world / name


def deployment(world: Path, text: str) -> Path:
    file = world / "hive.nix"
    file.write_text(text)
    return file


def instantiate(hive: Path, *systems: str) -> Finished:
    loaded = load(hive)
    paths = [*loaded.inventory.include_paths(systems[0]), f"deployment={loaded.path}"]
    includes = [word for path in paths for word in ("-I", path)]
    options = ["--eval", "--strict", "--json", "--read-write-mode", "--show-trace"]
    names = ["--argstr", "names", json.dumps(systems)]
    return process.run(["nix-instantiate", *options, *includes, str(toplevel_expression()), *names])


def names_of(finished: Finished) -> dict[str, str]:
    assert finished.status == 0, finished.stderr
    return {
        system: Path(paths["result"]).name.partition("-")[2] for system, paths in json.loads(finished.stdout).items()
    }


def test_systems_are_instantiated_together(world: Path) -> None:
    hive = deployment(
        world,
        f"""{{
          paths.nixpkgs = {channel(world, "stable")};
          systems.www.configuration = {{ ... }}: {{ text = "www"; }};
          systems.db = {{ configuration = {{ ... }}: {{ text = "db"; }}; system = "riscv64-linux"; }};
          systems.other.configuration = {{ ... }}: throw "not asked for";
        }}""",
    )
    finished = instantiate(hive, "www", "db")
    assert names_of(finished) == {"www": "stable-www", "db": "stable-db"}
    derivations = {system: paths["derivation"] for system, paths in json.loads(finished.stdout).items()}
    assert derivations["db"].endswith("-stable-db.drv")
    assert "riscv64-linux" in Path(derivations["db"]).read_text()
    assert "riscv64-linux" not in Path(derivations["www"]).read_text()


def test_the_paths_of_a_system_override_those_of_the_deployment(world: Path) -> None:
    hive = deployment(
        world,
        f"""{{
          paths.nixpkgs = {channel(world, "stable")};
          systems.www = {{
            paths.nixpkgs = {channel(world, "unstable")};
            configuration = {{ ... }}: {{ text = "www"; }};
          }};
        }}""",
    )
    assert names_of(instantiate(hive, "www")) == {"www": "unstable-www"}


def test_eval_config_args_are_merged_over_the_defaults(world: Path) -> None:
    hive = deployment(
        world,
        f"""{{
          paths.nixpkgs = {channel(world, "stable")};
          systems.www = {{
            configuration = {{ fleet, ... }}: {{ text = fleet; }};
            evalConfigArgs = {{ specialArgs.fleet = "eu"; prefix = "my-"; system = "riscv64-linux"; }};
          }};
        }}""",
    )
    finished = instantiate(hive, "www")
    assert names_of(finished) == {"www": "my-stable-eu"}
    assert "riscv64-linux" in Path(json.loads(finished.stdout)["www"]["derivation"]).read_text()


def test_a_deployment_may_be_a_function(world: Path) -> None:
    hive = deployment(
        world,
        f"""{{ ... }}: {{
          paths.nixpkgs = {channel(world, "stable")};
          systems.www.configuration = {{ ... }}: {{ text = "www"; }};
        }}""",
    )
    assert names_of(instantiate(hive, "www")) == {"www": "stable-www"}


def test_an_error_in_a_configuration_names_the_system(world: Path) -> None:
    hive = deployment(
        world,
        f"""{{
          paths.nixpkgs = {channel(world, "stable")};
          systems.www.configuration = {{ ... }}: {{ text = 1 + true; }};
        }}""",
    )
    assert explain(instantiate(hive, "www").stderr) == (
        f"{hive}:3:61: cannot add a Boolean to an integer\n(in system www)"
    )


def test_a_missing_nixpkgs_is_said_with_what_to_do(world: Path) -> None:
    hive = deployment(world, "{ systems.www.configuration = { ... }: { }; }")
    assert explain(instantiate(hive, "www").stderr) == (
        "<nixpkgs/nixos/lib/eval-config.nix> was not found: nothing on the Nix search path leads to it. "
        "Set `paths.nixpkgs` in the deployment.\n(in system www)"
    )


def test_a_nixpkgs_without_nixos_is_named(world: Path) -> None:
    (world / "empty").mkdir()
    hive = deployment(world, "{ paths.nixpkgs = ./empty; systems.www.configuration = { ... }: { }; }")
    assert f"was not found: it is not in {world}/empty. Set `paths.nixpkgs`" in explain(instantiate(hive, "www").stderr)
    assert os.listdir(world / "empty") == []  # noqa: PTH208
