"""Activation on real hosts: the types, the exit statuses of switch-to-configuration, and what is refused."""

from __future__ import annotations

import contextlib

import pytest

from nixhive_nb import Hive
from nixhive_nb.lab import HostSpec
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A deployed fleet; `depot` is logged in to as a user with sudo."""
    one = start(tmp_path_factory.mktemp("fleet"), web=1, specs=[HostSpec("depot", "depot", user="deploy")])
    ended = one.nix_hive("deploy", "-c", "example", "portico", "*")
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def changed(fleet):
    """Put options into the web server's configuration for the time of a test."""

    @contextlib.contextmanager
    def change(options):
        page = fleet.example / "www.nix"
        original = page.read_text()
        assert "networking.hostName" in original
        page.write_text(original.replace("networking.hostName", f"{options}\n  networking.hostName", 1))
        try:
            yield
        finally:
            page.write_text(original)

    yield change
    ended = fleet.nix_hive("deploy", "-c", "example", "--force", "www-1")
    assert ended.returncode == 0, ended.stderr


MARK = 'environment.etc."marked".text = "yes";'


def has_mark(fleet):
    return "marked" in fleet.lab.exec("www-1", ["ls", "/etc"]).split()


def test_a_user_with_sudo_activates_and_the_profile_is_set(fleet):
    assert fleet.runs("depot") == fleet.boots("depot") != ""


def scripts(fleet, host):
    """Our scripts as a host keeps them."""
    return [f"/run/nixhive/{name}" for name in fleet.lab.exec(host, ["ls", "/run/nixhive"]).split() if "script" in name]


def test_an_activation_leaves_a_lock_that_is_roots_alone_and_our_scripts_which_root_alone_can_write(fleet):
    assert len(scripts(fleet, "depot")) == 2
    assert len(fleet.lab.exec("depot", ["ls", "/run/nixhive"]).split()) == 3
    for path, mode in [("/run/nixhive/lock", "600"), *((one, "644") for one in scripts(fleet, "depot"))]:
        assert fleet.lab.exec("depot", ["stat", "-c", "%U %a", path]).split() == ["root", mode]


@pytest.mark.parametrize("host", ["www-1", "depot"])
def test_a_script_that_is_not_as_it_was_kept_is_sent_again(fleet, host):
    """A hash that does not fit is not run, also where the login user has to use sudo."""
    for path in scripts(fleet, host):
        fleet.lab.exec(host, ["sh", "-c", f"echo 'touch /run/was-run' >{path}"])
    ended = fleet.nix_hive("deploy", "-c", "example", "--force", host)
    assert f"activate:{host}: done" in ended.stderr
    assert "was-run" not in fleet.lab.exec(host, ["ls", "/run"]).split()
    assert "touch" not in fleet.lab.exec(host, ["cat", *scripts(fleet, host)]).splitlines()[0]


def test_a_second_activation_of_a_session_sends_no_script_again(fleet):
    """They are 20 kB, which is more than all the rest: with the logins and questions of an activation."""
    with Hive.load(fleet.example, state=fleet.folder / ".hive.state") as hive:
        sent = []
        for before in ("rm -f /run/nixhive/script-*", ":"):
            fleet.lab.exec("www-1", ["sh", "-c", before])
            began = fleet.link_bytes()
            assert hive.deploy("www-1", force=True).ok
            sent.append(fleet.link_bytes() - began)
        assert sent[0] - sent[1] > 15_000


def test_test_changes_what_runs_and_not_what_boots(fleet, changed):
    before = fleet.boots("www-1")
    with changed(MARK):
        ended = fleet.nix_hive("deploy", "-c", "example", "-t", "test", "www-1")
        assert ended.returncode == 0, ended.stderr
    assert has_mark(fleet)
    assert fleet.boots("www-1") == before != fleet.runs("www-1")


def test_dry_activate_changes_nothing(fleet, changed):
    before = fleet.runs("www-1"), fleet.boots("www-1")
    with changed(MARK):
        ended = fleet.nix_hive("deploy", "-c", "example", "-t", "dry-activate", "www-1")
        assert ended.returncode == 0, ended.stderr
    assert "1 of 1 looked at, nothing activated" in ended.stderr
    assert [line for line in ended.stderr.splitlines() if line.startswith("  | would ")]
    assert not has_mark(fleet)
    assert (fleet.runs("www-1"), fleet.boots("www-1")) == before


BROKEN = 'system.activationScripts.broken = "echo it broke >&2; exit 1";'


def test_a_failed_activation_script_sends_the_host_back(fleet, changed):
    before = fleet.runs("www-1"), fleet.boots("www-1")
    with changed(BROKEN):
        ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 1
    assert "activate:www-1: rolled back" in ended.stderr
    assert "switch-to-configuration test ended with 2: the activation script failed" in ended.stderr
    assert "  | it broke" in ended.stderr.splitlines()
    assert (fleet.runs("www-1"), fleet.boots("www-1")) == before


def test_without_confirmation_a_failed_activation_script_fails_the_host_and_says_what_it_boots(fleet, changed):
    with changed(BROKEN):
        ended = fleet.nix_hive("deploy", "-c", "example", "--no", "confirm", "www-1")
    assert ended.returncode == 1
    assert "switch-to-configuration switch ended with 2: the activation script failed" in ended.stderr
    assert "www-1 boots the new system" in ended.stderr
    assert "  | it broke" in ended.stderr.splitlines()
    assert fleet.runs("www-1") == fleet.boots("www-1")


def test_a_failed_unit_is_a_warning_since_the_host_is_switched(fleet, changed):
    with changed('systemd.services.broken.script = "exit 7";'):
        ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert "⚠ done, with warnings" in ended.stderr
    assert "switched, but 1 unit failed: broken.service" in ended.stderr


def test_a_path_that_is_no_nixos_is_refused_and_nothing_is_changed(fleet):
    lib = fleet.folder / "other" / "nixos" / "lib"
    lib.mkdir(parents=True)
    (lib / "eval-config.nix").write_text("""{ ... }: {
      config.system.build.toplevel = derivation {
        name = "no-nixos"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
      };
    }""")
    (fleet.folder / "other.nix").write_text("import ./example // { paths.nixpkgs = ./other; }")
    before = fleet.runs("www-1"), fleet.boots("www-1")
    ended = fleet.nix_hive("deploy", "-c", "other.nix", "www-1")
    assert ended.returncode == 1
    assert "is not a NixOS system on www-1. Nothing was changed." in ended.stderr
    assert (fleet.runs("www-1"), fleet.boots("www-1")) == before


def test_a_system_that_does_not_build_skips_its_hosts_and_no_other(fleet):
    page = fleet.example / "www.nix"
    original = page.read_text()
    page.write_text(original.replace("networking.hostName", "foo.bar = 1;\n  networking.hostName", 1))
    try:
        ended = fleet.nix_hive("deploy", "-c", "example", "*")
    finally:
        page.write_text(original)
    assert ended.returncode == 1
    assert "2 of 3 deployed, 2 unchanged, 1 skipped" in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("www-1: ")]
    assert "The option `foo' does not exist" in line
