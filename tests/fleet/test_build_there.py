"""Systems that are built on another machine of the fleet: what builds them goes over the operator's link alone."""

from __future__ import annotations

import pytest

from nixhive_nb.nix import commands
from nixhive_nb.util import process
from tests.practice import give_own_packages, start

pytestmark = pytest.mark.fleet


@pytest.fixture
def fresh(tmp_path):
    """A fleet that has nothing yet, and systems of which neither it nor this machine has had a path."""
    one = start(tmp_path, web=1)
    give_own_packages(one, tmp_path)
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
    kept = fresh.nix_hive("deploy", "-c", "example", "www-1", "--build-on", "instance", "--no", "build", "--force")
    assert kept.returncode == 0, kept.stderr


def test_a_relay_that_signs_builds_and_its_instance_takes_it_from_there(fresh):
    key = fresh.example.parent / "key"
    public = process.run(["nix-store", "--generate-binary-cache-key", "portico-1", str(key), str(key) + ".pub"])
    assert public.status == 0, public.stderr
    sign = f"echo {key.read_text().strip()} >/root/key && echo 'secret-key-files = /root/key' >>/etc/nix/nix.conf"
    fresh.lab.exec("portico", ["sh", "-c", sign])
    trust = f"echo 'extra-trusted-public-keys = {key.with_suffix('.pub').read_text().strip()}' >>/etc/nix/nix.conf"
    fresh.lab.exec("www-1", ["sh", "-c", trust])

    before = fresh.link_bytes()
    ended = fresh.nix_hive("deploy", "-c", "example", "www-1", "--build-on", "relay")
    sent = fresh.link_bytes() - before

    assert ended.returncode == 0, ended.stderr
    assert "from relay" in ended.stderr
    assert "copied from" not in ended.stderr
    running = fresh.lab.exec("www-1", ["readlink", "-f", "/run/current-system"]).strip()
    assert not is_here(running)
    sizes = fresh.lab.exec("portico", ["sh", "-c", f"nix-store -q --size $(nix-store -qR {running})"])
    assert sent < sum(map(int, sizes.split())) / 2


@pytest.mark.parametrize(("where", "store"), [("relay", "ssh://portico"), ("ssh-ng://portico", "ssh-ng://portico")])
def test_what_is_not_signed_there_goes_through_this_machine_and_is_told(fresh, where, store):
    ended = fresh.nix_hive("deploy", "-c", "example", "www-1", "--build-on", where)

    assert ended.returncode == 0, ended.stderr
    assert f"copied from {store} through this machine" in ended.stderr
    assert not is_here(fresh.lab.exec("www-1", ["readlink", "-f", "/run/current-system"]).strip())


def test_a_build_that_fails_there_is_told_with_its_log(fresh):
    builders = fresh.example.parent / "nixpkgs" / "pkgs" / "builders.nix"
    lines = builders.read_text()
    broken = lines.replace("inherit system script;", 'inherit system; script = "echo it breaks here >&2; exit 3";')
    assert broken != lines
    builders.write_text(broken)

    ended = fresh.nix_hive("deploy", "-c", "example", "www-1", "--build-on", "instance")

    assert ended.returncode == 1
    assert "build:www>ssh://www-1 failed: ssh://www-1: builder for" in ended.stderr
    assert "it breaks here" in ended.stderr
