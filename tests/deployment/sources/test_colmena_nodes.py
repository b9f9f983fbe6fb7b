"""What becomes of what a hive of colmena says of its nodes, and of its mistakes.

Expected values are written by hand from colmena's manual (https://colmena.cli.rs: the tutorial, "Using Flakes",
"Secrets", "Deployment Options", "Meta Options").
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.errors import TargetError
from nixhive_nb.util import process
from nixhive_nb.view.deployment import heeded_lines
from tests.counting import counted
from tests.deployment.sources.hives import (
    COLMENA,
    NIXPKGS,
    failure,
    hive,
    instantiated,
    inventory,
    refusal,
)

pytestmark = pytest.mark.nix


@pytest.fixture(autouse=True)
def _channel(monkeypatch):
    monkeypatch.setenv("NIX_PATH", f"nixpkgs={NIXPKGS}")


def test_what_a_node_says_of_its_deployment_is_read(tmp_path):
    """Source: "Deployment Options"."""
    found = inventory(
        tmp_path,
        """{
          meta.allowApplyAll = false;
          meta.machinesFile = ./machines;
          defaults.deployment.tags = [ "all" ];
          www = {
            deployment = {
              targetHost = "192.0.2.7"; targetPort = 2222; targetUser = "deploy"; tags = [ "web" ];
              sshOptions = [ "-o" "Compression=yes" "-i" "/keys/id" ];
            };
          };
          db.deployment.targetUser = null;
          lap.deployment.targetHost = null;
          zone.deployment.targetHost = "fe80::1%eth0";
        }""",
    )
    # A word of ssh's command line is what it says; in its configuration a percent sign is written twice.
    assert dict(found.instances["zone"].ssh)["Hostname"] == ("fe80::1%%eth0",)
    www, db = found.instances["www"], found.instances["db"]
    assert (found.format, list(found.systems), list(found.instances)) == (
        "colmena",
        ["db", "lap", "www", "zone"],
        ["db", "www", "zone"],
    )
    assert (www.system, www.tags, db.ssh, db.tags) == ("www", ("all", "web"), (), ("all",))
    assert www.ssh == (
        ("Compression", ("yes",)),
        ("Hostname", ("192.0.2.7",)),
        ("IdentityFile", ("/keys/id",)),
        ("Port", ("2222",)),
        ("User", ("deploy",)),
    )
    assert found.refuse == ("all",)
    assert found.build_flags == ("--option", "builders", f"@{tmp_path}/machines")


def test_words_for_ssh_go_before_what_a_node_says_else(tmp_path):
    """Source: ssh(1) and ssh_config(5): the first value counts, and colmena gives these words first."""
    found = inventory(
        tmp_path,
        '{ www.deployment = { sshOptions = [ "-p" "23" "-l" "admin" ]; targetPort = 22; targetUser = "root"; }; }',
    )
    assert found.instances["www"].ssh == (("Port", ("23",)), ("User", ("admin",)))


LINES = """\
  meta.nixpkgs: honoured
  meta.specialArgs: honoured
  defaults: honoured
  deployment.targetUser of db, lap, www: honoured
  deployment.privilegeEscalationCommand of db, lap: honoured differently (without a question, as `elevate` of ours)
  deployment.replaceUnknownProfiles of db: not honoured (what a host runs is replaced; `--refuse older` keeps what is \
newer)
  deployment.targetHost of lap: honoured (null: built, never deployed)
  deployment.allowLocalDeployment of lap: not honoured (each is reached over ssh, this machine as well)
  deployment.targetHost of www: honoured (a `Host` of your ssh configuration may name it, or the node)
  deployment.privilegeEscalationCommand of www: honoured
  deployment.tags of www: honoured (as a target, @TAG is written TAG)
  deployment.buildOnTarget of www: honoured (as `build = "instance"`; --build-on goes before it)
  meta.name: not honoured (it is shown nowhere)
  StrictHostKeyChecking: honoured differently (colmena accepts the key of a host that it never saw; here each has to \
stand in a known_hosts of ssh)
"""


def test_each_thing_that_a_hive_says_has_a_line(tmp_path):
    found = inventory(
        tmp_path,
        """{
          meta = { name = "fleet"; specialArgs.x = 1; nixpkgs = <nixpkgs>; };
          defaults.deployment.targetUser = "deploy";
          www.deployment = { tags = [ "web" ]; targetHost = "192.0.2.7"; buildOnTarget = true; };
          db.deployment = { privilegeEscalationCommand = [ "doas" "-n" ]; replaceUnknownProfiles = false; };
          lap.deployment = {
            targetHost = null; allowLocalDeployment = true; privilegeEscalationCommand = [ "sudo" "-E" ];
          };
        }""",
    )
    assert heeded_lines(found.heeded) == LINES.splitlines()


def test_what_keys_hold_is_never_looked_at_and_their_units_are_there(tmp_path):
    """Source: "Secrets": a unit NAME-key.service each, by the name of the attribute."""
    file = hive(
        tmp_path,
        """{
          www = { config, ... }: {
            deployment.keys.db-password = { text = throw "forced"; user = "postgres"; permissions = "0400"; };
            deployment.keys.tls = {
              keyCommand = throw "forced"; name = "tls.pem"; destDir = "/secrets"; uploadAt = "post-activation";
            };
            environment.etc.keys.text =
              with config.systemd; toString (builtins.attrNames services ++ builtins.attrNames paths);
            environment.etc.path.text = config.deployment.keys.tls.path;
          };
        }""",
    )
    (line,) = [one for one in heeded_lines(load(file, how=COLMENA).inventory.heeded) if "keys" in one]
    assert line == (
        "  deployment.keys of www: not honoured (send them yourself; units wait for them, other ones than colmena's, "
        "so the derivation differs: /run/keys/db-password (postgres:root 0400, pre-activation), /secrets/tls.pem "
        "(root:root 0600, post-activation))"
    )
    derivation = instantiated(file, "www")["www"]
    closure = subprocess.run(["nix-store", "-qR", derivation], capture_output=True, text=True, check=True).stdout
    texts = "".join(
        Path(one).read_text() for one in closure.split() if "-etc-keys.drv" in one or "-etc-path.drv" in one
    )
    assert '("text","db-password-key tls-key db-password-key tls-key")' in texts
    assert '("text","/secrets/tls.pem")' in texts
    assert any("activation-colmena-chown-keys" in one for one in closure.split())


MISTAKES = [
    ("{\n meta = { };\n network = { }; www = { }; }", "{file}:3: A hive has `meta` or `network`"),
    ("{\n meta.nixpkg = <nixpkgs>; www = { }; }", "{file}:2: `meta.nixpkg` is not known: there are allowApplyAll,"),
    ("{ meta = [ ]; www = { }; }", "{file}:1: `meta` is a list, not an attribute set."),
    ("{ inputs, extra ? 1 }: { www = { }; }", "The hive is a function that needs inputs, and is called with { }"),
    ('{ __schema = "v0.5"; www = { }; }', "The hive was evaluated already (it has `__schema`)"),
    ("[ ]", "The hive is a list, not an attribute set."),
    ('{ meta.nixpkgs = "/nix"; www = { }; }', "`meta.nixpkgs` is a string: it has to be a set of packages"),
    ("{ meta.nixpkgs.outputs = { }; www = { }; }", "`meta.nixpkgs` is an input of a flake, not a set of packages"),
    ('{ www.deployment.targetHost = "root@a"; }', "node www: `deployment.targetHost` is 'root@a': the user"),
    ('{ www.deployment.sshOptions = [ "-N" ]; }', "node www: `deployment.sshOptions`: `-N`"),
    ("{ www.deployment.targetPort = 70000; }", "node www: `deployment.targetPort`: the port '70000'"),
    ("{\n www = { };\n db = {\n  deployment.tags = 1; }; }", "{file}:4: A definition for option `deployment.tags'"),
    ('{\n db = { ... }: {\n  deployment.targetHost = throw "no"; }; }', "{file}:3:"),
    ("{ www = { }; meta.allowApplyAll = 1; }", "`meta.allowApplyAll` is a number, not a boolean."),
    ("{ meta.nodeNixpkgs = [ ]; www = { }; }", "{file}:1: `meta.nodeNixpkgs` is a list, not an attribute set."),
    ("{ meta.specialArgs = null; www = { }; }", "{file}:1: `meta.specialArgs` is null, not an attribute set."),
    ('{ www = { }; meta.machinesFile = "m"; }', "`meta.machinesFile` is 'm', which is no absolute path."),
    ('{ www.deployment.targetHots = "x"; }', "The option `deployment.targetHots' does not exist"),
]


@pytest.mark.parametrize(("text", "wanted"), MISTAKES)
def test_a_mistake_is_told_with_its_place_or_its_node(tmp_path, text, wanted):
    file = hive(tmp_path, text)
    assert wanted.replace("{file}", str(file)) in refusal(file)


def test_a_mistake_in_a_node_names_it(tmp_path):
    file = hive(tmp_path, '{ www = { };\n db = { ... }: {\n  deployment.targetHost = throw "no address"; }; }')
    assert refusal(file).endswith("no address\n(in node db)")
    broken = hive(tmp_path, '{ www = { };\n db = { ... }: {\n  networking.hostName = throw "no name"; }; }')
    said = failure(broken, "www", "db")
    assert said.startswith(f"{broken}:3:")
    assert said.endswith(": no name\n(in system db)")


def test_what_a_hive_says_of_itself_may_be_any_module(tmp_path):
    meta = "{ lib, ... }: { imports = [ { machinesFile = ./machines; } ]; allowApplyAll = lib.mkForce false; }"
    found = inventory(tmp_path, f"{{ meta = {meta}; www = {{ }}; }}")
    assert (found.refuse, found.build_flags[2]) == (("all",), f"@{tmp_path}/machines")
    merged = "{ nixpkgs = import <nixpkgs> { }; allowApplyAll = (import <nixpkgs/lib>).mkForce false; }"
    assert inventory(tmp_path, f"{{ meta = {merged}; www = {{ }}; }}").refuse == ("all",)


def test_a_hive_that_a_flake_calls_is_told_where_to_find_it(tmp_path):
    hive(tmp_path, "{ inputs }: { meta = { }; www = { }; }")
    (tmp_path / "flake.nix").write_text("{ outputs = _: { }; }")
    assert "is a function that needs inputs: the flake beside it" in refusal(tmp_path, Evaluation())


def test_a_file_is_found_to_be_a_hive_and_read_with_two_evaluations(tmp_path, monkeypatch):
    hive(tmp_path, '{ defaults = { }; www.deployment.tags = [ "web" ]; }')
    calls = counted(monkeypatch, process, "run")
    loaded = load(tmp_path)
    assert (loaded.inventory.format, len(calls)) == ("colmena", 2)
    assert loaded.changed() is None
    (tmp_path / "hive.nix").write_text("{ }")
    assert loaded.changed() == str(tmp_path / "hive.nix")


def test_a_tag_as_colmena_writes_it_is_answered_with_what_to_type(tmp_path):
    found = inventory(tmp_path, '{ www.deployment.tags = [ "web" ]; }')
    with pytest.raises(TargetError, match=r"There is no group '@web'.* A tag is written without @: 'web'"):
        select_instances(found, ["@web"])
    assert select_instances(found, ["web"]).instances == ("www",)
