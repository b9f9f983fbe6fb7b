"""Which carrier a host has, and what OpenSSH does where Fabric is not let in: over real servers."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading

import msgspec
import pytest

from nixhive_nb.errors import ConnectionFailed, HostKeyError
from nixhive_nb.ssh.carrier import Carrier
from nixhive_nb.ssh.choosing import beyond
from nixhive_nb.ssh.resolve import parse
from tests.sshd import descendants, eventually, is_running, public

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]

CHACHA = "Ciphers chacha20-poly1305@openssh.com"


@pytest.fixture(scope="module")
def plain():
    """What `ssh -G` says where nobody has configured anything."""
    return subprocess.run(["ssh", "-F", "/dev/null", "-G", "web"], capture_output=True, text=True, check=True).stdout


def asked(plain, *lines):
    """What Fabric has not, where these lines stand before the others."""
    return beyond(parse("web", "\n".join([*lines, plain])))


@pytest.fixture
def no_ticket(monkeypatch, tmp_path):
    monkeypatch.delenv("KRB5CCNAME", raising=False)
    monkeypatch.setattr("nixhive_nb.ssh.choosing._TICKET", str(tmp_path / "krb5cc"))


def test_what_openssh_has_by_itself_decides_nothing(plain):
    assert asked(plain) == ""


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ciphers chacha20-poly1305@openssh.com", "Ciphers"),
        ("macs umac-128-etm@openssh.com", "MACs"),
        ("kexalgorithms sntrup761x25519-sha512@openssh.com", "KexAlgorithms"),
        ("hostkeyalgorithms sk-ssh-ed25519@openssh.com", "HostKeyAlgorithms"),
        ("pubkeyacceptedalgorithms sk-ssh-ed25519@openssh.com", "PubkeyAcceptedAlgorithms"),
        ("knownhostscommand /usr/bin/keys %H", "KnownHostsCommand"),
        ("pkcs11provider /lib/p11.so", "PKCS11Provider"),
        ("securitykeyprovider /lib/sk.so", "SecurityKeyProvider"),
        ("hostbasedauthentication yes", "HostbasedAuthentication"),
        ("pubkeyauthentication false", "PubkeyAuthentication"),
        ("preferredauthentications password,keyboard-interactive", "PreferredAuthentications"),
        # What stands for something that nobody here knows: ssh refuses it, or knows it since a later version.
        ("identityfile ${HIVE_NOWHERE}/key", "${HIVE_NOWHERE} in IdentityFile"),
        ("userknownhostsfile /known/%C", "%C in UserKnownHostsFile"),
        ("proxycommand nc %j", "%j in ProxyCommand"),
    ],
)
def test_what_fabric_has_not_is_named(plain, line, name):
    assert name in asked(plain, line)


def test_a_host_key_that_need_not_be_known_is_that_of_this_machine_alone(plain):
    line = "nohostauthenticationforlocalhost yes"
    assert asked(plain, line) == ""
    assert "NoHostAuthenticationForLocalhost" in asked(plain, line, "hostname 127.0.0.1")


@pytest.mark.parametrize(
    "line", ["preferredauthentications publickey,password", "proxycommand nc $HERE ${NOWHERE} %%q %h"]
)
def test_what_fabric_has_as_well_is_not_named(plain, line):
    assert asked(plain, line) == ""


def test_one_algorithm_in_common_is_enough(plain):
    assert asked(plain, "ciphers chacha20-poly1305@openssh.com,aes256-ctr") == ""


@pytest.mark.usefixtures("no_ticket")
def test_kerberos_counts_for_those_who_have_a_ticket(plain, monkeypatch):
    """Debian sets it for everybody."""
    assert asked(plain, "gssapiauthentication yes") == ""
    monkeypatch.setenv("KRB5CCNAME", "KEYRING:persistent:0")
    assert "GSSAPIAuthentication" in asked(plain, "gssapiauthentication yes")


def test_a_host_that_has_no_algorithm_in_common_with_fabric_is_reached_by_openssh_and_it_is_told_once(site):
    server = site.sshd(extra=CHACHA)
    connections = site.connect(*(site.instance(name, server) for name in ("web", "www")))
    told = []
    connections.carry("auto", told.append)
    assert connections.carrier_of("web") == Carrier(name="fabric")
    assert connections.run("web", "echo there").stdout == "there\n"
    assert connections.run("www", "echo there, too").stdout == "there, too\n"
    assert connections.carrier_of("web").name == connections.carrier_of("www").name == "openssh"
    (line,) = told
    assert line.startswith("web is reached by OpenSSH: Fabric has no algorithm in common with it")
    # What was found out stays: nothing more is tried by Fabric.
    begun = server.log().count("Unable to negotiate")
    with connections.fresh("web"):
        connections.close("web")
        assert connections.run("web", "true").exited == 0
    assert server.log().count("Unable to negotiate") == begun


def test_what_an_instance_says_goes_before_what_would_be_found_out(site):
    server = site.sshd(extra=CHACHA)
    web = msgspec.structs.replace(site.instance("web", server), carrier="fabric")
    connections = site.connect(web)
    with pytest.raises(ConnectionFailed, match="no algorithm in common"):
        connections.run("web", "true")
    # And what is said of all goes before that.
    connections.carry("openssh", lambda _: None)
    assert connections.run("web", "true").exited == 0


def test_another_carrier_is_taken_up_by_the_next_command(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    connections.run("web", "true")
    for wanted in ("openssh", "fabric"):
        # A host closes a session after it has told how the command ended; one with a session goes on being used.
        eventually(lambda: not connections._hosts["web"].opened.busy, "the end of the session")
        connections.carry(wanted, lambda _: None)
        connections.run("web", "true")
        assert connections._hosts["web"].opened.carrier == connections.carrier_of("web").name == wanted
    assert server.logins() == 3


def test_no_login_waits_for_the_start_up_files_of_the_users_own_shell(site, tmp_path, monkeypatch):
    """bash takes a socket for somebody who logs in, and reads ~/.bashrc: pyenv's lines there wait for each other."""
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\nexec sleep 600\n")
    shell.chmod(0o755)
    monkeypatch.setenv("SHELL", str(shell))
    connections = site.connect(site.instance("web", site.sshd()))
    connections.carry("openssh", lambda _: None)
    assert connections.run("web", "echo there", timeout=10).stdout == "there\n"


def test_what_a_proxy_command_says_is_told_and_not_taken_for_a_host_that_hangs_up(site):
    """It was tried ten times, and the host was said to have too many logins."""
    connections = site.connect(site.instance("web", site.sshd(), ProxyCommand="/nonexistent/nc %h %p"))
    connections.carry("openssh", lambda _: None)
    with pytest.raises(ConnectionFailed, match=r"Its ProxyCommand says: .*/nonexistent/nc") as caught:
        connections.run("web", "true")
    assert "tried" not in str(caught.value)


def test_openssh_is_tried_once_where_nobody_is_let_in(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server, user_key="user-rsa"))
    for _ in range(3):
        with pytest.raises(ConnectionFailed, match="the login of user root was refused") as caught:
            connections.run("web", "true")
        assert type(caught.value) is ConnectionFailed
    assert server.log().count("Connection from") == 4
    assert connections.carrier_of("web").name == "fabric"


def test_a_key_of_a_host_that_is_another_is_refused_by_openssh_and_told(site):
    server = site.sshd()
    web = msgspec.structs.replace(site.instance("web", server, keys=("host-new",)), carrier="openssh")
    with pytest.raises(HostKeyError, match=r"the host key of web .* is not accepted"):
        site.connect(web).run("web", "true")


def test_host_keys_that_a_command_knows_are_taken_without_a_login_by_fabric(site):
    server = site.sshd()
    knows = site.folder / "knows"
    knows.write_text(f"#!/bin/sh\necho '[{server.address}]:{server.port} {public(site.keys['host-ed25519'])}'\n")
    knows.chmod(0o755)
    none = {"UserKnownHostsFile": "/dev/null", "GlobalKnownHostsFile": "/dev/null"}
    connections = site.connect(site.instance("web", server, keys=(), KnownHostsCommand=knows, **none))
    assert "KnownHostsCommand" in connections.carrier_of("web").why
    assert connections.run("web", "true").exited == 0
    assert server.log().count("Connection from") == 1


def test_hosts_behind_a_jump_host_share_its_login_whatever_carries_them(site):
    jump, server = site.sshd(), site.sshd(extra=CHACHA)
    names = [f"h{number}" for number in range(4)]
    hosts = [site.instance(name, server, ProxyJump="jump") for name in names]
    connections = site.connect(site.instance("jump", jump), *hosts)
    assert [connections.run(name, f"echo {name}").stdout for name in names] == [f"{name}\n" for name in names]
    assert jump.logins() == 1


def test_a_tunnel_goes_both_ways_and_ends_on_either_side(site):
    server = site.sshd()
    web = msgspec.structs.replace(site.instance("web", server), carrier="openssh")
    connections = site.connect(web)
    with socket.create_server(("127.0.0.1", 0)) as there:

        def answer():
            taken, _ = there.accept()
            with taken:
                taken.sendall(taken.recv(100).upper())

        helper = threading.Thread(target=answer)
        helper.start()
        channel = connections.dial("web", *there.getsockname(), 10)
        channel.sendall(b"word")
        assert [channel.recv(100), channel.recv(100)] == [b"WORD", b""]
        channel.close()
        helper.join(20)
    with pytest.raises(ConnectionFailed, match="nothing listens there"):
        connections.dial("web", "127.0.0.1", 1, 10)
    # Nothing of it is left in the connection.
    assert not connections._hosts["web"].opened.busy


def test_a_tunnel_that_the_host_does_not_allow_is_told(site):
    server = site.sshd(extra="AllowTcpForwarding no")
    web = msgspec.structs.replace(site.instance("web", server), carrier="openssh")
    with pytest.raises(ConnectionFailed, match="its sshd does not allow it"):
        site.connect(web).dial("web", "127.0.0.1", server.port, 10)


def test_sockets_that_were_swept_away_are_made_anew(site):
    """Case 14: below a kernel that runs for weeks."""
    server = site.sshd()
    web = msgspec.structs.replace(site.instance("web", server), carrier="openssh")
    connections = site.connect(web)
    connections.run("web", "true")
    shutil.rmtree(connections._opener._openssh._folder)
    assert connections.run("web", "true").exited == 0
    assert server.logins() == 2


def test_masters_end_with_the_connections(site):
    server = site.sshd()
    web = msgspec.structs.replace(site.instance("web", server), carrier="openssh")
    connections = site.connect(web)
    with connections.fresh("web"):
        connections.run("web", "true")
        masters = [one.opened._running.pid for one in (connections._hosts["web"], *connections._fresh)]
        folder = connections._opener._openssh._folder
        connections.close_all()
        assert not any(map(is_running, masters))
        assert not folder.exists()


OPERATOR = """
import sys
from pathlib import Path
from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.ssh.config import SshFiles
from nixhive_nb.ssh.pool import Connections

folder = Path(sys.argv[1])
files = SshFiles(folder=folder, config=folder / "config", batch=folder / "batch", known_hosts=folder / "known_hosts")
web = Instance(name="web", system="s", host_keys=(sys.argv[2],), carrier="openssh")
connections = Connections(Inventory(source="t", instances={"web": web}), files)
connections.run("web", "true")
print(connections._hosts["web"].opened._running.pid, flush=True)
sys.stdin.read()
"""


def test_no_master_is_left_when_we_are_killed(site):
    server = site.sshd()
    _, files = site.files(site.instance("web", server))
    argv = [sys.executable, "-c", OPERATOR, files.folder, public(site.keys["host-ed25519"])]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as operator:
        master = int(operator.stdout.readline())
        assert is_running(master)
        assert master in descendants(operator.pid)
        operator.send_signal(signal.SIGKILL)
    eventually(lambda: not is_running(master), "the end of the master")
