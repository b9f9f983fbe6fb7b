"""Flakes with `nixosConfigurations`, evaluated by the Nix of this machine; the stand-in for nixpkgs is an input."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nixhive_nb.lab
from nixhive_nb import Hive
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.flakes import eval_command
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.deployment.sources.where import FlakePlace
from nixhive_nb.errors import DeploymentError, RunFailed
from nixhive_nb.util import process
from tests.counting import counted

pytestmark = pytest.mark.nix

NIXPKGS = Path(nixhive_nb.lab.__file__).parent / "nixpkgs"
NIX = ["nix", "--extra-experimental-features", "nix-command flakes"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICxszIbEMgXks8n0EhULivLVfhmjE2hz4HEx7fRTCA6S"
FLEET = """
  nixosConfigurations.www = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./www.nix ]; };
  nixosConfigurations.portico = nixpkgs.lib.nixosSystem {
    system = "x86_64-linux";
    modules = [ { networking.hostName = "portico"; } ];
  };
"""
NEVER = """
  nixosConfigurations = { www = throw "evaluated"; portico = throw "evaluated"; };
"""


def flake(folder: Path, outputs: str, more: str = "") -> Path:
    """Write a flake whose files Git knows."""
    (folder / "www.nix").write_text('{ networking.hostName = "www"; }\n')
    (folder / "flake.nix").write_text(
        f'{{ inputs.nixpkgs.url = "path:{NIXPKGS}"; {more}\noutputs = {{ self, nixpkgs }}: {{\n{outputs}\n}}; }}\n'
    )
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True)


def inventory(folder: Path, outputs: str, **how):
    return load(flake(folder, outputs), how=Evaluation(**how)).inventory


def refusal(path: Path | str, **how) -> str:
    with pytest.raises(DeploymentError) as refused:
        load(path, how=Evaluation(**how))
    return str(refused.value)


def nix_version() -> tuple[int, ...]:
    said = subprocess.run(["nix", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", said.split()[-1])[:2]))


def test_data_beside_the_configurations_says_what_the_instances_are_and_evaluates_none(tmp_path):
    found = inventory(
        tmp_path,
        f"""{NEVER}
        nixhive = {{
          systems.www.checks.page.http = "http://localhost/";
          instances.portico = {{ }};
          instances.www-1 = {{
            system = "www"; tags = [ "web" ]; store = "ssh://portico";
            ssh.Hostname = "192.0.2.1"; hostKeys = [ "{KEY}" ]; hostCAs = [ "{KEY}" ];
          }};
          instances.www-2 = {{ system = "www"; checks.ssh.tcp = 22; }};
          signing.keyFile = "/keys/hive";
          refuse = [ "dirty" ];
        }};""",
    )
    assert (found.format, found.signing_key, found.refuse) == ("flake", "/keys/hive", ("dirty",))
    assert list(found.systems) == ["portico", "www"]
    www_1, www_2 = found.instances["www-1"], found.instances["www-2"]
    assert found.instances["portico"].system == "portico"
    assert (www_1.system, www_1.tags, www_1.store, www_1.host_keys, www_1.host_cas) == (
        "www",
        ("web",),
        "ssh://portico",
        (KEY,),
        (KEY,),
    )
    assert www_1.ssh == (("Hostname", ("192.0.2.1",)),)
    assert [check.name for check in www_2.checks] == ["page", "ssh"]


def test_without_data_each_configuration_is_an_instance_and_targets_must_be_named(tmp_path):
    found = inventory(tmp_path, NEVER)
    assert {name: one.system for name, one in found.instances.items()} == {"portico": "portico", "www": "www"}
    assert found.refuse == ("all",)
    assert [one.attribute for one in found.heeded] == ["nixosConfigurations"]


@pytest.mark.parametrize("in_git", [True, False])
def test_a_system_is_the_derivation_that_nix_makes_of_the_same_attribute(tmp_path, monkeypatch, in_git):
    flake(tmp_path, FLEET)
    if not in_git:
        (tmp_path / ".git").rename(tmp_path / "no-git")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIX_CONFIG", "sandbox = false\nsubstituters =")
    with Hive.load(".") as hive:
        report = hive.build("*", no=["realise"])
    wanted = {one.system: one.derivation for one in report.systems()}
    attribute = "config.system.build.toplevel.drvPath"
    for name in ("www", "portico"):
        said = subprocess.run(
            [*NIX, "eval", "--raw", "--no-write-lock-file", f".#nixosConfigurations.{name}.{attribute}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert wanted[name] == said.stdout
    assert not Path("flake.lock").exists()


def test_one_that_cannot_be_evaluated_fails_alone_and_is_named_with_its_own_file(tmp_path, monkeypatch):
    flake(tmp_path, FLEET)
    (tmp_path / "www.nix").write_text('{\n  networking.hostName = throw "no such name";\n}\n')
    monkeypatch.chdir(tmp_path)
    with Hive.load(".") as hive, pytest.raises(RunFailed) as failed:
        hive.build("*", no=["realise"])
    outcomes = {one.system: (one.outcome, one.reason) for one in failed.value.report.systems()}
    assert outcomes["portico"][0] == "done"
    assert outcomes["www"][0] == "failed"
    assert f"{tmp_path}/www.nix:2" in outcomes["www"][1]
    assert "no such name" in outcomes["www"][1]


def test_a_file_that_git_does_not_know_is_told_with_what_to_do(tmp_path, monkeypatch):
    flake(tmp_path, FLEET)
    git(tmp_path, "rm", "--cached", "--quiet", "www.nix")
    monkeypatch.chdir(tmp_path)
    with Hive.load(".") as hive, pytest.raises(RunFailed) as failed:
        hive.build("www", no=["realise"])
    (record,) = failed.value.report.systems()
    assert "git add www.nix" in record.reason


def test_a_flake_that_git_does_not_know_is_told_as_well(tmp_path):
    flake(tmp_path, FLEET)
    git(tmp_path, "rm", "--cached", "--quiet", "flake.nix")
    assert "git add flake.nix" in refusal(tmp_path)


def test_a_file_that_an_input_lacks_is_none_of_ours(tmp_path):
    (tmp_path / "bare").mkdir()
    git(tmp_path / "bare", "init", "--quiet")
    (tmp_path / "own").mkdir()
    flake(tmp_path / "own", FLEET, more=f'inputs.bare.url = "git+file://{tmp_path}/bare";')
    said = refusal(tmp_path / "own")
    assert "flake.nix" in said
    assert f"{tmp_path}/own" not in said
    assert "git add" not in said


def test_why_git_could_not_fetch_is_told(tmp_path):
    flake(tmp_path, FLEET, more='inputs.private.url = "git+ssh://git@127.0.0.1:1/private";')
    said = refusal(tmp_path)
    assert "Connection refused" in said
    assert "Could not read from remote repository" in said


def test_a_tree_that_is_not_committed_is_read_through_links(tmp_path):
    (tmp_path / "fleet").mkdir()
    flake(tmp_path / "fleet", f'{NEVER}\nnixhive.instances.www-1.system = "www";')
    (tmp_path / "link").symlink_to("fleet")
    assert set(load(tmp_path / "link").inventory.instances) == {"www-1"}


@pytest.mark.parametrize("reference", ["git+file://{}?dir=hive", "{}?dir=hive", "{}/hive"])
def test_a_flake_below_the_top_of_its_repository_is_read(tmp_path, reference):
    (tmp_path / "hive").mkdir()
    git(tmp_path, "init", "--quiet")
    flake(tmp_path / "hive", f'{NEVER}\nnixhive.instances.www-1.system = "www";')
    (tmp_path / "hive" / ".git").rename(tmp_path / "none")
    git(tmp_path, "add", "hive")
    assert set(load(reference.format(tmp_path)).inventory.instances) == {"www-1"}


def test_a_path_that_this_nix_does_not_take_is_told_with_what_to_do(tmp_path):
    folder = tmp_path / "my fleet"
    folder.mkdir()
    (folder / "flake.nix").write_text(f'{{ outputs = _: {{ {NEVER} nixhive.instances.www-1.system = "www"; }}; }}')
    is_taken = (
        subprocess.run([*NIX, "flake", "metadata", str(folder)], capture_output=True, check=False).returncode == 0
    )
    if is_taken:  # from some version after 2.8 on
        assert set(load(folder).inventory.instances) == {"www-1"}
    else:
        assert "Rename the folder" in refusal(folder)


def test_a_mistake_in_the_data_is_told_with_file_and_line(tmp_path):
    flake(tmp_path, f'{NEVER}\nnixhive.instances.www-1 = {{\n  system = "wwww";\n}};')
    line = (tmp_path / "flake.nix").read_text().splitlines().index('  system = "wwww";') + 1
    assert refusal(tmp_path) == (
        f"flake.nix:{line}: `system` of instance www-1 is 'wwww', and no system has that name. Near: www."
    )


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ("nixosConfigurations = [ ];", "`nixosConfigurations` of the flake {place} is a list, not an attribute set."),
        (f"{NEVER} nixhive.instances = [ ];", "`instances` is a list, not an attribute set."),
        (
            f"{NEVER} nixhive = {{ instances.www = {{ }}; systems = 5; }};",
            "`systems` is a number, not an attribute set.",
        ),
        (
            f"{NEVER} nixhive = {{ instances.www = {{ }}; systems.www = 5; }};",
            "system www is a number, not an attribute",
        ),
    ],
)
def test_an_output_of_another_shape_is_told_by_its_name(tmp_path, outputs, said):
    told = refusal(flake(tmp_path, outputs))
    assert told.startswith(said.format(place=tmp_path)), told


@pytest.mark.parametrize("output", ["www", "nixosConfigurations.www"])
def test_a_configuration_that_is_named_as_nixos_rebuild_has_it_is_told_what_to_type(tmp_path, monkeypatch, output):
    flake(tmp_path, FLEET)
    monkeypatch.chdir(tmp_path)
    assert refusal(f".#{output}").endswith(
        "www is one of its nixosConfigurations, which are named as patterns: -c . … www"
    )
    assert refusal(".#wwww") == "The flake .#wwww has no output wwww."


def test_an_instance_of_no_configuration_is_told(tmp_path):
    flake(tmp_path, f"{NEVER}\nnixhive.instances.db = {{ }};")
    assert "`system` of instance db is 'db', and no system has that name" in refusal(tmp_path)


def test_data_of_a_system_that_is_no_configuration_is_told(tmp_path):
    flake(tmp_path, f"{NEVER}\nnixhive = {{ instances.www = {{ }}; systems.db.checks = {{ }}; }};")
    said = refusal(tmp_path)
    assert "`systems.db` in the output nixhive has no configuration: there is no nixosConfigurations.db" in said


def test_include_paths_have_no_effect_and_that_is_said(tmp_path):
    found = inventory(tmp_path, f"{NEVER}\nnixhive = {{ instances.www = {{ }}; paths.nixpkgs = ./.; }};")
    assert found.paths == ()
    assert "`paths` has no effect in a flake: name what is needed as its inputs." in found.warnings


def test_names_that_are_none_of_hosts_are_told(tmp_path):
    flake(tmp_path, 'nixosConfigurations."two words" = { }; nixosConfigurations.localhost = { };')
    said = refusal(tmp_path)
    assert "These names in nixosConfigurations" in said
    assert "  two words: it is a host name for ssh and Nix" in said
    assert "output `nixhive`" in said


def test_another_output_can_be_named(tmp_path):
    flake(tmp_path, f'{NEVER}\nfleets.prod.instances.www-9.system = "www"; nixhive.instances.www = {{ }};')
    assert list(load(f"{tmp_path}#fleets.prod").inventory.instances) == ["www-9"]
    assert list(load(tmp_path).inventory.instances) == ["www"]
    assert list(load(f"{tmp_path}#nixosConfigurations").inventory.instances) == ["portico", "www"]
    assert refusal(f"{tmp_path}#fleets.test") == f"The flake {tmp_path}#fleets.test has no output fleets.test."
    assert "has no `instances`" in refusal(f"{tmp_path}#fleets", format="flake")


def test_a_flake_without_a_fleet_is_told(tmp_path):
    flake(tmp_path, "packages = { };")
    assert "has no fleet: none of its outputs is nixhive, colmenaHive" in refusal(tmp_path)


def test_a_package_with_the_name_of_an_output_is_not_taken_for_it(tmp_path):
    package = 'derivation { name = "nixhive"; system = "x86_64-linux"; builder = "/bin/sh"; }'
    flake(tmp_path, f"{NEVER}\npackages.x86_64-linux.nixhive = {package}; nixhive.instances.www = {{ }};")
    if nix_version() >= (2, 19):
        assert list(load(tmp_path).inventory.instances) == ["www"]
    else:
        assert "The flake has a package nixhive" in refusal(tmp_path)


def test_its_own_settings_are_not_taken_and_its_lock_file_is_not_written(tmp_path):
    flake(tmp_path, NEVER, more='nixConfig.extra-substituters = [ "http://127.0.0.1:1" ];')
    load(tmp_path)
    assert not (tmp_path / "flake.lock").exists()


def test_an_evaluation_is_pure_unless_that_is_asked_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEET_TAG", "blue")
    flake(tmp_path, f'{NEVER}\nnixhive.instances.www.tags = [ "x${{builtins.getEnv "FLEET_TAG"}}" ];')
    assert load(tmp_path).inventory.instances["www"].tags == ("x",)
    assert load(tmp_path, how=Evaluation(impure=True)).inventory.instances["www"].tags == ("xblue",)


def test_an_input_can_be_overridden(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "flake.nix").write_text('{ outputs = _: { lib.tag = "green"; }; }')
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    flake(fleet, f"{NEVER}\nnixhive.instances.www.tags = [ nixpkgs.lib.tag ];")
    how = Evaluation(override_inputs=(("nixpkgs", f"path:{other}"),))
    assert load(fleet, how=how).inventory.instances["www"].tags == ("green",)


def test_the_words_of_a_user_reach_nix():
    how = Evaluation(impure=True, override_inputs=(("a", "path:/b"),), options=(("cores", "2"),))
    words = eval_command(FlakePlace(reference="/f"), "out", "x: x", how)
    assert words[: len(NIX) + 3] == [*NIX, "eval", "--json", "/f#out"]
    assert words[-7:] == ["--impure", "--override-input", "a", "path:/b", "--option", "cores", "2"]
    assert "--no-write-lock-file" in words


def test_a_file_that_is_changed_is_seen(tmp_path):
    loaded = load(flake(tmp_path, NEVER))
    assert loaded.changed() is None
    (tmp_path / "www.nix").write_text("{ }")
    assert loaded.changed() == str(tmp_path / "www.nix")


def test_a_flake_with_data_is_evaluated_three_times(tmp_path, monkeypatch):
    flake(tmp_path, f"{NEVER}\nnixhive.instances.www = {{ }};")
    calls = counted(monkeypatch, process, "run")
    load(tmp_path)
    assert sum("eval" in argv for (argv, *_) in calls) == 3


def test_the_program_reads_the_flake_of_the_folder_and_says_so(tmp_path):
    flake(tmp_path, f'{NEVER}\nnixhive.instances.www-1.system = "www";')
    said = subprocess.run(
        [sys.executable, "-m", "nixhive_nb", "load"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
    )  # fmt: skip
    assert said.stdout == ".: a flake with nixosConfigurations, 2 systems, 1 instance\n"
