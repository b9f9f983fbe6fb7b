"""Who may answer, and with what we log in, on real servers."""

from __future__ import annotations

import subprocess

import pytest

from nixhive_nb.errors import ConnectionFailed, HostKeyError
from tests import ssh_keys
from tests.sshd import DEBUG, eventually, public

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]


# Host keys


def test_a_changed_key_is_refused_before_any_login(site):
    server = site.sshd(keys=["host-new"], extra=DEBUG)
    connections = site.connect(site.instance("web", server, keys=["host-ed25519"]))
    with pytest.raises(HostKeyError) as caught:
        connections.run("web", "true")
    text = str(caught.value)
    assert f"host key of web (127.0.0.1:{server.port}) is SHA256:" in text
    assert "the deployment says SHA256:" in text
    assert "Nothing was sent." in text
    assert f'instances.web.hostKeys: "{public(site.keys["host-new"])}"' in text
    eventually(lambda: "Connection closed" in server.log() or "Connection reset" in server.log(), "the end")
    assert "userauth-request" not in server.log()


def test_an_unknown_key_is_refused(site):
    server = site.sshd()
    known = site.folder / "known"
    connections = site.connect(site.instance("web", server, keys=[], UserKnownHostsFile=known))
    with pytest.raises(HostKeyError) as caught:
        connections.run("web", "true")
    assert "which is not known" in str(caught.value)
    assert f'instances.web.hostKeys in the deployment: "{public(site.keys["host-ed25519"])}"' in str(caught.value)
    assert not known.exists(), "nothing is added silently"


@pytest.mark.parametrize("form", ["plain", "hashed", "aligned"])
def test_the_users_known_hosts_are_honoured(site, form):
    server = site.sshd()
    known = site.folder / "known"
    line = f"[127.0.0.1]:{server.port} {public(site.keys['host-ed25519'])}\n"
    known.write_text("\t  " + line.replace(" ", "\t ") if form == "aligned" else line)
    if form == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
        assert "127.0.0.1" not in known.read_text()
    options = {"UserKnownHostsFile": known, "GlobalKnownHostsFile": "/dev/null"}
    # Our answer is the same whatever StrictHostKeyChecking says: never accept silently.
    connections = site.connect(site.instance("web", server, keys=[], StrictHostKeyChecking="no", **options))
    assert connections.run("web", "true").exited == 0

    known.write_text(f"[127.0.0.1]:{server.port} {public(site.keys['host-new'])}\n")
    connections.close("web")
    with pytest.raises(HostKeyError, match=r"known_hosts says SHA256:.*ssh-keygen -R"):
        connections.run("web", "true")


def test_a_key_without_the_port_and_one_by_alias(site):
    server = site.sshd()
    key = public(site.keys["host-ed25519"])
    known = site.folder / "known"
    known.write_text(f"127.0.0.1 {key}\nthe-alias {key}\n")
    plain = site.instance("plain", server, keys=[], UserKnownHostsFile=known)
    alias = site.instance("alias", server, keys=[], UserKnownHostsFile=known, HostKeyAlias="the-alias")
    other = site.instance("other", server, keys=[], UserKnownHostsFile=known, HostKeyAlias="no-such")
    connections = site.connect(plain, alias, other)
    assert connections.run("plain", "true").exited == 0
    assert connections.run("alias", "true").exited == 0
    with pytest.raises(HostKeyError, match="not known"):
        connections.run("other", "true")


def test_revoked_keys_and_authorities_of_known_hosts(site):
    server = site.sshd()
    key = public(site.keys["host-ed25519"])
    revoked, authority = site.folder / "revoked", site.folder / "authority"
    revoked.write_text(f"web {key}\n@revoked web {key}\n")
    authority.write_text(f"@cert-authority web {public(site.keys['host-new'])}\n")
    options = {"keys": [], "HostKeyAlias": "web"}
    connections = site.connect(
        site.instance("revoked", server, UserKnownHostsFile=revoked, **options),
        site.instance("authority", server, UserKnownHostsFile=authority, **options),
    )
    with pytest.raises(HostKeyError, match="marked as revoked"):
        connections.run("revoked", "true")
    with pytest.raises(
        HostKeyError, match="shows no certificate for it, which @cert-authority in known_hosts asks for"
    ):
        connections.run("authority", "true")


def test_two_keys_of_one_kind_while_keys_are_rotated(site):
    old, new = site.sshd(keys=["host-ed25519"]), site.sshd(keys=["host-new"])
    both = ["host-ed25519", "host-new"]
    connections = site.connect(site.instance("old", old, keys=both), site.instance("new", new, keys=both))
    assert connections.run("old", "true").exited == 0
    assert connections.run("new", "true").exited == 0


@pytest.mark.parametrize("kind", ["host-rsa", "host-ecdsa", "host-ed25519"])
def test_a_host_with_more_keys_shows_the_one_that_we_know(site, kind):
    server = site.sshd(keys=["host-ed25519", "host-ecdsa", "host-rsa"])
    connections = site.connect(site.instance("web", server, keys=[kind]))
    assert connections.run("web", "true").exited == 0


def test_hosts_that_swapped_their_keys(site):
    one, two = site.sshd(keys=["host-ed25519"]), site.sshd(keys=["host-new"])
    connections = site.connect(
        site.instance("one", one, keys=["host-new"]), site.instance("two", two, keys=["host-ed25519"])
    )
    for name in ("one", "two"):
        with pytest.raises(HostKeyError, match="the deployment says"):
            connections.run(name, "true")


# Logins


def test_a_refused_login_says_who_and_with_what(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server, user_key="user-rsa", User="root"))
    with pytest.raises(ConnectionFailed) as caught:
        connections.run("web", "true")
    assert "the login of user root was refused. Keys tried:" in str(caught.value)
    assert str(site.keys["user-rsa"]) in str(caught.value)


def test_a_key_with_a_passphrase_says_how_to_use_it(site):
    connections = site.connect(site.instance("web", site.sshd(), user_key="locked"))
    with pytest.raises(ConnectionFailed) as caught:
        connections.run("web", "true")
    assert f"{site.keys['locked']} has a passphrase: add it to ssh-agent (`ssh-add" in str(caught.value)


def test_without_any_key_it_says_so(site):
    connections = site.connect(site.instance("web", site.sshd(), user_key=None))
    with pytest.raises(ConnectionFailed, match="no key to try"):
        connections.run("web", "true")


def test_keys_of_the_agent(site, monkeypatch):
    server = site.sshd()
    site.keys["user"].chmod(0o600)
    with ssh_keys.agent(site.folder / "a", site.keys["user"]) as sock:
        half = site.folder / "half.pub"
        half.write_text(public(site.keys["user"]) + "\n")
        only = {"user_key": None, "IdentityAgent": sock}
        connections = site.connect(
            site.instance("any", server, IdentitiesOnly="no", **only),
            site.instance("public-half", server, **{**only, "IdentityFile": half}),
            site.instance("only", server, **only),
            site.instance("off", server, user_key=None, IdentitiesOnly="no", IdentityAgent="none"),
            site.instance("environment", server, user_key=None, IdentitiesOnly="no"),
        )
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        for name in ("any", "public-half", "environment"):
            assert connections.run(name, "true").exited == 0
        for name in ("only", "off"):
            with pytest.raises(ConnectionFailed, match="no key to try"):
                connections.run(name, "true")


def test_nothing_of_one_login_is_left_in_the_next(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    seen = []
    for _ in range(3):
        connections.open("web")
        connection = connections._hosts["web"].opened.connection
        seen.append(connection.connect_kwargs)
        assert "key_filename" not in connection.connect_kwargs
        assert connection.config.connect_kwargs == {}
        connections.close("web")
    assert len({id(kwargs) for kwargs in seen}) == len({id(kwargs["sock"]) for kwargs in seen}) == 3
    assert len({tuple(sorted(kwargs)) for kwargs in seen}) == 1
