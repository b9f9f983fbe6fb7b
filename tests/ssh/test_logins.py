"""With which keys a host lets us in: wherever `ssh -o BatchMode=yes` gets in, so do we. On real servers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.ssh.certificates import openssh_version
from nixhive_nb.ssh.key_files import read_key_file
from tests import ssh_keys
from tests.sshd import FABRIC, public

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]


def ssh(site, name="web"):
    """How OpenSSH does with the same configuration."""
    argv = ["ssh", "-F", str(site.folder / "ssh" / "batch"), "-o", "BatchMode=yes", name, "true"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL)


def gets_in(site, server, **options):
    """Log in both ways, which must work."""
    connections = site.connect(site.instance("web", server, **options))
    control = ssh(site)
    assert control.returncode == 0, control.stderr
    assert connections.run("web", "echo in").stdout == "in\n"
    return connections


def stays_out(site, server, **options):
    """Log in both ways, which must not work, and give what is said of ours."""
    connections = site.connect(site.instance("web", server, **options))
    assert ssh(site).returncode == 255
    with pytest.raises(ConnectionFailed) as caught:
        connections.run("web", "true")
    return str(caught.value)


def identities(site, *others, last="user"):
    """A list of identities whose last one is good. An instance of tests has one value an option: a file has more."""
    extra = site.folder / "identities"
    extra.write_text("".join(f"IdentityFile {path}\n" for path in (*others, *([site.keys[last]] if last else []))))
    return {"user_key": None, "IdentityFile": None, "Include": extra}


# Files that are passed over


@pytest.mark.parametrize("kind", sorted(ssh_keys.FOREIGN))
def test_a_file_that_no_ssh_can_use_is_passed_over_and_named_when_nothing_helps(site, kind):
    server, bad = site.sshd(), ssh_keys.foreign(site.folder / "id_bad", kind)
    gets_in(site, server, **identities(site, bad))
    assert f"{bad} cannot be used" in stays_out(site, server, **identities(site, bad, last=None))


def test_the_file_of_a_hardware_key_is_passed_over_and_named_when_nothing_helps(site):
    """Case 1."""
    server, key = site.sshd(), ssh_keys.stub(site.folder / "id_ed25519_sk")
    gets_in(site, server, **identities(site, key))
    said = stays_out(site, server, **identities(site, key, last=None))
    assert f"{key} cannot be used: it is that of a hardware key" in said


@pytest.mark.parametrize("fmt", ["RFC4716", "PEM", "PKCS8"])
@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_a_key_with_a_passphrase_is_passed_over_and_named_when_nothing_helps(site, kind, fmt):
    if (kind, fmt) == ("ed25519", "PEM") and openssh_version() >= (10, 0):
        pytest.skip("a newer ssh-keygen writes no such file")
    server = site.sshd()
    locked = ssh_keys.make(site.folder / "id_locked", kind, "secret", fmt)
    gets_in(site, server, **identities(site, locked))
    said = stays_out(site, server, **identities(site, locked, last=None))
    assert f"{locked} has a passphrase: add it to ssh-agent (`ssh-add {locked}`)" in said


def test_a_key_that_others_may_read_is_passed_over_as_ssh_does(site):
    server = site.sshd()
    wide = ssh_keys.make(site.folder / "id_wide")
    server.authorized.write_text(server.authorized.read_text() + public(wide) + "\n")
    wide.chmod(0o644)
    gets_in(site, server, **identities(site, wide))
    said = stays_out(site, server, **identities(site, wide, last=None))
    assert f"{wide} cannot be used: others may read it (its mode is 0644)" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_key_that_we_may_not_read_is_named_with_the_reason():
    with tempfile.TemporaryDirectory(prefix="hive-t") as folder:
        Path(folder).chmod(0o755)
        key = ssh_keys.make(Path(folder) / "id")
        os.seteuid(65534)
        try:
            found = read_key_file(key)
        finally:
            os.seteuid(0)
    assert found.problem == "it cannot be read (Permission denied)"


def test_what_is_no_file_is_passed_over(site):
    server = site.sshd()
    folder, pipe = site.folder / "folder", site.folder / "pipe"
    folder.mkdir()
    gets_in(site, server, **identities(site, folder))
    os.mkfifo(pipe)  # ssh would wait for somebody who writes to it
    connections = site.connect(site.instance("web", server, **identities(site, pipe)))
    assert connections.run("web", "true").exited == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data.replace(b"\n", b"\r\n"), "whose lines end with CRLF: `dos2unix FILE` mends it"),
        (lambda data: b"of mine:\n" + data, "with anything before its first line or beside it"),
        (lambda data: data.rstrip(b"\n"), "whose last line is missing, or has no line feed at its end"),
    ],
    ids=["CRLF", "text before it", "no end of the last line"],
)
def test_a_file_that_ssh_does_not_read_is_not_read_here_either(site, change, why):
    """Commands went by Fabric then, and each copy of Nix was refused."""
    key = site.folder / "id_changed"
    key.write_bytes(change(site.keys["user"].read_bytes()))
    key.chmod(0o600)
    said = stays_out(site, site.sshd(), **identities(site, key, last=None))
    assert f"{key} cannot be used: ssh reads no key {why}" in said


@pytest.mark.parametrize("fmt", ["", "PEM"])
def test_a_key_beside_the_public_half_of_another_is_passed_over_as_ssh_does(site, fmt):
    server, key = site.sshd(), ssh_keys.make(site.folder / "id", "ecdsa", fmt=fmt)
    server.authorized.write_text(f"{server.authorized.read_text()}{public(key)}\n")
    gets_in(site, server, **identities(site, key, last=None))
    Path(f"{key}.pub").write_text(f"{public(site.keys['host-new'])}\n")
    said = stays_out(site, server, **identities(site, key, last=None))
    assert f"{key} is not used, as ssh does not use it: {key}.pub beside it is that of another key." in said
    gets_in(site, server, **identities(site, key))


def test_a_key_of_a_kind_that_the_configuration_does_not_accept_is_not_tried(site):
    server = site.sshd()
    gets_in(site, server, PubkeyAcceptedAlgorithms="ssh-ed25519")
    said = stays_out(site, server, PubkeyAcceptedAlgorithms="rsa-sha2-512")
    assert "is not tried: PubkeyAcceptedAlgorithms of its ssh options does not have ssh-ed25519" in said


@pytest.mark.parametrize(("kind", "fmt"), [("rsa", "PEM"), ("ecdsa", "PEM"), ("rsa", ""), ("ecdsa", "")])
def test_keys_of_each_kind_and_format(site, kind, fmt):
    server = site.sshd()
    key = ssh_keys.make(site.folder / "id", kind, fmt=fmt)
    server.authorized.write_text(public(key) + "\n")
    gets_in(site, server, user_key=None, IdentityFile=key)


# Certificates of users


@pytest.fixture
def authority(site):
    return ssh_keys.make(site.folder / "ca")


def trusting(site, authority):
    """A server that trusts an authority, and no key."""
    server = site.sshd(extra=f"TrustedUserCAKeys {authority}.pub")
    server.authorized.write_text("")
    return server


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("way", ["beside the key", "CertificateFile", "agent", "agent, beside the key", "agent, named"])
def test_a_certificate_in_each_of_its_ways(site, authority, kind, way):
    """Case 4, a, b and d."""
    server = trusting(site, authority)
    key = ssh_keys.make(site.folder / "op", kind)
    options = {"user_key": None, "IdentityFile": key}
    if way == "agent":  # which has the key, and the certificate as another one
        ssh_keys.sign(authority, key, "-n", "root", "-V", "+1h")
        with ssh_keys.agent(site.folder / "a", key) as sock:
            gets_in(site, server, user_key=None, IdentitiesOnly="no", IdentityAgent=sock)
            gets_in(site, server, **options, IdentityAgent=sock)
        return
    if way == "CertificateFile":
        ssh_keys.sign(authority, key, "-n", "root", "-V", "+1h", to=site.folder / "elsewhere.pub")
        gets_in(site, server, **options, CertificateFile=site.folder / "elsewhere.pub")
        return
    if way == "beside the key":
        ssh_keys.sign(authority, key, "-n", "root", "-V", "+1h")
        gets_in(site, server, **options)
        return
    with ssh_keys.agent(site.folder / "a", key) as sock:
        elsewhere = site.folder / "elsewhere.pub" if way == "agent, named" else None
        ssh_keys.sign(authority, key, "-n", "root", "-V", "+1h", to=elsewhere)
        named = {"CertificateFile": elsewhere} if elsewhere else {}
        key.unlink()  # what is left is the public half
        gets_in(site, server, **options, **named, IdentityAgent=sock)
        if elsewhere:
            gets_in(site, server, user_key=None, IdentitiesOnly="no", IdentityAgent=sock, **named)


@pytest.mark.parametrize("state", ["expired", "of another name", "broken", "empty"])
def test_a_certificate_that_does_not_count_hides_no_good_key(site, authority, state):
    """Case 4, c."""
    key = ssh_keys.make(site.folder / "op")
    server = site.sshd(extra=f"TrustedUserCAKeys {authority}.pub")
    server.authorized.write_text(public(key) + "\n")
    words = {"expired": ["-n", "root", "-V", "-2d:-1d"], "of another name": ["-n", "somebody"]}.get(state, [])
    certificate = ssh_keys.sign(authority, key, *words)
    if state == "broken":
        certificate.write_text("ssh-ed25519-cert-v01@openssh.com AAAA me\n")
    elif state == "empty":
        certificate.write_text("")
    gets_in(site, server, user_key=None, IdentityFile=key)
    server.authorized.write_text("")
    said = stays_out(site, server, user_key=None, IdentityFile=key)
    if state in ("broken", "empty"):
        assert f"{certificate} cannot be used" in said
    else:
        assert f"{key} with its certificate 'me'" in said


@FABRIC
def test_a_certificate_that_is_named_and_not_there_is_told(site, authority):
    server = trusting(site, authority)
    key = ssh_keys.make(site.folder / "op")
    said = stays_out(site, server, user_key=None, IdentityFile=key, CertificateFile=site.folder / "gone.pub")
    assert f"{site.folder}/gone.pub, which is to be a certificate, is not there" in said


# Agents


def hanging_up(listening):
    """Close each connection to a socket as it comes, and give what ends that.

    Who waits for connections when a socket is closed goes on with the next one that has its number.
    """

    def serve():
        with contextlib.suppress(OSError):
            while True:
                listening.accept()[0].close()

    thread = threading.Thread(target=serve)
    thread.start()

    def end():
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()

    return end


@pytest.mark.parametrize("state", ["gone", "not listening", "no socket", "hangs up"])
def test_a_dead_agent_is_no_harm_and_is_named_when_nothing_helps(site, state, request):
    """Case 28."""
    server, sock = site.sshd(), site.folder / "a"
    if state == "no socket":
        sock.write_text("")
    elif state != "gone":
        made = socket.socket(socket.AF_UNIX)
        request.addfinalizer(made.close)
        made.bind(str(sock))
        if state == "hangs up":
            made.listen()
            request.addfinalizer(hanging_up(made))
    gets_in(site, server, IdentityAgent=sock)
    said = stays_out(site, server, user_key=None, IdentityAgent=sock)
    assert f"The agent at {sock} does not answer (" in said
    assert "set SSH_AUTH_SOCK" in said


def test_an_agent_that_hangs_is_passed_over_by_fabric_and_named_by_openssh(site, monkeypatch):
    """It took a minute for each login; OpenSSH itself waits without end."""
    monkeypatch.setattr("nixhive_nb.ssh.login._LIST_TIMEOUT", 0.2)
    monkeypatch.setattr("nixhive_nb.ssh.openssh_login._AUTH_TIMEOUT", 0.0)
    server, sock = site.sshd(), site.folder / "a"
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(sock))
        hangs.listen()
        assert site.connect(site.instance("web", server, IdentityAgent=sock)).run("web", "true").exited == 0
        web = msgspec.structs.replace(site.instance("web", server, IdentityAgent=sock), carrier="openssh")
        with pytest.raises(ConnectionFailed, match=f"waits for the agent at {sock}, which says nothing"):
            site.connect(web, connect_timeout=2).run("web", "true")


@pytest.mark.parametrize("half", ["private", "public"])
def test_a_locked_key_whose_agent_is_asked_by_what_the_file_itself_says(site, half):
    """`IdentitiesOnly`, and no `.pub` beside the file: ssh reads the public half out of the private one."""
    server, key = site.sshd(), ssh_keys.make(site.folder / "id", "ed25519")
    server.authorized.write_text(public(key) + "\n")
    with ssh_keys.agent(site.folder / "a", key) as sock:
        if half == "private":
            subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True)
            key.with_name("id.pub").unlink()
        else:
            Path(key).write_text(public(key) + "\n")
            key.with_name("id.pub").unlink()
        gets_in(site, server, user_key=None, IdentityFile=key, IdentityAgent=sock)


def test_an_agent_that_does_not_sign_is_passed_over(site):
    server = site.sshd()
    hardware = ssh_keys.HardwareAgent(site.folder / "a", signs=False)
    server.authorized.write_text(server.authorized.read_text() + hardware.public + "\n")
    try:
        gets_in(site, server, IdentitiesOnly="no", IdentityAgent=site.folder / "a")
        assert hardware.touched <= 1, "by ssh itself"
        said = stays_out(site, server, user_key=None, IdentitiesOnly="no", IdentityAgent=site.folder / "a")
        assert "me@token (agent, to be touched) did not sign" in said
    finally:
        hardware.close()


def test_a_hardware_key_of_the_agent_is_touched_once_a_host_and_only_where_no_other_helps(site):
    server = site.sshd()
    hardware = ssh_keys.HardwareAgent(site.folder / "a")
    server.authorized.write_text(server.authorized.read_text() + hardware.public + "\n")
    try:
        other = site.connect(site.instance("web", server, IdentitiesOnly="no", IdentityAgent=site.folder / "a"))
        other.run("web", "true")
        assert hardware.touched == 0
        alone = {"user_key": None, "IdentitiesOnly": "no", "IdentityAgent": site.folder / "a"}
        connections = site.connect(site.instance("web", server, **alone))
        told = []
        connections.carry("auto", told.append)
        assert ssh(site).returncode == 0
        by_ssh = 1
        for _ in range(3):
            connections.run("web", "true")
        assert hardware.touched - by_ssh == 1
        assert told == ["web waits for the key me@token (agent): touch it."]
    finally:
        hardware.close()


# More than one key, and none


def test_two_keys_are_given_where_two_are_needed(site):
    """Case 29."""
    server = site.sshd(extra="AuthenticationMethods publickey,publickey")
    one, two = (ssh_keys.make(site.folder / name) for name in ("one", "two"))
    server.authorized.write_text(ssh_keys.lines([one, two]))
    gets_in(site, server, **identities(site, site.keys["user-rsa"], one, two, last=None))
    said = stays_out(site, server, **identities(site, one, last=None))
    assert "the login of user root by key is not enough; the host wants another key." in said


def test_a_key_and_something_else_is_told(site):
    server = site.sshd(extra="AuthenticationMethods publickey,keyboard-interactive\nKbdInteractiveAuthentication yes")
    said = stays_out(site, server)
    assert "the login of user root by key is not enough; the host wants keyboard-interactive." in said


@pytest.mark.parametrize("keys", ["none", "one that is refused"])
def test_a_host_that_asks_for_nothing_lets_us_in(site, keys):
    """Case 5: method `none`, as that of Tailscale."""
    server = site.sshd(extra="PermitRootLogin yes\nPermitEmptyPasswords yes", password="")
    options = {"user_key": None} if keys == "none" else {"user_key": "user-rsa"}
    gets_in(site, server, **options)
