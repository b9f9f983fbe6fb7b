"""`convert`: what is written loads as the same inventory, and its systems are the same derivations."""

from __future__ import annotations

import msgspec
import pytest

from nixhive_nb import Hive
from nixhive_nb.cli.main import call
from nixhive_nb.deployment.inventory import Check, Instance, Inventory, System
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources import converting
from nixhive_nb.deployment.sources.colmena import ColmenaSource
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.errors import OptionError
from tests.deployment.sources.hives import NIXPKGS, hive
from tests.deployment.sources.test_colmena import ADDRESSED, with_colmena
from tests.deployment.sources.test_colmena import flake as hive_flake
from tests.deployment.sources.test_deploy_rs import deploy
from tests.deployment.sources.test_flake import flake, git
from tests.deployment.sources.test_morph import FLEET, network

CHECKS = """
  db.deployment = {
    targetHost = "2001:db8::1"; targetPort = 2222; tags = [ "db" "it's \\${odd} \\"here\\"" ];
    healthChecks.http = [ { host = "db.example"; port = 8080; path = "/status"; period = 1; } ];
    preDeployChecks.cmd = [ { cmd = [ "true" ]; } ];
  };
  image.deployment.buildOnly = true;
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def told(inventory):
    """Return what the rest knows of an inventory, but for where it and its nixpkgs stand."""
    nothing = {"source": "", "format": "", "heeded": (), "warnings": (), "paths": (), "machine": "", "nix": ""}
    systems = {name: msgspec.structs.replace(one, platform="", paths=()) for name, one in inventory.systems.items()}
    return msgspec.structs.replace(inventory, **nothing, systems=systems)


def derivations(path):
    with Hive.load(path, warn=lambda _: None) as hive:
        return {one.system: one.derivation for one in hive.build("*", no=["realise"]).systems()}


def converted(path):
    with Hive.load(path, warn=lambda _: None) as hive:
        return hive.converted()


@pytest.mark.nix
def test_a_network_of_morph_becomes_a_file_with_the_same_hosts_and_systems(tmp_path, capsys):
    machines = FLEET.replace("  db = { ... }: { };\n", CHECKS)
    file = network(tmp_path, machines, 'nixConfig.cores = "2"; specialArgs.colour = "red"; ordering.tags = [ "db" ];')
    assert call(["-c", str(file), "convert", "--to", "own/hive.nix"]) == 1
    assert "No such file or directory" in capsys.readouterr().err
    (tmp_path / "own").mkdir()
    assert call(["-c", str(file), "convert", "--to", "own/hive.nix"]) == 0
    assert "own/hive.nix is written." in capsys.readouterr().out
    own = tmp_path / "own/hive.nix"
    assert "file = ../network.nix;" in own.read_text()
    loaded = load(own)
    assert (loaded.inventory.format, loaded.inventory.warnings) == ("hive", ())
    assert told(loaded.inventory) == told(load(file).inventory)
    assert derivations(own) == derivations(file)


@pytest.mark.nix
def test_what_is_not_taken_along_stands_in_comments(tmp_path):
    more = 'ordering.tags = [ "db" ]; evalConfig = pkgs.path + "/nixos/lib/eval-config.nix";'
    said = converted(network(tmp_path, CHECKS, more))
    assert "# deployment.preDeployChecks of db: not honoured (nothing is checked before a deploy)\n" in said
    assert "# network.ordering.tags: honoured differently (type `deploy '@(db)' '*'`: each pattern is a wave)\n" in said
    assert "# `network.evalConfig` is not taken" in said


@pytest.mark.nix
def test_nodes_of_deploy_rs_become_data_that_names_the_configurations_with_their_derivations(tmp_path):
    nodes = """
      magicRollback = false; remoteBuild = true;
      nodes.web = { hostname = "192.0.2.1"; sshUser = "root"; sshOpts = [ "-p" "2222" "-i" "/a" "-i" "/b" ];
        profiles.system.path = activate www.config.system.build.toplevel; };
      nodes."db.example" = { hostname = "db"; sshUser = "root"; profiles.home.path = throw "evaluated";
        profiles.system.path = activate db.config.system.build.toplevel; };
    """
    deploy(tmp_path, nodes)
    file = tmp_path / "flake.nix"
    more = """
      nixosConfigurations = { aaa = throw "evaluated"; inherit www; "db.example" = db; web = db; };
    """
    other = 'db = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ { networking.hostName = "db"; } ]; };'
    text = file.read_text().replace("in { deploy", f"{other} in {{ {more} deploy")
    file.write_text(text)
    before, built = load(tmp_path).inventory, derivations(".")
    written = converted(".")
    assert "# magicRollback of db.example, web: honoured differently" in written
    (tmp_path / "nixhive.nix").write_text(written)
    file.write_text(text.replace("in { ", "in { nixhive = import ./nixhive.nix; "))
    git(tmp_path, "add", "--all")
    after = load(tmp_path).inventory
    assert after.format == "flake"
    assert {name: after.systems[name].build for name in ("www", "db.example")} == dict.fromkeys(
        ("www", "db.example"), "instance"
    )
    assert {name: one.system for name, one in after.instances.items()} == {"db.example": "db.example", "web": "www"}
    assert [one.ssh for one in after.instances.values()] == [one.ssh for one in before.instances.values()]
    assert (tmp_path / "nixhive.nix").read_text().count("/a") == 1
    with Hive.load(".", warn=lambda _: None) as hive:
        now = {one.system: one.derivation for one in hive.build("www", "db.example", no=["realise"]).systems()}
    assert now == {"www": built["web"], "db.example": built["db.example"]}


@pytest.mark.nix
def test_a_system_that_no_configuration_is_the_same_as_is_to_be_written_by_hand(tmp_path):
    deploy(
        tmp_path,
        """nodes.web = { hostname = "x"; profiles.system.path = activate www.config.system.build.toplevel; };
        nodes.bad = { hostname = "y"; profiles.system.path = throw "broken"; };""",
    )
    said = converted(".")
    assert "# None of the nixosConfigurations has the derivation of these systems." in said
    assert "#     nixosConfigurations.web = …;" in said
    assert "#     nixosConfigurations.bad = …;" in said


@pytest.mark.nix
def test_a_flake_without_data_gets_its_names_and_one_with_data_is_ours_already(tmp_path):
    outputs = 'nixosConfigurations = { www = throw "evaluated"; "a.example" = throw "evaluated"; };'
    flake(tmp_path, outputs)
    before = load(".").inventory
    (tmp_path / "nixhive.nix").write_text(converted("."))
    flake(tmp_path, f"nixhive = import ./nixhive.nix; {outputs}")
    assert told(load(".").inventory) == told(before)
    with pytest.raises(OptionError, match="is in our format already"):
        converted(".")


@pytest.mark.nix
def test_our_own_file_is_not_converted_and_nothing_is_written_over(tmp_path, capsys):
    (tmp_path / "hive.nix").write_text('{ systems.www.configuration = { }; instances.www.system = "www"; }')
    assert call(["convert"]) == 1
    assert "hive.nix is in our format already: there is nothing to convert." in capsys.readouterr().err
    file = network(tmp_path, "www = { };")
    assert call(["-c", str(file), "convert", "--to", "hive.nix"]) == 1
    assert "hive.nix is there already, and is left as it is: name another file." in capsys.readouterr().err
    assert (tmp_path / "hive.nix").read_text().startswith("{ systems")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["hive.nix", "network.nix"]


@pytest.mark.nix
def test_it_is_shown_where_no_file_is_named(tmp_path, capsys):
    assert call(["-c", str(network(tmp_path, "www = { };")), "convert"]) == 0
    assert "\n  file = ./network.nix;\n" in capsys.readouterr().out


@pytest.mark.nix
def test_a_hive_of_colmena_becomes_a_file_with_the_same_hosts_and_systems(tmp_path):
    (tmp_path / "other").symlink_to(NIXPKGS)
    text = f"""{{
      meta = {{
        nixpkgs = import {NIXPKGS} {{ overlays = [ (_: _: {{ colour = "red"; }}) ]; }};
        nodeNixpkgs.db = ./other;
        specialArgs.region = "eu";
      }};
      defaults = {{ region, ... }}: {{ environment.etc.region.text = region; }};
      www = {{ pkgs, ... }}: {{
        imports = [ ./www.nix ]; deployment = {{ tags = [ "web" ]; targetPort = 2222; buildOnTarget = true; }};
        environment.etc.colour.text = pkgs.colour;
      }};
      db = {{ deployment = {{ targetHost = "192.0.2.1"; targetUser = "ops"; keys.k.text = throw "forced"; }}; }};
      laptop.deployment.targetHost = null;
    }}"""
    file = hive(tmp_path, text)
    written = converted(file)
    assert "a `Host` of yours that was for an address" in written
    assert 'builds = { www = { build = "instance"; }; };' in " ".join(written.split())
    own = tmp_path / "own.nix"
    own.write_text(written)
    loaded = load(own).inventory
    assert (loaded.format, loaded.warnings) == ("hive", ())
    assert told(loaded) == told(load(file).inventory)
    assert derivations(own) == derivations(file)


@pytest.mark.nix
def test_an_evaluated_hive_of_a_flake_has_the_systems_still(tmp_path):
    outputs = f"{ADDRESSED} colmenaHive = inputs.colmena.lib.makeHive self.outputs.colmena;"
    place = hive_flake(tmp_path, outputs, with_colmena(tmp_path))
    before, built = load(place).inventory, derivations(place)
    written = converted(place)
    (line,) = [one for one in written.splitlines() if "nixosConfigurations.www = " in one]
    (place / "nixhive.nix").write_text(written)
    file = place / "flake.nix"
    more = f"nixhive = import ./nixhive.nix; {line.lstrip('# ')}"
    file.write_text(file.read_text().replace("@inputs: {", f"@inputs: {{ {more}"))
    after = load(place).inventory
    assert after.format == "flake"
    assert told(after) == told(before)
    assert derivations(place) == built


@pytest.mark.nix
def test_all_that_an_instance_can_say_is_read_back(tmp_path):
    checks = (
        Check(name="cmd", kind="command", command=("a b", "${x}"), period=0.25, timeout=30.0, hold=2.5),
        Check(name="port", kind="tcp", port=80, here=True, description="it is there"),
        Check(name="up", kind="units"),
        Check(name="url", kind="http", url="http://localhost/", expect=404),
    )
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICxszIbEMgXks8n0EhULivLVfhmjE2hz4HEx7fRTCA6S"
    ssh = (("Hostname", ("192.0.2.1",)), ("IdentityFile", ("/a", "/b")), ("ProxyCommand", (r'nc "\$x" $${y} %h',)))
    one = Instance(
        name="a.b",
        system="if",
        store="ssh://c",
        tags=("x", "it's"),
        ssh=ssh,
        host_keys=(key,),
        host_cas=(key,),
        checks=checks,
    )
    inventory = Inventory(
        source="nodes\n.nix",
        systems={"if": System(name="if", platform="")},
        instances={"a.b": one},
        build_flags=("--option", "cores", "2"),
        signing_key="/keys/hive",
        refuse=("all",),
        format="colmena",
    )
    (tmp_path / "no des.nix").write_text(f'{{ meta.nixpkgs = import {NIXPKGS} {{ }}; "if" = {{ }}; }}')
    source = ColmenaSource(tmp_path / "no des.nix", Evaluation())
    text = converting.converted(source, inventory, Evaluation(), tmp_path)
    assert text.splitlines()[0] == "# What `nix-hive convert` made of nodes .nix, which is read as colmena."
    assert 'file = ./. + "/no des.nix";' in text
    (tmp_path / "hive.nix").write_text(text)
    assert told(load("hive.nix").inventory) == told(inventory)
