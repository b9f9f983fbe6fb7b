"""A flake whose configurations are deployed to real practice hosts, many instances of one configuration among them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import nixhive_nb.lab
from nixhive_nb import Hive
from nixhive_nb.errors import PlanRefused

pytestmark = pytest.mark.fleet

NIXPKGS = Path(nixhive_nb.lab.__file__).parent / "nixpkgs"
FLAKE = """
{
  inputs.nixpkgs.url = "path:NIXPKGS";
  outputs = { self, nixpkgs }:
    let
      lab = import ./lab.nix;
      inherit (lab) publicKey;
      relay = { inherit publicKey; address = "10.20.0.1"; hostKeys = lab.instances.portico.hostKeys; };
      own.environment.etc.own.text = "NEW";
      system = module: nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ module own ]; };
      inner = name: {
        system = "www"; tags = [ "web" ]; store = "ssh://portico";
        ssh = lab.instances.${name}.ssh // { ProxyJump = "portico"; };
        inherit (lab.instances.${name}) hostKeys;
      };
    in
    {
      nixosConfigurations.portico = system (import ./portico.nix { inherit publicKey; });
      nixosConfigurations.www = system (import ./www.nix { inherit relay; });
      nixhive = {
        instances = {
          portico = { inherit (lab.instances.portico) ssh hostKeys; };
          www-1 = inner "www-1";
          www-2 = inner "www-2";
        };
        signing.keyFile = lab.signingKeyFile;
        nix.build.flags = lab.buildFlags;
        refuse = [ "all" ];
      };
    };
}
"""


@pytest.fixture
def fleet(practice, nix, tmp_path) -> Path:
    folder = tmp_path / "flake"
    shutil.copytree(practice.example, folder)
    (folder / "default.nix").unlink()
    (folder / "flake.nix").write_text(FLAKE.replace("NIXPKGS", str(NIXPKGS)).replace("NEW", nix))
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_the_configurations_of_a_flake_run_on_its_instances(practice, fleet, tmp_path):
    with Hive.load(fleet, state=tmp_path / "state") as hive:
        with pytest.raises(PlanRefused, match="'\\*' is all of them"):
            hive.deploy()
        first = hive.deploy("portico", "*").frame
        again = hive.deploy("*").frame
    assert set(first["outcome"]) == {"done"}
    assert set(again["outcome"]) == {"unchanged"}
    for name, configuration in {"portico": "portico", "www-1": "www", "www-2": "www"}.items():
        toplevel = f".#nixosConfigurations.{configuration}.config.system.build.toplevel.outPath"
        words = ["nix", "--extra-experimental-features", "nix-command flakes", "eval", "--raw", "--no-write-lock-file"]
        wanted = subprocess.run([*words, toplevel], cwd=fleet, capture_output=True, text=True, check=True).stdout
        assert practice.runs(name) == practice.boots(name) == wanted
