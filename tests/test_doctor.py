"""What `doctor` tells of this machine, and what it keeps to itself."""

from __future__ import annotations

import shutil
import subprocess
import time

import msgspec
import pytest

from nixhive_nb import Hive
from nixhive_nb.doctor import _boot_needs, _is_askable, _signing_key
from nixhive_nb.hosts.closures import kernel_of
from nixhive_nb.hosts.examination import parse
from nixhive_nb.plan.facts import HostFacts
from nixhive_nb.ssh import access
from nixhive_nb.util import process


@pytest.mark.nix
@pytest.mark.skipif(not shutil.which("nix-store"), reason="needs Nix")
def test_the_public_half_of_a_signing_key_is_that_of_nix(tmp_path):
    secret, public = tmp_path / "secret", tmp_path / "public"
    argv = ["nix-store", "--generate-binary-cache-key", "hive-1", secret, public]
    subprocess.run(argv, check=True, capture_output=True)
    assert _signing_key(str(secret)) == (public.read_text().strip(), "")


@pytest.mark.parametrize("text", ["", "hive-1:", "hive-1:AAAA", "no key", ":" + "A" * 88, "é"])
def test_what_is_no_signing_key_is_told_without_what_it_holds(tmp_path, text):
    (tmp_path / "secret").write_text(text, encoding="utf-8")
    assert _signing_key(str(tmp_path / "secret")) == (
        "",
        f"signing.keyFile names {tmp_path}/secret, which holds no secret key of Nix.",
    )
    assert _signing_key(str(tmp_path / "none"))[1].endswith("which cannot be read: No such file or directory.")


@pytest.mark.parametrize(
    ("store", "is_asked"),
    [
        ("ssh://portico", True),
        ("https://cache.example.org", True),
        ("https://me:word@cache.example.org", False),
        ("file:///srv/cache", False),
        ("", False),
    ],
)
def test_a_store_whose_url_has_a_password_is_told_to_no_host(store, is_asked):
    assert _is_askable(store) is is_asked


MANY = 400
ANSWER = "root=1\nunits=0\nnix=2.18.1\nexamined=yes\n"
STAND_IN = """{ ... }: { config.system.build.toplevel = derivation {
  name = "many"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo x > $out" ];
}; }"""
HIVE = f"""{{
  paths.nixpkgs = ./stand-in;
  systems.one.configuration = {{ ... }}: {{ }};
  instances = builtins.listToAttrs (map (number: {{
    name = "www-${{toString number}}";
    value = {{ system = "one"; ssh.Hostname = "192.0.2.1"; }};
  }}) (builtins.genList (number: number) {MANY}));
}}"""


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A deployment whose hosts all answer, without being there: what they say is written here."""

    async def answer(_link, asked):
        now = time.time()
        return parse(ANSWER, asked.sizes or {}, sent=now, heard=now)

    monkeypatch.setattr("nixhive_nb.doctor.examine", answer)
    own = tmp_path / ".ssh" / "config"
    own.parent.mkdir()
    own.write_text("Host www-1*\n  ServerAliveInterval 7\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    lib = tmp_path / "stand-in" / "nixos" / "lib"
    lib.mkdir(parents=True)
    (lib / "eval-config.nix").write_text(STAND_IN)
    (tmp_path / "hive.nix").write_text(HIVE)
    return Hive.load(tmp_path / "hive.nix")


@pytest.mark.nix
@pytest.mark.skipif(not shutil.which("nix-instantiate"), reason="needs Nix")
def test_of_many_hosts_each_is_told_and_each_question_is_asked_once(many, monkeypatch):
    """Of 10,000 hosts each was compared with all others: a minute, of which six seconds were left."""
    looked, asked = [], []
    facts, run = access._ssh_facts, process.run
    monkeypatch.setattr(access, "_ssh_facts", lambda inventory: looked.append(1) or facts(inventory))
    monkeypatch.setattr(process, "run", lambda argv, **how: asked.append(argv) or run(argv, **how))
    found = many.diagnose()
    assert {one.instance for one in found} == {*many.inventory.instances}
    assert len(found) == MANY
    assert all(one.host is not None and one.host.nix == "2.18.1" for one in found)
    own = {one.instance for one in found if "serveraliveinterval 7 (without: 15)" in one.way.own}
    assert own == {one.instance for one in found if one.instance.startswith("www-1")}
    assert len(looked) < 10
    # Those that are alike, with the own configuration and without: four kinds.
    assert len([argv for argv in asked if "-G" in argv]) <= 4


def test_what_boot_needs_is_what_is_not_in_use_there(tmp_path):
    for name, size in (("kernel", 100), ("initrd", 20)):
        (tmp_path / name).write_bytes(b"x" * size)
    facts = HostFacts()
    assert _boot_needs("", facts) is None
    assert _boot_needs(str(tmp_path), facts) == 120
    in_use = msgspec.structs.replace(facts, booted_kernel=kernel_of(str(tmp_path)))
    assert _boot_needs(str(tmp_path), in_use) == 0
