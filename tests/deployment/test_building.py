"""Cases 2, 19: deployments that need a build while they are read, and restricted evaluation, with real Nix."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from nixhive_nb import Hive
from nixhive_nb.deployment.load import load
from nixhive_nb.errors import DeploymentError
from nixhive_nb.lab.fleet import _NIXPKGS as STAND_IN
from nixhive_nb.util import process
from tests.counting import counted

pytestmark = pytest.mark.nix

FLAGS = 'nix.build.flags = [ "--option" "sandbox" "false" "--option" "substituters" "" ];'


def built(name, script):
    """A derivation that nobody has built."""
    return (
        f'(derivation {{ name = "{name}-{secrets.token_hex(6)}"; system = builtins.currentSystem; builder = "/bin/sh"; '
        f'PATH = "/usr/bin:/bin"; args = [ "-c" {script} ]; }})'
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mods").mkdir()
    (tmp_path / "mods" / "www.nix").write_text(f'{{ networking.hostName = "x"; }} # {secrets.token_hex(6)}\n')
    return tmp_path


def write(folder, **attributes):
    """A deployment of one system and one host."""
    whole = {
        "paths.nixpkgs": f'"{STAND_IN}"',
        "systems.www.configuration": "{ ... }: { }",
        "instances.www-1.system": '"www"',
    } | {name.replace("__", "."): value for name, value in attributes.items()}
    lines = "\n".join(f"{name} = {value};" for name, value in whole.items())
    (folder / "hive.nix").write_text(f"{{ {FLAGS}\n{lines}\n}}")


def builds(folder):
    with Hive.load(folder / "hive.nix") as hive:
        return hive.build("www").frame.loc["www", "outcome"] in ("done", "unchanged")


@pytest.mark.parametrize(("flag", "times"), [("", 0), ('"--check"', 1), ('"--repair"', 1)])
def test_what_is_there_is_looked_at_by_a_build_only_if_flags_ask_for_it(folder, monkeypatch, flag, times):
    write(folder)
    assert builds(folder)
    (folder / "hive.nix").write_text((folder / "hive.nix").read_text().replace("flags = [", f"flags = [ {flag}"))
    started = counted(monkeypatch, process, "stream")
    assert builds(folder)
    assert len([words for words, *_ in started if "--keep-going" in words]) == times


@pytest.mark.parametrize("module", ['{ networking.hostName = "x"; }', "./mods/www.nix", "import ./mods/www.nix"])
def test_a_configuration_is_any_module_and_names_its_file_in_the_same_derivation(folder, module):
    """Section C: what NixOS says names the file of a module; that is no part of what is built."""
    write(folder, systems__www__configuration=module)
    words = "(import <nixpkgs/nixos/lib/eval-config.nix> { modules = [ (%s) ]; system = builtins.currentSystem; })"
    expression = f"{words % module.replace('./mods', f'{folder}/mods')}.config.system.build.toplevel"
    plain = process.run(["nix-instantiate", "-I", f"nixpkgs={STAND_IN}", "-E", expression])
    with Hive.load(folder / "hive.nix") as hive:
        assert [one.derivation for one in hive.plan("build", "www").wanted] == plain.stdout.split(), plain.stderr


@pytest.mark.parametrize("module", ["{ foo.bar = 1; }", "./mods/wrong.nix", "import ./mods/wrong.nix"])
def test_a_mistake_in_any_module_names_its_file(folder, module):
    """Section C."""
    (folder / "mods" / "wrong.nix").write_text("{ foo.bar = 1; }\n")
    write(folder, systems__www__configuration=module)
    with Hive.load(folder / "hive.nix") as hive:
        (found,) = hive.plan("build", "www").wanted
    file = folder / ("hive.nix" if module.startswith("{") else "mods/wrong.nix")
    assert found.error.startswith(f"{file}:"), found.error


def test_hosts_may_come_from_a_build(folder):
    """Case 2 (a): import from derivation, as from YAML or Terraform."""
    hosts = built("hosts.json", """ "echo '{\\"www-7\\": {\\"Port\\": 2222}}' > $out" """)
    (folder / "hive.nix").write_text(f"""{{ {FLAGS}
      systems.www.configuration = {{ ... }}: {{ }};
      instances = builtins.mapAttrs (name: ssh: {{ system = "www"; inherit ssh; }})
        (builtins.fromJSON (builtins.readFile {hosts}));
    }}""")
    loaded = load("hive.nix")
    assert loaded.inventory.instances["www-7"].ssh == (("Port", ("2222",)),)
    assert loaded.log == () or not any("evaluating" in line for line in loaded.log)


@pytest.mark.parametrize(
    "mods", ['"${./mods}"', 'builtins.path { path = ./mods; name = "own"; }', "./mods", '"${./.}/mods"']
)
def test_include_paths_may_be_copied_to_the_store(folder, mods):
    """Case 2 (b): the path was printed, and was not there."""
    write(folder, paths__mods=mods, systems__www__configuration="{ ... }: { imports = [ <mods/www.nix> ]; }")
    assert builds(folder)


@pytest.mark.parametrize("form", ["{}", '"${{{}}}"'], ids=["a derivation", "a text"])
def test_nixpkgs_may_be_one_that_is_patched(folder, form):
    """Case 2 (c): as `applyPatches` gives it; nobody built the output."""
    patched = built("patched", f'"cp -r {STAND_IN} $out"')
    write(folder, paths__nixpkgs=form.format(patched), systems__www__paths__own=form.format(patched))
    assert builds(folder)


def test_a_nixpkgs_that_was_built_and_collected_is_built_again(folder):
    """Case 2: a notebook may be open for weeks."""
    patched = built("patched", f'"cp -r {STAND_IN} $out"')
    write(folder, paths__nixpkgs=patched)
    with Hive.load() as hive:
        path = hive.inventory.paths[0].partition("=")[2]
        assert Path(path).is_dir()
        assert process.run(["nix-store", "--delete", path]).status == 0
        assert hive.build("www").frame.loc["www", "outcome"] in ("done", "unchanged")
        assert Path(path).is_dir()


def test_what_ssh_reads_here_is_there(folder):
    """Case 2: a program in `ProxyCommand` is of the same kind."""
    proxy = built("proxy", '"echo > $out"')
    write(folder, **{"instances__www-1__ssh__ProxyCommand": f'"env ${{{proxy}}} %h"'})
    inventory = load("hive.nix").inventory
    ((_, (words,)),) = inventory.instances["www-1"].ssh
    assert Path(words.split()[1]).exists()


def test_a_build_that_fails_while_a_deployment_is_read_is_named(folder):
    """Case 2."""
    write(folder, paths__nixpkgs=built("patched", '"echo it does not apply >&2; exit 3"'))
    with pytest.raises(DeploymentError, match=r"(?s)patched.* failed with exit code 3") as caught:
        load("hive.nix")
    assert "(in `paths.nixpkgs`)" in str(caught.value)


@pytest.mark.parametrize(
    "setting", ["restrict-eval = true", "allow-import-from-derivation = false", "pure-eval = false"]
)
@pytest.mark.parametrize("kind", ["a file", "a folder", "a link"])
def test_settings_of_nix_that_restrict_an_evaluation(folder, monkeypatch, setting, kind):
    """Case 19: it was "access to …/inventory.nix is forbidden in restricted mode", of a file of ours."""
    monkeypatch.setenv("NIX_CONFIG", f"sandbox = false\nsubstituters =\n{setting}")
    (folder / "www.nix").write_text("{ ... }: { imports = [ ./mods/www.nix ]; }")
    write(folder, systems__www__configuration="import ./www.nix")
    name = "hive.nix"
    if kind == "a folder":
        (folder / "hive.nix").rename(folder / "default.nix")
        name = "."
    if kind == "a link":
        (folder / "links").mkdir()
        (folder / "links" / "hive.nix").symlink_to(folder / "hive.nix")
        name = "links/hive.nix"
    with Hive.load(name) as hive:
        assert list(hive.instances().index) == ["www-1"]
        assert hive.build("www").frame.loc["www", "outcome"] in ("done", "unchanged")
