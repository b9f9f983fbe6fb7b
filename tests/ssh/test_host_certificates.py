"""Host certificates, on real servers: whoever an authority vouches for is accepted, as by OpenSSH, and nobody else."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

from nixhive_nb.errors import HostKeyError
from nixhive_nb.ssh import certificates
from nixhive_nb.ssh.certificates import Certificate, openssh_version, read_certificate, unfit_for
from nixhive_nb.ssh.public_keys import parse_key
from nixhive_nb.ssh.wire import Malformed
from nixhive_nb.util.process import Finished
from tests import ssh_keys
from tests.sshd import BOTH, DEBUG, FABRIC, eventually, public

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]
CARRIERS = BOTH


@pytest.fixture
def authority(site):
    return ssh_keys.make(site.folder / "ca")


def vouched(site, authority, *words, kind="ed25519", extra=""):
    """A server that shows a certificate for a key of its own."""
    name = f"host-{len(site.servers)}"
    key = site.keys[name] = ssh_keys.make(site.folder / name, kind)
    certificate = ssh_keys.sign(authority, key, "-h", *(words or ["-n", "127.0.0.1"]))
    return site.sshd(keys=[name], extra=f"HostCertificate {certificate}\n{extra}")


def trusting(site, server, authority, *, keys=(), **options):
    """An instance with `hostCAs`."""
    made = site.instance("web", server, keys=keys, **options)
    return msgspec.structs.replace(made, host_cas=(public(authority),))


def ssh(site):
    argv = ["ssh", "-F", str(site.folder / "ssh" / "batch"), "web", "true"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL)


def is_taken(site, instance):
    connections = site.connect(instance)
    control = ssh(site)
    assert control.returncode == 0, control.stderr
    assert connections.run("web", "echo in").stdout == "in\n"


def is_refused(site, instance):
    connections = site.connect(instance)
    assert ssh(site).returncode == 255
    with pytest.raises(HostKeyError) as caught:
        connections.run("web", "true")
    assert "Nothing was sent." in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_that_an_authority_of_the_deployment_vouches_for(site, authority, kind):
    is_taken(site, trusting(site, vouched(site, authority, kind=kind), authority))


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_authorities_of_other_kinds(site, kind):
    authority = ssh_keys.make(site.folder / "ca", kind)
    is_taken(site, trusting(site, vouched(site, authority), authority))


def test_one_of_its_names_is_enough(site, authority):
    is_taken(site, trusting(site, vouched(site, authority, "-n", "a,127.0.0.1,b"), authority))


@pytest.mark.parametrize(
    ("words", "newer"), [(("-V", "-1d:+1d"), False), (("-n", "a,127.0.0.*"), True)], ids=["no name", "a pattern"]
)
def test_one_without_names_and_one_with_patterns_is_for_whom_the_openssh_here_says(site, authority, words, newer):
    """The release notes of OpenSSH 10.3."""
    instance = trusting(site, vouched(site, authority, *words), authority)
    if (openssh_version() >= (10, 3)) is newer:
        is_taken(site, instance)
    else:
        is_refused(site, instance)


@pytest.mark.parametrize(
    ("version", "principals", "why"),
    [
        ((9, 2), (), ""),
        ((10, 3), (), "it names no host, which OpenSSH takes for none from 10.3 on"),
        ((9, 2), ("*.lan", "w?b"), "it is for *.lan, w?b and not for web (OpenSSH takes patterns from 10.3 on, "),
        ((10, 10), ("*.lan", "w?b"), ""),
        ((10, 3), ("*.lan", "w?"), "it is for *.lan, w? and not for web"),
        ((10, 3), ("w.b", "web,x", "[w]eb"), "it is for w.b, web,x, [w]eb and not for web"),
        ((9, 2), ("WEB",), "it is for WEB and not for web"),
    ],
)
def test_names_count_as_they_do_for_the_openssh_here(monkeypatch, blob, version, principals, why):
    monkeypatch.setattr(certificates, "openssh_version", lambda: version)
    found = msgspec.structs.replace(read_certificate(blob), principals=principals)
    assert unfit_for(found, "web").startswith(why)
    assert bool(unfit_for(found, "web")) == bool(why)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u5, OpenSSL 3.0.15 3 Sep 2024", (9, 2)),
        ("OpenSSH_10.6p1 Debian-1, OpenSSL 3.6", (10, 6)),
        ("OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2", (9, 5)),
        ("Another_SSH 1.0", (0, 0)),
    ],
)
def test_the_version_of_openssh_is_read(monkeypatch, said, version):
    monkeypatch.setattr(
        certificates.process, "run", lambda argv, **_: Finished(argv=argv, status=0, stdout="", stderr=said)
    )
    assert openssh_version.__wrapped__() == version


@FABRIC
def test_the_name_is_that_of_the_alias_where_there_is_one(site, authority):
    server = vouched(site, authority, "-n", "www.example.org")
    is_taken(site, trusting(site, server, authority, HostKeyAlias="www.example.org"))
    said = is_refused(site, trusting(site, server, authority))
    assert "it is for www.example.org and not for 127.0.0.1" in said
    assert "name the host so by `HostKeyAlias` in instances.web.ssh" in said


@FABRIC
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-n", "127.0.0.1", "-V", "-2d:-1d"), "it has expired, "),
        (("-n", "127.0.0.1", "-V", "+1d:+2d"), "it counts from "),
        (("-n", "10.0.0.1"), "it is for 10.0.0.1 and not for 127.0.0.1"),
    ],
)
def test_a_certificate_that_does_not_count_is_refused_with_the_reason(site, authority, words, why):
    assert why in is_refused(site, trusting(site, vouched(site, authority, *words), authority))


@FABRIC
def test_one_of_another_authority_is_refused_before_any_login(site, authority):
    other = ssh_keys.make(site.folder / "other")
    server = vouched(site, other, extra=DEBUG)
    said = is_refused(site, trusting(site, server, authority))
    assert "its certificate is signed by SHA256:" in said
    assert "`hostCAs` of instance web says SHA256:" in said
    eventually(lambda: server.log().count("Connection closed") + server.log().count("Connection reset") > 1, "the end")
    assert "userauth-request" not in server.log()


def test_one_of_a_user_is_no_certificate_of_a_host(site, authority):
    made = ssh_keys.make(site.folder / "op")
    blob = parse_key(ssh_keys.sign(authority, made, "-n", "127.0.0.1").read_text()).blob
    assert unfit_for(read_certificate(blob), "127.0.0.1") == "it is one of a user, not of a host"


@FABRIC
def test_without_a_certificate_the_host_is_told_how_to_show_one(site, authority):
    said = is_refused(site, trusting(site, site.sshd(), authority))
    assert "the host shows no certificate for it, which `hostCAs` of instance web asks for" in said
    assert "`HostCertificate` in its sshd_config" in said


def test_keys_of_the_deployment_count_beside_its_authorities(site, authority):
    is_taken(site, trusting(site, site.sshd(), authority, keys=["host-ed25519"]))
    is_taken(site, trusting(site, vouched(site, authority), authority, keys=["host-ed25519"]))


@FABRIC
@pytest.mark.parametrize("name", ["127.0.0.1", "*", "[127.0.0.1]:PORT"])
def test_authorities_of_known_hosts_count_too(site, authority, name):
    server = vouched(site, authority)
    known = site.folder / "known"
    known.write_text(f"@cert-authority {name.replace('PORT', str(server.port))} {public(authority)}\n")
    is_taken(site, site.instance("web", server, keys=[], UserKnownHostsFile=known))
    known.write_text(f"@cert-authority 10.* {public(authority)}\n")
    assert "which is not known" in is_refused(site, site.instance("web", server, keys=[], UserKnownHostsFile=known))


@FABRIC
@pytest.mark.parametrize("revoked", ["authority", "key"])
def test_what_is_revoked_counts_no_more(site, authority, revoked):
    server = vouched(site, authority)
    bad = authority if revoked == "authority" else server.keys[0]
    known = site.folder / "known"
    known.write_text(f"@cert-authority * {public(authority)}\n@revoked * {public(bad)}\n")
    assert "revoked" in is_refused(site, site.instance("web", server, keys=[], UserKnownHostsFile=known))


@FABRIC
@pytest.mark.parametrize("form", ["list", "KRL", "not there"])
@pytest.mark.parametrize("what", ["key", "authority"])
def test_keys_that_the_user_has_revoked_count_no_more(site, authority, form, what):
    server = vouched(site, authority)
    bad = server.keys[0] if what == "key" else authority
    revoked = site.folder / "revoked"
    if form == "list":
        revoked.write_text(f"# of old\n{public(bad)}\n")
    elif form == "KRL":
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(revoked), f"{bad}.pub"], check=True)
    said = is_refused(site, trusting(site, server, authority, RevokedHostKeys=revoked))
    assert "which is marked as revoked" in said
    other = ssh_keys.make(site.folder / "other")
    if form == "list":
        revoked.write_text(f"{public(other)}\n")
    else:
        revoked.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(revoked), f"{other}.pub"], check=True)
    is_taken(site, trusting(site, server, authority, RevokedHostKeys=revoked))


@FABRIC
def test_the_users_algorithms_for_authorities_count(site):
    authority = ssh_keys.make(site.folder / "ca", "rsa")
    server = vouched(site, authority)
    said = is_refused(site, trusting(site, server, authority, CASignatureAlgorithms="ssh-ed25519"))
    assert "it is signed by rsa-sha2-512, which is not accepted" in said


# What stands in one


@pytest.fixture
def blob(tmp_path):
    authority, key = ssh_keys.make(tmp_path / "ca"), ssh_keys.make(tmp_path / "host")
    line = ssh_keys.sign(authority, key, "-h", "-n", "web,b", "-V", "-1d:+1d").read_text()
    return parse_key(line).blob


def test_a_certificate_is_read_as_ssh_keygen_reads_it(tmp_path, blob):
    found = read_certificate(blob)
    assert isinstance(found, Certificate)
    assert (found.is_of_host, found.principals, found.key_id) == (True, ("web", "b"), "me")
    listed = subprocess.run(
        ["ssh-keygen", "-L", "-f", str(tmp_path / "host-cert.pub")], capture_output=True, text=True, check=True
    ).stdout
    assert found.key.fingerprint in listed
    assert found.authority.fingerprint in listed
    assert unfit_for(found, "WEB") == ""


def test_no_byte_of_it_can_be_another(blob):
    """Its signature is over all of it: one that was changed is refused, or is no certificate at all."""
    taken = []
    for at in range(len(blob)):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        try:
            found = read_certificate(changed)
        except Malformed:
            continue
        if not unfit_for(found, "web"):
            taken.append(at)
    assert taken == []


@pytest.mark.parametrize("size", [0, 1, 30, -1])
def test_one_that_is_cut_short_or_longer_is_none(blob, size):
    for broken in (blob[:size], blob + b"x"):
        with pytest.raises(Malformed):
            read_certificate(broken)
