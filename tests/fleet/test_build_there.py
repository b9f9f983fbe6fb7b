"""Systems that are built on another machine of the fleet: what builds them goes over the operator's link alone."""

from __future__ import annotations

import secrets
import shutil

import pytest

from nixhive_nb.nix import commands
from nixhive_nb.util import process
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture
def fresh(tmp_path):
    """A fleet that has nothing yet, and systems of which neither it nor this machine has had a path."""
    one = start(tmp_path, web=1)
    nixpkgs = tmp_path / "nixpkgs"
    shutil.copytree(one.lab.nixpkgs, nixpkgs)
    builders = nixpkgs / "pkgs" / "builders.nix"
    text = builders.read_text()
    own = text.replace("inherit system script;", f'inherit system script; unique = "{secrets.token_hex(8)}";')
    assert own != text
    builders.write_text(own)
    lab_nix = one.example / "lab.nix"
    lab_nix.write_text(lab_nix.read_text().replace(str(one.lab.nixpkgs), str(nixpkgs)))
    yield one
    one.lab.down()


def is_here(path):
    return not process.run(commands.invalid([path])).stdout.strip()


def test_an_instance_builds_for_itself_and_nothing_of_it_comes_here(fresh):
    ended = fresh.nix_hive("deploy", "-c", "example", "www-1", "--build-on", "instance")

    assert ended.returncode == 0, ended.stderr
    running = fresh.lab.exec("www-1", ["readlink", "-f", "/run/current-system"]).strip()
    assert not is_here(running)
    again = fresh.nix_hive("deploy", "-c", "example", "www-1", "--build-on", "instance")
    assert again.returncode == 0, again.stderr
    assert "unchanged" in again.stdout + again.stderr
    kept = fresh.nix_hive("deploy", "-c", "example", "www-1", "--no", "build", "--force")
    assert kept.returncode == 0, kept.stderr
