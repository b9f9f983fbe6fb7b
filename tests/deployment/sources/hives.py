"""Hives of colmena in a folder of a test: loaded, instantiated, and the same by hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import nixhive_nb.lab
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.errors import DeploymentError
from nixhive_nb.util import process

NIXPKGS = Path(nixhive_nb.lab.__file__).parent / "nixpkgs"
COLMENA = Evaluation(format="colmena")
PEER = """{ name, nodes, ... }: {
  networking.hostName = name; environment.etc.db.text = nodes.db.config.networking.hostName;
}"""


def hive(folder: Path, text: str) -> Path:
    (folder / "www.nix").write_text(PEER)
    file = folder / "hive.nix"
    file.write_text(text)
    return file


def inventory(folder: Path, text: str, how: Evaluation = COLMENA):
    return load(hive(folder, text), how=how).inventory


def refusal(path: Path | str, how: Evaluation = COLMENA) -> str:
    with pytest.raises(DeploymentError) as refused:
        load(path, how=how)
    return str(refused.value)


def instantiated(path: Path | str, *names: str) -> dict[str, str]:
    """Return the derivations of systems of a hive, as `load` has them instantiated."""
    loaded = load(path, how=COLMENA)
    finished = process.run(loaded.source.toplevels(loaded.inventory, names))
    assert finished.status == 0, finished.stderr
    return {name: paths["derivation"] for name, paths in json.loads(finished.stdout).items()}


def failure(path: Path | str, *names: str) -> str:
    loaded = load(path, how=COLMENA)
    finished = process.run(loaded.source.toplevels(loaded.inventory, names))
    assert finished.status
    return loaded.source.explained(finished.stderr)


def by_hand(nodes: dict[str, list[str]], more: str = "") -> dict[str, str]:
    """Return the derivations of nodes, given as modules, evaluated as the manual says: no colmena in it."""
    listed = "".join(
        f'"{name}" = evaluated "{name}" [ {" ".join(f"({module})" for module in modules)} ];'
        for name, modules in nodes.items()
    )
    text = f"""
    let
      deployment = {{ lib, ... }}: {{
        options.deployment = lib.mkOption {{ type = lib.types.attrs; default = {{ }}; }};
      }};
      evaluated = name: modules: import <nixpkgs/nixos/lib/eval-config.nix> {{
        system = builtins.currentSystem;
        specialArgs = {{ inherit name nodes; }};
        modules = [ deployment {more} ] ++ modules;
      }};
      nodes = {{ {listed} }};
    in
    builtins.mapAttrs (_: node: node.config.system.build.toplevel.drvPath) nodes
    """
    words = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-E", text]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
