"""Deployments in other formats, deployed to real practice hosts."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from nixhive_nb import Hive
from nixhive_nb.run.limits import Limits
from nixhive_nb.util import process
from tests.builders import derivation, gated, opening, waiting
from tests.counting import counted

pytestmark = pytest.mark.fleet

COLMENA = """
let
  lab = import ./lab.nix;
  inherit (lab.instances.portico) ssh;
in
{
  meta.nixpkgs = import lab.nixpkgs { };
  meta.specialArgs.publicKey = lab.publicKey;
  defaults = { name, ... }: { environment.etc.who.text = "NEW ${name}"; deployment.tags = [ "fleet" ]; };
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


def test_a_node_of_a_colmena_hive_runs_on_its_host(practice, nix, tmp_path):
    folder = tmp_path / "colmena"
    shutil.copytree(practice.example, folder)
    (folder / "default.nix").unlink()
    (folder / "hive.nix").write_text(COLMENA.replace("NEW", nix))
    words = ["nix-instantiate", "--eval", "--strict", "--json", "-E", f"(import {folder}/lab.nix).instances.portico"]
    portico = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    address, port = portico["ssh"]["Hostname"], portico["ssh"]["Port"]
    (folder / "known").write_text(
        "".join(f"[{address}]:{port} {key}\n{address} {key}\n" for key in portico["hostKeys"])
    )
    with Hive.load(folder, state=tmp_path / "state") as hive:
        assert (list(hive.inventory.systems), list(hive.inventory.instances)) == (["portico", "spare"], ["portico"])
        first = hive.deploy("fleet").frame
        again = hive.deploy("fleet").frame
        built = {one.system: one.result for one in hive.build("*", no=["build"]).systems()}
    assert set(first["outcome"]) == {"done"}
    assert set(again["outcome"]) == {"unchanged"}
    assert practice.runs("portico") == practice.boots("portico") == built["portico"]
    assert practice.lab.exec("portico", ["cat", "/etc/who"]).strip() == f"{nix} portico"


def machine(name, text, jump=""):
    """A node of colmena as the practice fleet has it, with a text in /etc."""
    return f"""
      {name} = {{ publicKey, ... }}: {{
        imports = [ (import ./portico.nix {{ inherit publicKey; }}) ];
        environment.etc.own.text = {text};
        deployment = {{
          targetHost = lab.instances.{name}.ssh.Hostname;
          targetPort = lab.instances.{name}.ssh.Port or null;
          targetUser = lab.instances.{name}.ssh.User;
          sshOptions = [
            "-i" lab.instances.{name}.ssh.IdentityFile "-o" "IdentitiesOnly=yes" "-o" "StrictHostKeyChecking=yes"
            "-o" "UserKnownHostsFile=${{toString ./known}}" "-o" "HostKeyAlias={name}"
          {jump}];
        }};
      }};"""


def test_a_node_is_built_while_another_is_evaluated_and_one_that_runs_it_begins_nothing(
    practice, nix, tmp_path, monkeypatch
):
    """The evaluation of `www-1` waits for a build of `portico`; both are deployed then, by one plan."""
    monkeypatch.setattr("nixhive_nb.plan.building.NODES_A_PROCESS", 1)
    folder = tmp_path / "streamed"
    shutil.copytree(practice.example, folder)
    (folder / "default.nix").unlink()
    words = ["nix-instantiate", "--eval", "--strict", "--json", "-E", f"(import {folder}/lab.nix).instances"]
    hosts = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    keys = (f"{name} {key}\n" for name in ("portico", "www-1") for key in hosts[name]["hostKeys"])
    (folder / "known").write_text("".join(keys))
    with gated() as place:
        first = derivation("first", f"{opening(place)}; echo first >$out")
        second = derivation("second", f"{waiting(place)} >$out")
        nodes = machine("portico", f'"${{{first}}}"') + machine(
            "www-1", f'"{nix} " + builtins.readFile {second}', '"-J" "portico"'
        )
        (folder / "hive.nix").write_text(
            "let lab = import ./lab.nix; in { meta.nixpkgs = import lab.nixpkgs { };"
            f"meta.specialArgs.publicKey = lab.publicKey; {nodes} }}"
        )
        with Hive.load(folder, state=tmp_path / "state", limits=Limits(evaluations=1)) as hive:
            report = hive.deploy("*")
            started = counted(monkeypatch, process, "stream")
            again = hive.deploy("*")
    assert [one.outcome for one in report.instances()] == ["done", "done"]
    # The second, too, where its evaluation ended before the others were done with.
    assert report.record_of("build").result.how in ("1 of 2 begun early", "2 of 2 begun early")
    assert practice.lab.exec("www-1", ["cat", "/etc/own"]).strip() == f"{nix} open"
    assert {one.outcome for one in again.instances()} == {"unchanged"}
    assert not [argv for (argv, *_) in started if "--keep-going" in argv]
