"""What a deployment says wrongly, and the words in which a person is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.reading import Evaluated, Node, read_inventory
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from pathlib import Path

WWW = "systems.www.configuration = { ... }: { };"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICxszIbEMgXks8n0EhULivLVfhmjE2hz4HEx7fRTCA6S"


def problems(folder: Path, *lines: str) -> list[str]:
    """Return the lines of the refusal of `{`, these lines, `}`: so the first of them is line 2."""
    (folder / "default.nix").write_text("\n".join(["{", *lines, "}"]))
    with pytest.raises(DeploymentError) as caught:
        load(folder)
    return str(caught.value).splitlines()


def warnings(folder: Path, *lines: str) -> list[str]:
    text = ["{", WWW, 'instances.www-0.system = "www";', *lines, "}"]
    (folder / "default.nix").write_text("\n".join(text))
    return list(load(folder).inventory.warnings)


def test_an_instance_without_a_system(tmp_path: Path) -> None:
    assert problems(tmp_path, WWW, "instances.www-1 = { };") == ["default.nix:3: instance www-1 has no `system`."]


def test_an_instance_with_an_unknown_system(tmp_path: Path) -> None:
    assert problems(tmp_path, WWW, 'instances.www-1.system = "wwww";') == [
        "default.nix:3: `system` of instance www-1 is 'wwww', and no system has that name. Near: www."
    ]
    assert problems(tmp_path, WWW, 'instances.www-1.system = "db";') == [
        "default.nix:3: `system` of instance www-1 is 'db', and no system has that name."
    ]


def test_an_instance_with_a_system_that_is_no_string(tmp_path: Path) -> None:
    assert problems(tmp_path, WWW, "instances.www-1.system = 3;") == [
        "default.nix:3: `system` of instance www-1 is a number, not a string."
    ]


def test_where_a_system_is_built(tmp_path: Path) -> None:
    system = 'systems.b = { configuration = { }; build = "relay"; };'
    assert warnings(tmp_path, system, 'instances.b.system = "b";') == []
    assert load(tmp_path).inventory.systems["b"].build == "relay"
    said = problems(tmp_path, 'systems.b = { configuration = { }; build = "there"; };')
    assert len(said) == 1
    assert said[0].startswith("default.nix:2: `build` of system b is 'there': it is here, instance, relay, or the URL")


def test_a_system_without_configuration(tmp_path: Path) -> None:
    assert problems(tmp_path, 'systems.www.system = "x86_64-linux";') == [
        "default.nix:2: system www has no `configuration`."
    ]


@pytest.mark.parametrize("module", ["./systems/www.nix", "{ services.nginx.enable = true; }"])
def test_a_configuration_may_be_what_nixos_takes_as_a_module(tmp_path: Path, module: str) -> None:
    assert warnings(tmp_path, f"systems.db.configuration = {module};") == []


def test_a_configuration_that_is_no_module(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "systems.www.configuration = [ ];")
    assert line == (
        "default.nix:2: `configuration` of system www is a list, not a module; write a NixOS module: "
        "`{ pkgs, ... }: { … }`."
    )


def test_a_configuration_may_be_a_set_that_can_be_called(tmp_path: Path) -> None:
    assert warnings(tmp_path, "systems.db.configuration = { __functor = self: { ... }: { }; };") == []


def test_a_tag_that_is_not_a_string(tmp_path: Path) -> None:
    assert problems(tmp_path, WWW, 'instances.www-1 = { system = "www"; tags = [ "web" 3 ]; };') == [
        "default.nix:3: `tags` of instance www-1 holds a tag that is not a string but a number."
    ]


def test_a_tag_brings_no_terminal_control(tmp_path: Path) -> None:
    tags = r"""tags = [ (builtins.fromJSON "\"\\u001b[2J\"") ];"""
    assert problems(tmp_path, WWW, f'instances.www-1 = {{ system = "www"; {tags} }};') == [
        "default.nix:3: `tags` of instance www-1 holds a tag with a line break or another control character."
    ]


def test_tags_that_are_no_list(tmp_path: Path) -> None:
    assert problems(tmp_path, WWW, 'instances.www-1 = { system = "www"; tags = "web"; };') == [
        "default.nix:3: `tags` of instance www-1 is a string; write a list of strings."
    ]


def test_build_flags_that_are_no_strings(tmp_path: Path) -> None:
    assert problems(tmp_path, 'nix.build.flags = [ "--max-jobs" 3 ];') == [
        "default.nix:2: `flags` of `nix.build` holds a flag that is not a string but a number."
    ]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("null", "is null"),
        ("{ }", "is an attribute set"),
        ("x: x", "is a function"),
        ("[ 1 null ]", "holds null"),
        ("[ [ 1 ] ]", "holds a list"),
        ("./key", "is a path"),
    ],
)
def test_an_ssh_value_that_cannot_be_written(tmp_path: Path, value: str, what: str) -> None:
    assert problems(tmp_path, WWW, f'instances.www-1 = {{ system = "www"; ssh.Port = {value}; }};') == [
        f"default.nix:3: `ssh.Port` of instance www-1 {what}; write a string, a number, a boolean or a list of these."
    ]


@pytest.mark.parametrize(("value", "written"), [(15.0, "15"), (1.5, "1.5"), (2222, "2222"), (True, "yes")])
def test_a_whole_number_is_written_without_a_point(tmp_path: Path, value: float, written: str) -> None:
    option = Node("bool" if value is True else "float", value=value)  # Nix 2.8 says 15, newer ones say 15.0
    host = Node("set", members={"system": Node("string", value="www"), "ssh": Node("set", members={"X": option})})
    systems = Node("set", members={"www": Node("set", members={"configuration": Node("lambda")})})
    top = Node("set", members={"systems": systems, "instances": Node("set", members={"www-1": host})})
    found = read_inventory(Evaluated("x86_64-linux", top), "hive.nix", tmp_path)
    assert found.instances["www-1"].ssh == (("X", (written,)),)


@pytest.mark.parametrize("value", [r'"22\nHost other"', r'[ "a" "b\rc" ]'])
def test_an_ssh_value_cannot_bring_lines_of_its_own(tmp_path: Path, value: str) -> None:
    assert problems(tmp_path, WWW, f'instances.www-1 = {{ system = "www"; ssh.Port = {value}; }};') == [
        "default.nix:3: `ssh.Port` of instance www-1 holds a line break or another control character."
    ]


@pytest.mark.parametrize("name", ["Port 22", "Port\\n  User", "Match", "host", "", "Port="])
def test_the_name_of_an_ssh_option_is_a_word(tmp_path: Path, name: str) -> None:
    shown = repr(name.replace("\\n", "\n"))
    assert problems(tmp_path, WWW, f'instances.www-1 = {{ system = "www"; ssh."{name}" = "x"; }};') == [
        f"default.nix:3: `ssh` of instance www-1 holds {shown}, which is no option of a Host block."
    ]


@pytest.mark.parametrize("name", ["a b", "a/b", "web*", "web?", "web[1]", "-v", "@web", "!web", "", "a\\tb", "a,b"])
def test_the_name_of_an_instance_is_a_host_name(tmp_path: Path, name: str) -> None:
    (line,) = problems(tmp_path, WWW, f'instances."{name}".system = "www";')
    shown = repr(name.replace("\\t", "\t"))
    assert line.startswith(f"default.nix:3: an instance cannot be named {shown}: it is a host name")


def test_a_key_file_in_the_store_is_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "signing.keyFile = ./secret;")
    assert line == (
        "default.nix:2: `keyFile` of `signing` is a path, which Nix may copy into the store, where everyone can read "
        "it; write a string."
    )
    assert problems(tmp_path, 'signing.keyFile = "/nix/store/abc-secret";') == [
        "default.nix:2: `keyFile` of `signing` is in the store, where everyone can read it; keep the key elsewhere."
    ]


@pytest.mark.parametrize(
    "key",
    [
        "AAAAC3NzaC1lZDI1NTE5AAAAICxszIbEMgXks8n0EhULivLVfhmjE2hz4HEx7fRTCA6S",
        f"portico {KEY}",
        KEY.replace("ssh-ed25519", "ssh-rsa"),
        KEY[:-1],
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
        "SHA256:abc",
    ],
)
@pytest.mark.parametrize(
    ("attribute", "where"),
    [
        ("hostKeys", "/etc/ssh/ssh_host_ed25519_key.pub"),
        ("hostCAs", "the file with which host certificates are signed"),
    ],
)
def test_a_host_key_is_a_public_key_line(tmp_path: Path, key: str, attribute: str, where: str) -> None:
    (line,) = problems(tmp_path, WWW, f'instances.www-1 = {{ system = "www"; {attribute} = [ "{KEY}" "{key}" ]; }};')
    assert line.startswith(f"default.nix:3: `{attribute}` of instance www-1 holds ")
    assert f"which is not a public key; write the line of {where}" in line


@pytest.mark.parametrize(("value", "what"), [("3", "is a number"), ("{ }", "is an attribute set"), ('""', "is empty")])
def test_an_include_path_that_is_none(tmp_path: Path, value: str, what: str) -> None:
    assert problems(tmp_path, f"paths.nixpkgs = {value};") == [
        f"default.nix:2: `paths.nixpkgs` {what}; write a path, a store path or a URL."
    ]


@pytest.mark.parametrize("attribute", ["systems", "instances", "paths", "nix", "signing"])
def test_an_attribute_that_has_to_be_a_set(tmp_path: Path, attribute: str) -> None:
    assert problems(tmp_path, f"{attribute} = [ ];") == [
        f"default.nix:2: `{attribute}` is a list, not an attribute set."
    ]


@pytest.mark.parametrize("value", ['{ outPath = "/x"; }', '{ __toString = self: throw "asked"; }'])
def test_a_set_that_is_a_string_to_nix_is_not_taken_for_a_table(tmp_path: Path, value: str) -> None:
    assert problems(tmp_path, f"instances.www-1 = {value};", f"systems = {value};") == [
        "default.nix:3: `systems` is a derivation, not an attribute set.",
        "default.nix:2: instance www-1 is a derivation, not an attribute set.",
    ]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "hosts.nix").write_text('{\n  www-1 = { system = "ww"; tags = [ 1 ]; };\n  www-2 = 3;\n}')
    assert problems(tmp_path, "systems.www = { };", "instances = import ./hosts.nix;") == [
        "default.nix:2: system www has no `configuration`.",
        "hosts.nix:2: `system` of instance www-1 is 'ww', and no system has that name. Near: www.",
        "hosts.nix:2: `tags` of instance www-1 holds a tag that is not a string but a number.",
        "hosts.nix:3: instance www-2 is a number, not an attribute set.",
    ]


def test_a_mistake_without_a_known_place_is_told_all_the_same(tmp_path: Path) -> None:
    generated = "instances = builtins.mapAttrs (name: value: value) { www-1 = { }; };"
    assert problems(tmp_path, WWW, generated) == ["instance www-1 has no `system`."]


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("sytems = { };", "`sytems` (default.nix:4): did you mean `systems`?"),
        ("flake = { };", "`flake` (default.nix:4) is not known, and has no effect."),
        ("systems.www.sytem = 1;", "`sytem` of system www (default.nix:4): did you mean `system`?"),
        ("instances.www-0.tag = [ ];", "`tag` of instance www-0 (default.nix:4): did you mean `tags`?"),
        ("nix.flags = [ ];", "`flags` of `nix` (default.nix:4) is not known, and has no effect."),
        ("nix.build.flag = [ ];", "`flag` of `nix.build` (default.nix:4): did you mean `flags`?"),
        ('signing.keyfile = "";', "`keyfile` of `signing` (default.nix:4): did you mean `keyFile`?"),
    ],
)
def test_an_unknown_attribute_is_a_warning(tmp_path: Path, line: str, warning: str) -> None:
    assert warnings(tmp_path, line) == [warning]


def test_what_is_unknown_is_not_evaluated(tmp_path: Path) -> None:
    assert len(warnings(tmp_path, 'pkgs = throw "costly";', 'instances.www-0.later = abort "costly";')) == 2


def test_checks_may_be_empty(tmp_path: Path) -> None:
    assert warnings(tmp_path, "systems.www.checks = [ ];", "instances.www-0.checks = { };") == []


def test_a_mistyped_attribute_is_named_beside_what_is_missing_because_of_it(tmp_path: Path) -> None:
    text = '{ systems.www.configuration = { ... }: { }; instances.www-1.sytem = "www"; }'
    (tmp_path / "default.nix").write_text(text)
    with pytest.raises(DeploymentError) as caught:
        load(tmp_path)
    missing, unknown = str(caught.value).splitlines()
    assert "instance www-1 has no `system`" in missing
    assert "did you mean `system`?" in unknown
