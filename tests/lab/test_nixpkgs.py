"""The stand-in for nixpkgs merges modules as NixOS does. Nothing is built here, and no store is opened."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from nixhive_nb import lab as package

NIXPKGS = Path(package.__file__).parent / "nixpkgs"

pytestmark = [pytest.mark.nix, pytest.mark.usefixtures("need_nix")]


def instantiate(expression: str) -> subprocess.CompletedProcess[str]:
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "-I", f"nixpkgs={NIXPKGS}", "-E", expression]
    environment = {**os.environ, "NIX_REMOTE": "dummy://"}
    return subprocess.run(argv, capture_output=True, text=True, env=environment, check=False, timeout=60)


def evaluated(*modules: str, of: str) -> subprocess.CompletedProcess[str]:
    listed = " ".join(f"({module})" for module in modules)
    return instantiate(f"""
      with (import <nixpkgs/nixos/lib/eval-config.nix> {{
        modules = [ {listed} ];
        system = "x86_64-linux";
        specialArgs = {{ colour = "green"; }};
      }}); {of}
    """)


def value(*modules: str, of: str) -> object:
    done = evaluated(*modules, of=of)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def error(*modules: str, of: str = "config.networking.hostName") -> str:
    done = evaluated(*modules, of=of)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_forms_of_modules(tmp_path):
    (tmp_path / "file.nix").write_text('{ lib, ... }: { boot.kernelParams = [ (lib.toLower "FILE") ]; }')
    modules = (
        '{ boot.kernelParams = [ "set" ]; }',
        '{ config, pkgs, ... }: { boot.kernelParams = [ "function" ]; }',
        '{ config = { boot.kernelParams = [ "long" ]; }; }',
        f"{{ imports = [ {tmp_path}/file.nix {tmp_path}/file.nix ]; }}",
    )
    assert value(*modules, of="config.boot.kernelParams") == ["set", "function", "long", "file"]


def test_arguments_of_modules():
    by_name = "{ colour, shape, ... }: { networking.domain = colour + shape; }"
    assert value(by_name, '{ _module.args.shape = "-square"; }', of="config.networking.domain") == "green-square"


def test_extra_modules_and_system():
    expression = """
      let e = import <nixpkgs/nixos/lib/eval-config.nix> {
        system = "aarch64-linux";
        modules = [ { networking.hostName = "a"; } ];
        extraModules = [ { time.timeZone = "UTC"; } ];
      }; in [ e.config.nixpkgs.system e.config.time.timeZone e.config.networking.hostName e.pkgs.system ]
    """
    assert json.loads(instantiate(expression).stdout) == ["aarch64-linux", "UTC", "a", "aarch64-linux"]


def test_configuration_refers_to_itself():
    first = '{ config, ... }: { networking.domain = config.networking.hostName + ".example"; }'
    assert value(first, '{ networking.hostName = "here"; }', of="config.networking.domain") == "here.example"


@pytest.mark.parametrize(
    ("definitions", "expected"),
    [
        (('"a"', 'lib.mkForce "b"'), "b"),
        (('lib.mkDefault "a"', '"b"'), "b"),
        (('lib.mkDefault "a"', 'lib.mkForce "b"', '"c"'), "b"),
        (('lib.mkIf false "a"', '"b"'), "b"),
        (('"a"', '"a"'), "a"),
        (('lib.mkMerge [ (lib.mkDefault "a") (lib.mkIf true "b") ]',), "b"),
        (('lib.mkDefault ""',), ""),
        ((), "nixos"),
    ],
)
def test_which_definition_holds(definitions, expected):
    modules = [f"{{ lib, ... }}: {{ networking.hostName = {text}; }}" for text in definitions]
    assert value(*modules, of="config.networking.hostName") == expected


def test_different_scalars_conflict():
    words = error('{ _file = "one.nix"; networking.hostName = "a"; }', '{ networking.hostName = "b"; }')
    assert "The option `networking.hostName' has conflicting definition values:" in words
    assert 'In `one.nix\': "a"' in words
    assert "lib.mkForce" in words


def test_scalars_conflict_where_nothing_is_declared():
    modules = ("{ services.minio.port = 1; }", "{ services.minio.port = 2; }")
    assert "`services.minio.port' has conflicting" in error(*modules, of="config.services.minio")


def test_an_unknown_option_is_an_error():
    assert "The option `netwrking' does not exist" in error('{ netwrking.hostName = "a"; }')
    # Also when it would not take effect, as in NixOS.
    assert "The option `foo' does not exist" in error("{ lib, ... }: { config = lib.mkIf false { foo = 1; }; }")


def test_a_wrong_type_is_an_error():
    assert "`networking.hostName' is not of type" in error("{ networking.hostName = 5; }")
    assert "`environment.systemPackages' is not of type" in error(
        '{ environment.systemPackages = "htop"; }', of="map (p: p.name) config.environment.systemPackages"
    )


def test_a_stray_attribute_beside_config_is_an_error():
    assert "unsupported attribute `networking'" in error('{ config = { }; networking.hostName = "a"; }')


def test_lists_follow_each_other_and_can_be_ordered_and_forced():
    first, second = '{ boot.kernelParams = [ "a" ]; }', '{ lib, ... }: { boot.kernelParams = lib.mkBefore [ "b" ]; }'
    assert value(first, second, of="config.boot.kernelParams") == ["b", "a"]
    forced = '{ lib, ... }: { boot.kernelParams = lib.mkForce [ "c" ]; }'
    assert value(first, second, forced, of="config.boot.kernelParams") == ["c"]


def test_sets_merge_deeply():
    modules = (
        '{ nix.settings.substituters = [ "a" ]; services.x.one.two = 1; }',
        "{ lib, ... }: { services.x.one.three = lib.mkIf true 3; services.x.four = lib.mkIf false 4; }",
        '{ nix.settings.substituters = [ "b" ]; }',
    )
    assert value(*modules, of="config.nix.settings.substituters") == ["a", "b"]
    assert value(*modules, of="config.services.x") == {"one": {"two": 1, "three": 3}}


def test_a_condition_may_ask_for_what_it_stands_beside():
    nginx = '{ services.nginx.enable = true; services.nginx.virtualHosts.a.root = "/r"; }'
    other = "{ config, lib, ... }: { config = lib.mkIf config.services.nginx.enable { services.haproxy.on = true; }; }"
    assert value(nginx, other, of="config.services.haproxy.on") is True
    assert value(nginx, of='config.environment.etc ? "nginx/nginx.conf"') is True
    assert value("{ }", of='config.environment.etc ? "nginx/nginx.conf"') is False


def test_own_options():
    module = """
      { config, lib, ... }: {
        options.fleet.greeting = lib.mkOption { type = lib.types.str; default = "hello"; };
        options.fleet.loud = lib.mkEnableOption "shouting";
        config.networking.domain = config.fleet.greeting + lib.optionalString config.fleet.loud "!";
      }
    """
    assert value(module, of="config.networking.domain") == "hello"
    assert value(module, '{ fleet = { greeting = "hi"; loud = true; }; }', of="config.networking.domain") == "hi!"
    assert "The option `fleet.greting' does not exist" in error(module, '{ fleet.greting = "hi"; }')


def test_texts_of_a_file_are_joined():
    modules = (
        '{ environment.etc.motd.text = "b"; }',
        '{ lib, ... }: { environment.etc.motd.text = lib.mkBefore "a"; }',
    )
    assert value(*modules, of="config.environment.etc.motd.text") == "a\nb"


def test_failed_assertions_are_told():
    module = '{ assertions = [ { assertion = false; message = "portico needs a key"; } ]; }'
    assert "portico needs a key" in error(module, of="config.system.build.toplevel.drvPath")


def test_the_packages_and_lib_can_be_imported():
    assert json.loads(instantiate("(import <nixpkgs> { }).hello.name").stdout) == "hello"
    assert json.loads(instantiate("(import <nixpkgs/lib>).optional true 1").stdout) == [1]
    assert "attribute 'no-such-thing' missing" in instantiate("(import <nixpkgs> { }).no-such-thing").stderr
