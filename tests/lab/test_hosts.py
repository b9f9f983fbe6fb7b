"""The hosts of a practice fleet, seen through ssh and Nix as an operator sees them."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
from pathlib import Path

import pytest

from nixhive_nb.lab import LabError
from tests.sshd import eventually

pytestmark = pytest.mark.fleet

NIX = ("nix", "--extra-experimental-features", "nix-command")


def status_of(lab, name):
    return next(status for status in lab.status() if status.instance == name)


def test_all_hosts_run_in_namespaces_of_their_own(lab):
    statuses = lab.status()
    assert [status.instance for status in statuses] == [
        "builder",
        "depot",
        "portico",
        "www-1",
        "www-2",
        "www-3",
        "www-4",
    ]
    assert all(status.running for status in statuses)
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in listed.splitlines()}
    assert {status.netns for status in statuses} <= names
    for space in ("net", "mnt", "uts", "pid"):
        owners = {Path(f"/proc/{pid}/ns/{space}").readlink() for pid in ["self", *(status.pid for status in statuses)]}
        assert len(owners) == len(statuses) + 1, space


def test_portico_answers_and_has_its_own_name_and_key(lab, operator):
    done = operator.ssh("portico", "hostname; cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert done.returncode == 0, done.stderr
    name, key = done.stdout.splitlines()
    assert name == "portico"
    assert " ".join(key.split()[:2]) == status_of(lab, "portico").host_key


def test_inner_hosts_are_reached_through_portico_only(lab, operator):
    assert operator.ssh("www-1", "hostname").stdout == "www-1\n"
    options = ("-B", lab.link, "-o", "ProxyJump=none", "-o", "ConnectTimeout=2")
    # The same way of connecting works for the host that is in reach, so it is the host that is not.
    assert operator.ssh(*options, "portico", "true").returncode == 0
    refused = operator.ssh(*options, "www-1", "true")
    assert refused.returncode == 255
    # Which of them depends on whether this machine has a way to anywhere else.
    assert any(words in refused.stderr for words in ("No route to host", "timed out", "Network is unreachable"))
    assert lab.exec("portico", ["cat", "/proc/sys/net/ipv4/ip_forward"]) == "0\n"


def test_sshd_keeps_its_stock_limits(lab):
    settings = lab.exec("portico", ["sshd", "-T"]).lower().splitlines()  # OpenSSH 10.6 writes MaxStartups
    assert "maxstartups 10:30:100" in settings
    assert "maxsessions 10" in settings
    assert "passwordauthentication no" in settings


def test_a_store_is_the_hosts_own(lab):
    path = lab.exec("www-1", ["sh", "-c", "echo only here >/tmp/note && nix-store --add /tmp/note"]).strip()
    assert (lab.root("www-1") / path.removeprefix("/")).read_text() == "only here\n"
    assert not Path(path).exists()
    assert not (lab.root("www-2") / path.removeprefix("/")).exists()


def test_a_host_cannot_write_to_the_machine(lab):
    for place in ("/usr/share", "/srv", "/opt"):
        with pytest.raises(LabError, match="Read-only file system"):
            lab.exec("www-1", ["touch", f"{place}/from-a-practice-host"])
    lab.exec("www-1", ["touch", "/var/log/mine", "/etc/mine", "/root/mine", "/tmp/mine", "/run/mine"])
    assert not Path("/etc/mine").exists()
    # Nothing of the machine's own /run is seen, least of all that systemd runs there.
    assert set(lab.exec("www-1", ["ls", "/run"]).split()) == {"lock", "mine", "mount", "nixos", "sshd"}


def test_a_user_with_sudo(operator):
    done = operator.ssh("www-2", "id -un; sudo -n id -un; nix-store --add /etc/hostname")
    assert done.returncode == 0, done.stderr
    user, elevated, path = done.stdout.splitlines()
    assert (user, elevated) == ("deploy", "root")
    assert path.startswith("/nix/store/")
    assert done.stderr == ""


def test_a_user_without_sudo(operator):
    done = operator.ssh("depot", "id -un; sudo -n id -un")
    assert done.returncode == 1
    assert done.stdout == "deploy\n"
    assert "password is required" in done.stderr
    assert operator.ssh("-l", "root", "depot", "true").returncode == 255


def test_a_small_disk_is_small(lab, operator, build):
    large = build('pkgs.ballast { name = "large-${builtins.hashString "md5" unique}"; kib = 12000; }')
    done = operator.nix(*NIX, "copy", "--to", "ssh://www-3", large)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    with pytest.raises(LabError, match="is not valid"):
        lab.exec("www-3", ["nix-store", "--check-validity", large])
    operator.copy("www-1", large)
    lab.exec("www-1", ["nix-store", "--check-validity", large])


def test_a_signed_path_comes_from_the_relay(lab, operator, build):
    path = build('pkgs.ballast { name = "signed-${builtins.hashString "md5" unique}"; kib = 2000; }')
    operator.sign(path)
    operator.copy("portico", path)
    before = operator.sent()
    done = operator.ssh("www-1", f"nix-store --realise {path}")
    assert done.returncode == 0, done.stderr
    assert "copying path" in done.stderr
    assert (lab.root("www-1") / path.removeprefix("/") / "references").exists()
    assert operator.sent() - before < 200_000


def test_an_unsigned_path_is_refused(lab, operator, build):
    path = build('pkgs.ballast { name = "unsigned-${builtins.hashString "md5" unique}"; kib = 20; }')
    operator.copy("portico", path)
    done = operator.ssh("www-1", f"nix-store --realise {path}")
    assert done.returncode != 0
    # The words of Nix 2.8, and those of newer ones.
    assert re.search("not signed by any of the keys|lacks a signature", done.stderr)
    assert not (lab.root("www-1") / path.removeprefix("/")).exists()


def test_the_relays_key_opens_nothing_but_the_store(lab):
    with pytest.raises(LabError):
        lab.exec("www-1", ["timeout", "10", "ssh", "portico", "touch /root/broken-in"])
    assert not (lab.root("portico") / "root" / "broken-in").exists()


def test_the_builder_builds(operator):
    expression = f"""
      derivation {{
        name = "built-elsewhere";
        system = builtins.currentSystem;
        builder = "/bin/sh";
        args = [ "-c" "hostname >$out" ];
        PATH = "/usr/bin:/bin";
        unique = "{secrets.token_hex(16)}";
      }}
    """
    system = subprocess.run(
        ["nix-instantiate", "--eval", "-E", "builtins.currentSystem"], capture_output=True, text=True, check=True
    )
    builders = f"ssh://builder {system.stdout.strip(chr(10) + chr(34))} - 1 1"
    options = ("--option", "substituters", "", "--max-jobs", "0", "--builders", builders)
    done = operator.nix("nix-build", "--no-out-link", *options, "-E", expression)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_text() == "builder\n"


def test_a_host_goes_and_comes_back_as_it_was(lab, operator):
    path = lab.exec("www-1", ["nix-store", "--add", "/etc/hostname"]).strip()
    before = status_of(lab, "www-1")
    lab.stop_host("www-1")
    try:
        gone = status_of(lab, "www-1")
        assert (gone.running, gone.pid) == (False, None)
        assert operator.ssh("-o", "ConnectTimeout=2", "www-1", "true").returncode == 255
        with pytest.raises(LabError, match="is down"):
            lab.exec("www-1", ["true"])
        assert status_of(lab, "www-2").running
    finally:
        lab.start_host("www-1")
    after = status_of(lab, "www-1")
    assert after.running
    assert after.host_key == before.host_key
    assert after.pid != before.pid
    done = operator.ssh("www-1", f"nix-store --query --hash {path}")
    assert done.returncode == 0, done.stderr


def test_a_host_that_is_back_is_not_taken_for_the_one_that_was_off(lab):
    """Otherwise a connection made in the first second fails: the kernel still waits for the host that was off."""
    lab.stop_host("portico")
    try:
        # The kernel gives up after three seconds, which a busy machine may take to look.
        eventually(lambda: _is_asked_for(lab), "the question of the kernel who has the address")
    finally:
        lab.start_host("portico")
    assert "INCOMPLETE" not in _neighbours(lab)
    socket.create_connection((_address_of(lab), 22)).close()


def _is_asked_for(lab):
    with socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as early:
        early.connect_ex((_address_of(lab), 22))
        return "INCOMPLETE" in _neighbours(lab)


def _address_of(lab):
    return next(status.address for status in lab.status() if status.instance == "portico")


def _neighbours(lab):
    return subprocess.run(["ip", "neigh", "show", "dev", lab.link], capture_output=True, text=True, check=True).stdout


def test_an_unknown_host_is_named(lab):
    with pytest.raises(LabError, match=r"no host 'www-9'.*portico, depot, www-1"):
        lab.exec("www-9", ["true"])
