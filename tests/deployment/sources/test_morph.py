"""Networks of morph. Expected values follow from its README and examples: options, defaults, order of modules."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import nixhive_nb.lab
from nixhive_nb import Hive
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.errors import DeploymentError, RunFailed
from nixhive_nb.view.deployment import heeded_lines

pytestmark = pytest.mark.nix

NIXPKGS = Path(nixhive_nb.lab.__file__).parent / "nixpkgs"
PKGS = f"import {NIXPKGS} {{ }} // {{ path = {NIXPKGS}; }}"
FLEET = """
  defaults = { pkgs, ... }: {
    environment.etc.motd.text = "one of ours";
    system.extraDependencies = [ pkgs.git ];
  };
  www = { name, nodes, pkgs, ... }: {
    deployment = { targetHost = "192.0.2.1"; targetUser = "ops"; tags = [ "web" ]; };
    deployment.healthChecks.cmd = [ { cmd = [ "test" "-e" "/etc/who" ]; description = "it is somebody"; } ];
    deployment.preDeployChecks.cmd = [ { cmd = [ "uptime" ]; description = "it is there"; } ];
    system.extraDependencies = [ pkgs.vim ];
    environment.etc.who.text = "${name}, beside ${nodes.db.config.networking.hostName}";
  };
  db = { ... }: { };
"""


def network(folder: Path, machines: str, more: str = "") -> Path:
    file = folder / "network.nix"
    file.write_text(f"let pkgs = {PKGS}; in {{\nnetwork = {{ inherit pkgs; {more} }};\n{machines}\n}}\n")
    return file


def read(folder: Path, machines: str, more: str = ""):
    return load(network(folder, machines, more)).inventory


def refusal(file: Path, **how) -> str:
    with pytest.raises(DeploymentError) as refused:
        load(file, how=Evaluation(**how))
    return str(refused.value)


def test_a_machine_is_a_system_and_an_instance_that_is_reached_by_its_name_unless_it_says_otherwise(tmp_path):
    found = read(tmp_path, FLEET)
    assert (found.format, list(found.systems), list(found.instances)) == ("morph", ["db", "www"], ["db", "www"])
    assert found.instances["db"].ssh == (("Hostname", ("db",)),)
    assert found.instances["www"].ssh == (("Hostname", ("192.0.2.1",)), ("User", ("ops",)))
    assert found.instances["www"].tags == ("web",)


def test_a_percent_sign_of_an_address_is_one(tmp_path):
    found = read(tmp_path, 'www.deployment.targetHost = "fe80::1%eth0";')
    assert dict(found.instances["www"].ssh)["Hostname"] == ("fe80::1%%eth0",)


def test_a_login_that_no_machine_names_is_that_of_the_variable_of_morph(tmp_path, monkeypatch):
    monkeypatch.setenv("SSH_USER", "deployer")
    found = read(tmp_path, FLEET)
    assert dict(found.instances["db"].ssh)["User"] == ("deployer",)
    assert dict(found.instances["www"].ssh)["User"] == ("ops",)
    assert "  SSH_USER of db: honoured" in heeded_lines(found.heeded)


def test_nothing_of_nixpkgs_is_copied_to_the_store(tmp_path):
    file = network(tmp_path, "www = { };")
    words = load(file).source.toplevels(None, ["www"])
    said = subprocess.run([*words, "-vv"], capture_output=True, text=True, check=True).stderr
    assert f"copied source '{NIXPKGS}'" not in said


def test_a_system_is_the_derivation_of_its_modules(tmp_path, monkeypatch):
    file = network(tmp_path, FLEET)
    monkeypatch.chdir(tmp_path)
    with Hive.load("network.nix") as hive:
        built = {one.system: one.derivation for one in hive.build("*", no=["realise"]).systems()}
    # By hand, after data/eval-machines.nix and data/options.nix of morph: the machine and `defaults`, its name as the
    # host's, packages of the network, `name` and `nodes`; and the text of what its checks run, which a system holds.
    expected = f"""
      let
        all = import {file};
        inherit (all.network.pkgs) lib;
        texts.www = "uptime\\ntest\\n-e\\n/etc/who";
        texts.db = "";
        of = name: import "{NIXPKGS}/nixos/lib/eval-config.nix" {{
          modules = [ {{ imports = [ all.${{name}} ]; }} all.defaults {{
            options.deployment = lib.mkOption {{ type = lib.types.anything; default = {{ }}; }};
            config.nixpkgs.pkgs = all.network.pkgs;
            config.system.extraDependencies =
              [ (all.network.pkgs.writeText "healthcheck-commands.txt" texts.${{name}}) ];
            config.networking.hostName = lib.mkDefault name;
            config._module.args = {{ inherit name; nodes = {{ www = of "www"; db = of "db"; }}; }};
          }} ];
        }};
      in lib.genAttrs [ "www" "db" ] (name: (of name).config.system.build.toplevel.drvPath)
    """
    words = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-E", expected]
    assert built == json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_a_folder_may_be_named_as_it_likes(tmp_path, monkeypatch):
    folder = tmp_path / 'my ${fleet} "one" \\ two'
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    with Hive.load(network(folder, "www = { };")) as hive:
        (wanted,) = hive.plan("build", "*", no=["realise"]).wanted
    assert wanted.derivation.endswith(".drv"), wanted.error


def test_what_is_only_built_is_no_instance(tmp_path):
    found = read(tmp_path, "image = { deployment.buildOnly = true; }; www = { };")
    assert (list(found.systems), list(found.instances)) == (["image", "www"], ["www"])


def test_health_checks_are_checks_with_the_times_of_morph(tmp_path):
    found = read(
        tmp_path,
        """www.deployment = {
          targetHost = "192.0.2.1";
          healthChecks.cmd = [
            { cmd = [ "systemctl" "is-active" "nginx" ]; description = "nginx runs"; timeout = 30; }
          ];
          healthChecks.http = [
            { path = "/status"; port = 8080; period = 1; }
            { host = "www.example"; scheme = "https"; port = 443; }
          ];
        };""",
    )
    checks = {check.name: check for check in found.instances["www"].checks}
    assert checks["cmd-1"].command == ("systemctl", "is-active", "nginx")
    assert (checks["cmd-1"].description, checks["cmd-1"].period, checks["cmd-1"].timeout) == ("nginx runs", 2.0, 30.0)
    assert (checks["http-1"].url, checks["http-1"].here) == ("http://192.0.2.1:8080/status", True)
    assert (checks["http-1"].period, checks["http-1"].timeout) == (1.0, 5.0)
    assert checks["http-2"].url == "https://www.example:443/"


def test_what_becomes_of_all_else_is_said_and_no_secret_is_looked_at(tmp_path):
    found = read(
        tmp_path,
        """www.deployment = {
          secrets.key = { source = throw "read"; destination = throw "read"; };
          preDeployChecks.cmd = [ { cmd = [ "true" ]; } ]; substituteOnDestination = true; targetPort = 2222;
          healthChecks.http = [ { headers.Host = "x"; } ];
        };""",
        'ordering.tags = [ "db" "web" ]; runCommand = throw "run"; nixConfig.cores = "2";',
    )
    assert heeded_lines(found.heeded) == [
        "  deployment.targetHost of www: honoured",
        "  deployment.targetPort of www: honoured",
        "  deployment.healthChecks of www: honoured differently (they are checks: a host goes back where they fail)",
        "  deployment.preDeployChecks of www: not honoured (nothing is checked before a deploy)",
        "  deployment.secrets of www: not honoured (send them by other means: key)",
        "  deployment.substituteOnDestination of www: honoured",
        "  deployment.healthChecks.http.headers of www: not honoured (a check has no such option)",
        "  network.nixConfig: honoured",
        "  network.pkgs: honoured",
        "  network.runCommand: not honoured (each system is built as it is)",
        "  network.ordering.tags: honoured differently (type `deploy '@(db)' '@(web)' '*'`: each pattern is a wave)",
    ]
    assert found.build_flags == ("--option", "cores", "2")


@pytest.mark.parametrize(
    ("machines", "said"),
    [
        ('"a b" = { };', "machine a b: it cannot be the name of an instance"),
        ('www.deployment.targetHost = "ops@x";', "machine www: `deployment.targetHost` is 'ops@x': the user of a host"),
        ("www.deployment.targetHost = 7;", "deployment.targetHost"),
        ("www.deployment.colour = 1;", "deployment.colour"),
        ('www = throw "no such machine";', "no such machine"),
        ("www.deployment.healthChecks.cmd = [ { } ];", "machine www: health check 1 of `cmd` has no command."),
        (
            'www.deployment.healthChecks.http = [ { scheme = "ftp"; } ];',
            "machine www: health check 1 of `http` makes",
        ),
        (
            'www.deployment.healthChecks.cmd = [ { cmd = "true"; } ];',
            "machine www: `healthChecks.cmd[0].cmd` is a string, not a list.",
        ),
        (
            'www.deployment.healthChecks.http = [ { } { port = "80"; } ];',
            "machine www: `healthChecks.http[1].port` is a string, not a number.",
        ),
        (
            'www.deployment.healthChecks.cmd = [ { cmd = [ "true" ]; period = "1s"; } ];',
            "machine www: `healthChecks.cmd[0].period` is a string, not a number.",
        ),
        (
            'www.deployment.healthChecks.cmd = [ { cmd = [ "true" ]; timeout = -1; } ];',
            "machine www: `healthChecks.cmd[0].timeout` is not more than 0.",
        ),
    ],
)
def test_a_mistake_is_told_with_its_machine(tmp_path, machines, said):
    assert said in refusal(network(tmp_path, machines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("www = { };", "a network of morph has an attribute `network`, and this has none"),
        ("network = 5; www = { };", "`network` is a number, not an attribute set"),
        ("network.pkgs = [ ]; www = { };", "`network.pkgs` is a list, not an attribute set"),
        (
            f"network = {{ pkgs = {PKGS}; specialArgs = true; }}; www = {{ }};",
            "`network.specialArgs` is a boolean, not an attribute set",
        ),
        (f"network = {{ pkgs = {PKGS}; ordering.tags = 5; }};", "network: `ordering` is a number, not a list."),
    ],
)
def test_a_network_of_another_shape_is_told(tmp_path, text, said):
    (tmp_path / "network.nix").write_text(f"{{ {text} }}")
    assert said in refusal(tmp_path / "network.nix", format="morph")


def test_a_mistake_in_a_configuration_has_file_and_line_and_the_others_are_built(tmp_path, monkeypatch):
    network(tmp_path, 'www = { };\ndb = {\n  environment.etc.x.text = throw "no text";\n};')
    monkeypatch.chdir(tmp_path)
    with Hive.load("network.nix") as hive, pytest.raises(RunFailed) as failed:
        hive.build("*", no=["realise"])
    outcomes = {one.system: (one.outcome, one.reason) for one in failed.value.report.systems()}
    assert outcomes["www"][0] == "done"
    assert "network.nix:5" in outcomes["db"][1]


def test_a_file_of_another_shape_is_told(tmp_path):
    file = tmp_path / "network.nix"
    file.write_text("{ www = { }; }")
    assert "a network of morph has an attribute `network`, and this has none" in refusal(file, format="morph")
    file.write_text("{ x ? 1 }: { }")
    assert "a network of morph is an attribute set, and this is a function" in refusal(file, format="morph")
