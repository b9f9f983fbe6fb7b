"""Deployments in other formats, deployed to real practice hosts."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from nixhive_nb import Hive

pytestmark = pytest.mark.fleet

COLMENA = """
let
  lab = import ./lab.nix;
  inherit (lab.instances.portico) ssh;
in
{
  meta.nixpkgs = import lab.nixpkgs { };
  meta.specialArgs.publicKey = lab.publicKey;
  defaults = { name, ... }: { environment.etc.who.text = name; deployment.tags = [ "fleet" ]; };
  portico = { publicKey, ... }: {
    imports = [ (import ./portico.nix { inherit publicKey; }) ];
    deployment = {
      targetHost = ssh.Hostname;
      targetPort = ssh.Port;
      targetUser = ssh.User;
      sshOptions = [ "-i" ssh.IdentityFile "-o" "IdentitiesOnly=yes" "-o" "UserKnownHostsFile=${toString ./known}" ];
    };
  };
  spare = { nodes, ... }: {
    deployment.targetHost = null;
    environment.etc.way-in.text = nodes.portico.config.networking.hostName;
  };
}
"""


def test_a_node_of_a_colmena_hive_runs_on_its_host(practice):
    folder = practice.folder / "colmena"
    shutil.copytree(practice.example, folder)
    (folder / "default.nix").unlink()
    (folder / "hive.nix").write_text(COLMENA)
    words = ["nix-instantiate", "--eval", "--strict", "--json", "-E", f"(import {folder}/lab.nix).instances.portico"]
    portico = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    address, port = portico["ssh"]["Hostname"], portico["ssh"]["Port"]
    (folder / "known").write_text(
        "".join(f"[{address}]:{port} {key}\n{address} {key}\n" for key in portico["hostKeys"])
    )
    with Hive.load(folder, state=practice.folder / "colmena.state") as hive:
        assert (list(hive.inventory.systems), list(hive.inventory.instances)) == (["portico", "spare"], ["portico"])
        first = hive.deploy("fleet").frame
        again = hive.deploy("fleet").frame
        built = {one.system: one.result for one in hive.build("*", no=["build"]).systems()}
    assert set(first["outcome"]) == {"done"}
    assert set(again["outcome"]) == {"unchanged"}
    assert practice.runs("portico") == practice.boots("portico") == built["portico"]
    assert practice.lab.exec("portico", ["cat", "/etc/who"]) == "portico"
