"""Hosts that ssh's configuration tells the same of: one is asked, and what the others get is what ssh would say."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.ssh import resolve
from nixhive_nb.ssh.alike import Alike
from nixhive_nb.ssh.config import write_ssh_files
from nixhive_nb.ssh.resolve import Resolver
from tests.ssh.own import OF_SYSTEMD
from tests.sshd import in_threads

pytestmark = [pytest.mark.nix, pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJxRYQm0x7pF6DMnTHKl4kCaNHqh5vKZ3Z1a5kKkJ0vN"


@pytest.fixture
def asked(monkeypatch):
    """The hosts that `ssh -G` was asked about."""
    names = []
    ask = resolve._ask
    monkeypatch.setattr(resolve, "_ask", lambda config, name: (names.append(name), ask(config, name))[1])
    return names


def instance(name, *, keys=(KEY,), **options):
    ssh = tuple((keyword, (str(value),)) for keyword, value in options.items())
    return Instance(name=name, system="s", ssh=ssh, host_keys=keys)


def fleet(count=20, **options):
    return [
        instance(f"www-{number}", Hostname=f"10.0.0.{number}", User="root", ProxyJump="jump", **options)
        for number in range(count)
    ]


def resolvers(tmp_path, instances, user=""):
    """One that asks once for those that are alike, and one that asks about each."""
    own = tmp_path / "own"
    own.write_text(user)
    inventory = Inventory(source="t", instances={one.name: one for one in instances})
    files = write_ssh_files(inventory, tmp_path / "ssh", user_files=[own])
    return Resolver(files.batch, Alike(inventory, files.extends)), Resolver(files.batch)


def test_one_of_many_hosts_that_are_alike_is_asked(tmp_path, asked):
    hosts = fleet()
    once, each = resolvers(tmp_path, hosts, "Host *\n  ServerAliveInterval 5\n  ControlPath ~/.ssh/%C\n")
    found = in_threads(8, once, [one.name for one in hosts])
    assert len(asked) == 1
    assert found == [each(one.name) for one in hosts]
    assert [target.host_key_alias for target in found] == [one.name for one in hosts]


@pytest.mark.parametrize(
    ("user", "processes"),
    [
        ("Match exec true\n  Port 3\n", 4),
        ("Match host 10.0.0.2\n  Port 3\n", 4),
        ("CanonicalizeHostname yes\n", 4),
        ("Host *\n  IdentityFile ~/.ssh/%n\n", 4),
        ("Host *\n  Hostname %h.lan\n", 4),
        ("Include nowhere\nMatch all\n  Port 3\n", 1),
        ("Host www-2\n  Compression yes\n", 2),
        ("Host www-? !www-3\n  Compression yes\n", 2),
        ("Host other\n  Compression yes\n", 1),
        ("# Host www-2\nHost www-1 # and www-2\n  Compression yes\n", 4),
        ('Host "www-1" www-2\n  Compression yes\n', 4),
        ('"Host" www-1\n  Compression yes\n', 4),
        ('Include "no where"\n', 4),
        ("Include ${HOME}/nowhere\n", 4),
        ("Host=www-1\n  PKCS11Provider none\n", 2),
        (OF_SYSTEMD, 1),
        ("Host www-2\n  IdentityFile ~/.ssh/%n\nHost www-3\n  CanonicalizeHostname yes\n", 3),
        ("Host other\n  Port 3\nMatch all\n  IdentityFile ~/.ssh/%n\n", 4),
        ("Include {other}\nIdentityFile ~/.ssh/%n\n", 4),
        ("Host www-2\n  Include {keys}\n", 2),
        ("Host other\n  Include {keys}\n", 1),
    ],
)
def test_what_may_tell_them_apart_has_each_asked(tmp_path, asked, user, processes):
    hosts = fleet(4)
    (tmp_path / "other").write_text("Host other\n  Port 3\n")
    (tmp_path / "keys").write_text("IdentityFile ~/.ssh/%n\n")
    own = user.replace("{other}", str(tmp_path / "other")).replace("{keys}", str(tmp_path / "keys"))
    once, each = resolvers(tmp_path, hosts, own)
    found = [once(one.name) for one in hosts]
    assert len(asked) == processes
    assert found == [each(one.name) for one in hosts]


@pytest.mark.parametrize(
    "other",
    [
        instance("x", Hostname="10.0.0.9", User="root", ProxyJump="jump", Port=3),
        instance("x", Hostname="10.0.0.9", User="root", ProxyJump="jump", keys=()),
        instance("x", Hostname="%h.lan", User="root", ProxyJump="jump"),
        instance("x", User="root", ProxyJump="jump"),
        instance("X", Hostname="Big.Lan", User="root", ProxyJump="jump"),
    ],
)
def test_a_host_that_is_another_is_asked_about_itself(tmp_path, asked, other):
    hosts = [*fleet(2), other]
    once, each = resolvers(tmp_path, hosts)
    found = [once(one.name) for one in hosts]
    assert asked == ["www-0", other.name]
    assert found == [each(one.name) for one in hosts]


@pytest.mark.parametrize("user", ["", "Host *\n  HostKeyAlias own\n"])
def test_the_keys_of_a_host_are_looked_for_under_its_own_alias_alone(tmp_path, asked, user):
    hosts = [
        instance(f"h{number}", keys=(), Hostname=f"10.0.0.{number}", **({"HostKeyAlias": alias} if alias else {}))
        for number, alias in enumerate(["", "one", "", "two"])
    ]
    once, each = resolvers(tmp_path, hosts, user)
    usual = "own" if user else ""
    assert [once(one.name).host_key_alias for one in hosts] == [usual, "one", usual, "two"]
    assert asked == ["h0", "h1"]
    assert [once(one.name) for one in hosts] == [each(one.name) for one in hosts]


def test_after_a_failure_ssh_is_asked_again(tmp_path, asked):
    once, _ = resolvers(tmp_path, fleet(3))
    assert once("www-0").port == once("www-1").port == 22
    (tmp_path / "own").write_text("Host *\n  Port 5\n")
    once.forget("www-1")
    assert once("www-1").port == 5
    assert asked == ["www-0", "www-1"]
    (tmp_path / "own").write_text("Match exec true\n  Port 6\n")
    once.forget("www-0")
    once.forget("www-1")
    assert [once(f"www-{number}").port for number in range(3)] == [6, 6, 6]
    assert asked == ["www-0", "www-1", "www-0", "www-1", "www-2"]


OPTIONS = {
    "Port": ["22", "2222"],
    "User": ["root", "ann"],
    "HostKeyAlias": ["alias", "%n"],
    "IdentityFile": ["/key", "~/%h"],
    "ProxyJump": ["none", "jump", "p,q"],
    "ProxyCommand": ["nc %h %p"],
}
USER = ["Host *", "Host a*", "Host !ab *", "Host b ?c", "  Port 7", "  User bob", "  IdentityFile /own", "Match all",
        "  HostKeyAlias own", "  ProxyCommand none", "  UserKnownHostsFile /k", "  IdentityFile ~/%n",
        "  ProxyCommand nc %h %p"]  # fmt: skip
BLOCK = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in OPTIONS.items()})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(BLOCK, st.booleans()), min_size=2, max_size=4), st.lists(st.sampled_from(USER), max_size=6))
def test_whatever_the_configuration_what_is_told_is_what_ssh_says(tmp_path, blocks, user):
    names = ["ab", "ac", "b", "c"]
    hosts = [
        instance(name, keys=(KEY,) if keys else (), Hostname=f"10.0.0.{place}", **options)
        for place, (name, (options, keys)) in enumerate(zip(names, blocks, strict=False))
    ]
    once, each = resolvers(tmp_path, hosts, "\n".join(user))
    for one in hosts:
        assert once(one.name) == each(one.name)
