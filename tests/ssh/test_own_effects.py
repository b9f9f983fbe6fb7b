"""What the user's own ssh configuration changes for a host, as OpenSSH says it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.ssh.alike import Alike
from nixhive_nb.ssh.config import write_ssh_files
from nixhive_nb.ssh.own_effects import expired, own_effects, public_key
from nixhive_nb.ssh.resolve import Resolver

pytestmark = [pytest.mark.nix, pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")]


def effects(tmp_path, user, **instances):
    """What files of the user with this text change for instances with these options."""
    own = tmp_path / "own"
    own.write_text(user)
    inventory = Inventory(
        source="t",
        instances={
            name: Instance(name=name, system="s", ssh=tuple((key, (value,)) for key, value in options.items()))
            for name, options in instances.items()
        },
    )
    files = write_ssh_files(inventory, tmp_path / "ssh", user_files=[own])
    before = sorted(path.name for path in files.folder.iterdir())
    found = own_effects(inventory, list(instances), files, Resolver(files.batch, Alike(inventory, files.extends)))
    assert sorted(path.name for path in files.folder.iterdir()) == before
    return {name: [str(one) for one in each] for name, each in found.items()}


def test_without_a_configuration_of_their_own_nothing_is_changed_and_nobody_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert effects(tmp_path, "# nothing\n", www={"Hostname": "192.0.2.1"}) == {"www": []}


def test_a_jump_that_only_the_users_file_knows_is_told(tmp_path):
    user = "Host www-*\n  ProxyJump portico\n  Ciphers aes256-ctr\nHost *\n  SendEnv LANG\n  HashKnownHosts yes\n"
    found = effects(tmp_path, user, **{"www-1": {"Hostname": "192.0.2.1"}, "depot": {"Hostname": "192.0.2.2"}})
    assert "proxyjump portico (without: not set)" in found["www-1"]
    assert [one for one in found["www-1"] if one.startswith("ciphers aes256-ctr (without: ")]
    assert found["depot"] == []


def test_what_the_deployment_says_itself_is_not_changed_by_the_user(tmp_path):
    assert effects(tmp_path, "Host *\n  User other\n", www={"User": "deploy", "Hostname": "192.0.2.1"}) == {"www": []}


def test_no_secret_of_the_users_file_is_shown(tmp_path):
    user = "Host *\n  SetEnv TOKEN=hunter2\n  ProxyCommand tunnel https://me:hunter2@example.org %h\n"
    (found,) = effects(tmp_path, user, www={"Hostname": "192.0.2.1"}).values()
    assert [one for one in found if one.startswith("setenv TOKEN ")]
    assert [one for one in found if one.startswith("proxycommand tunnel ")]
    assert "hunter2" not in str(found)


def test_a_certificate_that_has_ended_is_told_with_its_end(tmp_path):
    for name in ("ca", "old", "new", "bare"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    sign = ["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "me", "-n", "root", "-V"]
    subprocess.run([*sign, "20200101000000:20200102030000", tmp_path / "old.pub"], check=True)
    subprocess.run([*sign, "+1d", tmp_path / "new.pub"], check=True)
    keys = [tmp_path / name for name in ("old", "new", "bare", "missing")]
    assert expired(keys) == ((f"{tmp_path}/old-cert.pub", "2020-01-02 03:00"),)
    assert public_key(keys[::-1]) == " ".join((tmp_path / "bare.pub").read_text().split()[:2])


def test_a_certificate_for_ever_has_no_end(tmp_path):
    for name in ("ca", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    subprocess.run(["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "me", tmp_path / "key.pub"], check=True)
    assert expired([tmp_path / "key"]) == ()
