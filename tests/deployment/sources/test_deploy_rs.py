"""Nodes of deploy-rs. Expected values follow from its README ("API"): floors of settings, defaults, what is joined."""

from __future__ import annotations

import getpass
import subprocess

import pytest

from nixhive_nb import Hive
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.errors import DeploymentError, RunFailed
from nixhive_nb.view.deployment import heeded_lines
from tests.deployment.sources.test_flake import NIX, flake

pytestmark = pytest.mark.nix

# As `deploy-rs.lib.SYSTEM.activate.nixos` makes it: an environment that has the system and two scripts.
ACTIVATE = """
  activate = base: derivation {
    name = "activatable-${base.name}"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo >$out" ];
    pkgs = builtins.toJSON [ { paths = [ base ]; priority = 5; } { paths = [ (script base) ]; priority = 5; } ];
  };
  script = base: derivation {
    name = "${base.name}-activate-path"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo >$out" ];
  };
  www = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./www.nix ]; };
"""
NEVER = 'path = throw "evaluated";'


def deploy(folder, text):
    """Write a flake with an output `deploy`."""
    flake(folder, "}")
    file = folder / "flake.nix"
    body = f"let {ACTIVATE} in {{ deploy = {{ {text} }}; }}"
    file.write_text(file.read_text().replace("{ self, nixpkgs }: {\n}\n}; }", f"{{ self, nixpkgs }}: {body}; }}"))
    return folder


def read(folder, text):
    return load(deploy(folder, text)).inventory


def refusal(folder, text):
    with pytest.raises(DeploymentError) as refused:
        read(folder, text)
    return str(refused.value)


def test_a_node_is_a_system_and_an_instance_and_no_configuration_is_evaluated(tmp_path):
    found = read(tmp_path, f'nodes.www = {{ hostname = "192.0.2.1"; profiles.system = {{ {NEVER} }}; }};')
    assert (found.format, list(found.systems), list(found.instances)) == ("deploy-rs", ["www"], ["www"])
    assert found.instances["www"].ssh == (("Hostname", ("192.0.2.1",)), ("User", (getpass.getuser(),)))


def test_a_percent_sign_of_an_address_is_one(tmp_path):
    found = read(tmp_path, f'nodes.www = {{ hostname = "fe80::1%eth0"; profiles.system = {{ {NEVER} }}; }};')
    assert dict(found.instances["www"].ssh)["Hostname"] == ("fe80::1%%eth0",)


def test_the_nearest_setting_counts_and_words_for_ssh_are_joined(tmp_path):
    found = read(
        tmp_path,
        f"""sshUser = "all"; sshOpts = [ "-C" ];
        nodes.a = {{ hostname = "a.example"; sshUser = "node"; sshOpts = [ "-p" "2222" ];
          profiles.system = {{ {NEVER} sshUser = "profile"; sshOpts = [ "-i" "/keys/a" ]; }}; }};
        nodes.b = {{ hostname = "b.example"; sshUser = "node"; profiles.system = {{ {NEVER} sshUser = null; }}; }};
        nodes.c = {{ hostname = "c.example"; profiles.system = {{ {NEVER} }}; }};""",
    )
    assert dict(found.instances["a"].ssh) == {
        "Compression": ("yes",),
        "Hostname": ("a.example",),
        "IdentityFile": ("/keys/a",),
        "Port": ("2222",),
        "User": ("profile",),
    }
    assert dict(found.instances["b"].ssh)["User"] == ("node",)
    assert dict(found.instances["c"].ssh)["User"] == ("all",)


def test_what_becomes_of_each_setting_is_said(tmp_path):
    found = read(
        tmp_path,
        f"""magicRollback = false; confirmTimeout = 60; remoteBuild = true; fastConnection = false; autoRollback = true;
        colour = "red"; sshUser = "root"; user = "root"; sudo = "doas -u"; interactiveSudo = true;
        nodes.www = {{ hostname = "www"; extra = 1; profilesOrder = [ "home" "system" ];
          profiles.system = {{ {NEVER} profilePath = "/nix/var/nix/profiles/mine"; odd = 1; }};
          profiles.home = {{ {NEVER} user = "ann"; }}; }};
        nodes.mac = {{ hostname = "mac"; profiles.home = {{ {NEVER} }}; }};""",
    )
    assert heeded_lines(found.heeded) == [
        "  profiles.home of mac, www: not honoured (only NixOS systems are deployed)",
        "  node of mac: not honoured (it has no profile `system`, and is no instance)",
        "  extra of www: not honoured (deploy-rs does not know it either)",
        "  profilesOrder of www: not honoured (only NixOS systems are deployed)",
        "  profilePath of www: not honoured (a system is a generation of /nix/var/nix/profiles/system)",
        "  profiles.system.odd of www: not honoured (deploy-rs does not know it either)",
        '  remoteBuild of www: honoured (as `build = "instance"`; --build-on goes before it)',
        "  sshUser of www: honoured",
        "  user of www: honoured",
        "  magicRollback of www: honoured differently (type `--no confirm` for a deploy without a trial)",
        "  confirmTimeout of www: honoured differently (type `--confirm SECONDS`)",
        "  interactiveSudo of www: not honoured (type `--ask-password`)",
        "  hostname of www: honoured",
        "  sudo of www: honoured (as `elevate` of ours)",
        "  colour: not honoured (deploy-rs does not know it either)",
    ]
    assert list(found.instances) == ["www"]
    assert found.instances["www"].elevate == ("doas",)
    assert found.systems["www"].build == "instance"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (f'"a b" = {{ hostname = "x"; profiles.system = {{ {NEVER} }}; }};', "node a b: it cannot be the name"),
        (
            f'a = {{ hostname = "root@x"; profiles.system = {{ {NEVER} }}; }};',
            "node a: `hostname` is 'root@x': the user",
        ),
        (
            f'a = {{ hostname = "x"; sshOpts = [ "-L80:x:80" ]; profiles.system = {{ {NEVER} }}; }};',
            "node a: `sshOpts`: `-L80:x:80`: an instance cannot have -L of ssh.",
        ),
        (f"a = {{ profiles.system = {{ {NEVER} }}; }};", "node a of deploy-rs has no `hostname`"),
    ],
)
def test_a_mistake_is_told_with_its_node(tmp_path, node, said):
    assert said in refusal(tmp_path, f"nodes = {{ {node} }};")


SYSTEM = f"profiles.system = {{ {NEVER} }};"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes = [ ];", "`nodes` of deploy-rs is a list, not an attribute set."),
        ("nodes.www = 5;", "node www of deploy-rs is a number, not an attribute set."),
        (
            'nodes.www = { hostname = "a"; profiles = "x"; };',
            "`profiles` of node www is a string, not an attribute set.",
        ),
        ('nodes.www = { hostname = "a"; profiles.system = ./.; };', "`profiles.system` of node www is a path, not an"),
        (f"nodes.www = {{ hostname = 5; {SYSTEM} }};", "node www: `hostname` is a number, not a string."),
        (
            f'nodes.www = {{ hostname = "a"; profilesOrder = "system"; {SYSTEM} }};',
            "node www: `profilesOrder` is a string, not a list.",
        ),
        (
            f'nodes.www = {{ hostname = "a"; sshUser = [ ]; {SYSTEM} }};',
            "settings of node www: `sshUser` is a list, not a string.",
        ),
        (
            f'sshOpts = "-p 22"; nodes.www = {{ hostname = "a"; {SYSTEM} }};',
            "settings of deploy-rs: `sshOpts` is a string, not a list.",
        ),
        (
            f'nodes.www = {{ hostname = "a"; profiles.system = {{ user = 0; {NEVER} }}; }};',
            "settings of `profiles.system` of node www: `user` is a number, not a string.",
        ),
    ],
)
def test_what_is_of_another_type_is_told_and_no_default_is_taken_for_it(tmp_path, text, said):
    assert said in refusal(tmp_path, text)


def test_an_output_that_is_only_called_deploy_is_none_of_deploy_rs(tmp_path):
    script = 'derivation { name = "d"; system = "x86_64-linux"; builder = "/bin/sh"; }'
    others = f'deploy = "a script"; packages.x86_64-linux.deploy = {script};'
    flake(tmp_path, f'{others} nixosConfigurations.www = throw "evaluated";')
    assert load(tmp_path).inventory.format == "flake"


def test_a_system_is_the_derivation_that_the_configuration_itself_has(tmp_path, monkeypatch):
    node = 'nodes.web = { hostname = "web"; profiles.system.path = activate www.config.system.build.toplevel; };'
    deploy(tmp_path, f"{node} expected = www.config.system.build.toplevel.drvPath;")
    monkeypatch.chdir(tmp_path)
    with Hive.load(".") as hive:
        (record,) = hive.build("*", no=["realise"]).systems()
    words = [*NIX, "eval", "--raw", "--no-write-lock-file", ".#deploy.expected"]
    assert record.derivation == subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "-nixos-system-www-" in record.result


def test_a_profile_without_a_nixos_system_is_told(tmp_path, monkeypatch):
    base = 'derivation { name = "home"; system = "x86_64-linux"; builder = "/bin/sh"; }'
    deploy(tmp_path, f'nodes.web = {{ hostname = "web"; profiles.system.path = activate ({base}); }};')
    monkeypatch.chdir(tmp_path)
    with Hive.load(".") as hive, pytest.raises(RunFailed) as failed:
        hive.build("*", no=["realise"])
    (record,) = failed.value.report.systems()
    assert "profile system of node web holds no NixOS system" in record.reason


def test_nodes_can_be_asked_for_by_name_where_a_flake_has_more(tmp_path):
    deploy(tmp_path, f'nodes.www = {{ hostname = "x"; profiles.system = {{ {NEVER} }}; }};')
    file = tmp_path / "flake.nix"
    file.write_text(file.read_text().replace("in { deploy", "in { nixosConfigurations.other = { }; deploy"))
    assert load(tmp_path).inventory.format == "deploy-rs"
    assert load(tmp_path, how=Evaluation(format="flake")).inventory.format == "flake"
    assert load(f"{tmp_path}#deploy").inventory.format == "deploy-rs"
    assert load(f"{tmp_path}#deploy.nodes").inventory.format == "deploy-rs"
