"""What is said on a machine that cannot run a practice fleet."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nixhive_nb.lab import HostSpec, Lab, LabError, cgroups, preflight
from nixhive_nb.lab.commands import SYSTEM_PATH

PROGRAMS = (
    "ip sshd ssh ssh-keygen nix-store nix-daemon unshare nsenter setsid flock mount hostname sudo".split()  # noqa: SIM905
)


@pytest.fixture
def programs(tmp_path):
    """A folder with all programs that a fleet needs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).symlink_to(shutil.which(name, path=SYSTEM_PATH) or "/bin/true")
    return folder


@pytest.mark.fleet
def test_this_machine_will_do():
    Lab.check()


@pytest.mark.fleet
def test_everything_missing_is_named_at_once(programs):
    preflight.check(str(programs))
    for name in ("sshd", "nix-store", "sudo"):
        (programs / name).unlink()
    with pytest.raises(LabError) as caught:
        preflight.check(str(programs))
    assert "sshd, nix-store, sudo" in str(caught.value)
    assert "apt-get install -y nix-bin openssh-server sudo" in str(caught.value)


@pytest.mark.fleet
def test_what_hosts_with_systemd_need_is_asked_for_only_where_there_are_to_be_some(programs, monkeypatch):
    preflight.check(str(programs))
    monkeypatch.setattr(cgroups, "hierarchy", lambda: None)
    with pytest.raises(LabError) as caught:
        preflight.check(str(programs), systemd=True)
    assert "systemd-nspawn, debootstrap, setpriv, bash" in str(caught.value)
    assert "apt-get install -y bash debootstrap systemd-container util-linux" in str(caught.value)
    assert "No cgroup2 file system is mounted" in str(caught.value)


@pytest.mark.fleet
def test_a_nix_from_the_store_is_refused(programs, lab, build):
    hello = build("pkgs.hello")
    (programs / "nix-store").unlink()
    (programs / "nix-store").symlink_to(f"{hello}/bin/hello")
    with pytest.raises(LabError, match=r"would hide the program.*nix-bin"):
        preflight.check(str(programs))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root, so it has to have it")
def test_an_ordinary_user_is_told_why():
    message, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.seteuid(65534)
        try:
            preflight.check()
        except LabError as error:
            os.write(report, str(error).encode())
        os._exit(0)
    os.close(report)
    with os.fdopen(message) as text:
        words = text.read()
    os.waitpid(child, 0)
    assert "It needs root: run it with sudo." in words


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HostSpec("WWW 1", "www"), "cannot be the name of a host"),
        (lambda: HostSpec("www-1", "www", user="a b"), "cannot be the name of a user"),
        (lambda: HostSpec("www-1", "www", disk="large"), "not the size of a disk"),
        (lambda: HostSpec("www-1", "portico"), "named portico"),
        (lambda: HostSpec("www-1", "www", init="upstart"), "there is no such thing"),
        (lambda: HostSpec("www-1", "www", init="systemd", debian="woody"), "there is no such thing"),
        (lambda: Lab.up(web=1, systemd=-1), "fewer than no web servers"),
    ],
)
def test_a_host_that_cannot_be(make, words):
    with pytest.raises(LabError, match=words):
        make()


def test_the_stand_in_and_the_scripts_are_part_of_the_package():
    package = Path(preflight.__file__).parent
    tracked = {path.suffix for path in (package / "nixpkgs").rglob("*") if path.is_file()}
    assert {".nix", ".sh"} <= tracked
    for name in ("power.sh", "host.sh", "plug.sh", "container.sh", "reboot.sh"):
        assert subprocess.run(["sh", "-n", package / name], check=False).returncode == 0
