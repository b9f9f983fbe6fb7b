"""A node whose address is a name in the user's own ssh configuration is reached as ssh reaches that name."""

from __future__ import annotations

import subprocess

import pytest

from nixhive_nb import Hive
from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.deployment.ways import hostname_of
from nixhive_nb.ssh import aliases
from nixhive_nb.ssh.access import Access
from nixhive_nb.ssh.aliases import with_aliases
from nixhive_nb.ssh.config import write_ssh_files
from tests.counting import counted
from tests.deployment.sources.hives import NIXPKGS
from tests.sshd import public

pytestmark = pytest.mark.nix

SAME = (
    *("hostname", "port", "user", "identityfile", "identitiesonly", "proxyjump", "proxycommand", "hostkeyalias"),
    *("userknownhostsfile", "addressfamily", "ciphers", "pubkeyauthentication", "serveralivecountmax"),
)


def fleet(format_="colmena", **hosts):
    """Instances by name, with what is in their blocks."""
    instances = {
        name: Instance(name=name, system=name, ssh=tuple((keyword, (value,)) for keyword, value in options.items()))
        for name, options in hosts.items()
    }
    return Inventory(source="t", instances=instances, format=format_)


def said(config, name):
    """What ssh makes of a host, as far as it leads there."""
    told = subprocess.run(["ssh", "-F", config, "-G", name], capture_output=True, text=True, check=True).stdout
    lines = [line.partition(" ") for line in told.splitlines()]
    return {word: [value for keyword, _, value in lines if keyword == word] for word in SAME}


def config_of(tmp_path, inventory, user):
    own = tmp_path / "own"
    own.write_text(user)
    folder = tmp_path / "ssh"
    return own, write_ssh_files(with_aliases(inventory, folder, [own]), folder, user_files=[own]).config


@pytest.mark.parametrize(
    "user",
    [
        "Host web\n  Hostname 10.0.0.7\n  Port 2222\n  User ops\n",
        "Host web other\n  IdentityFile ~/.ssh/web\n  IdentitiesOnly yes\n  ProxyJump bastion\n",
        "Host *\n  ServerAliveCountMax 9\nHost w?b !db\n  Hostname %h.example.org\n  HostKeyAlias web-one\n",
        "Host web\n  ProxyCommand nc -X 5 %h %p\n  AddressFamily inet6\n",
        "Host web\n  Ciphers aes128-ctr\n  PubkeyAuthentication no\n  UserKnownHostsFile /a /b\n",
        "Match originalhost web\n  Hostname 10.0.0.7\n",
        "Host web\n  ProxyJump none\nHost *\n  ProxyJump bastion\n",
        'Host web\n  IdentityFile "/keys/of the web"\n',
        "Host db\n  Hostname 10.0.0.8\n",
        "",
    ],
)
def test_ssh_makes_of_the_node_what_it_makes_of_its_address(tmp_path, user):
    own, config = config_of(tmp_path, fleet(www={"Hostname": "web"}), user)
    assert said(config, "www") == said(own, "web")


@pytest.mark.parametrize(
    ("address", "user"),
    [
        ("fe80::1%eth0", "Host fe80::1%eth0\n  Port 2222\n"),
        ("web", "Host web\n  Hostname fe80::1%%eth0\n"),
    ],
)
def test_a_zone_of_an_address_is_a_part_of_it(tmp_path, address, user):
    own, config = config_of(tmp_path, fleet(node={"Hostname": hostname_of(address)}), user)
    assert said(config, "node") == said(own, address)


def test_what_the_node_says_itself_goes_before_and_its_key_is_tried_first(tmp_path):
    node = {"Hostname": "web", "User": "root", "Port": "22", "IdentityFile": "/keys/own"}
    user = "Host web\n  Hostname 10.0.0.7\n  Port 2222\n  User ops\n  IdentityFile /keys/web\n"
    _, config = config_of(tmp_path, fleet(www=node), user)
    found = said(config, "www")
    assert (found["hostname"], found["user"], found["port"]) == (["10.0.0.7"], ["root"], ["22"])
    assert found["identityfile"] == ["/keys/own", "/keys/web"]


def test_a_jump_of_the_node_and_one_of_the_block_do_not_both_count(tmp_path):
    node = {"Hostname": "web", "ProxyJump": "own"}
    _, config = config_of(tmp_path, fleet(www=node), "Host web\n  ProxyCommand nc %h %p\n")
    assert (said(config, "www")["proxyjump"], said(config, "www")["proxycommand"]) == (["own"], [])


def test_a_block_of_the_node_counts_as_before(tmp_path):
    _, config = config_of(tmp_path, fleet(www={"Hostname": "10.0.0.7"}), "Host www\n  Port 2222\n")
    assert said(config, "www")["port"] == ["2222"]


@pytest.mark.parametrize("format_", ["hive", "flake"])
def test_where_the_deployment_says_options_of_ssh_a_hostname_is_what_ssh_takes_it_for(tmp_path, format_):
    """Source: ssh_config(5): a `Host` is matched by the name that ssh was called with."""
    _, config = config_of(tmp_path, fleet(format_, www={"Hostname": "web"}), "Host web\n  Port 2222\n")
    assert said(config, "www")["port"] == ["22"]


def test_ssh_is_asked_about_addresses_that_a_block_is_for_and_of_each_once(tmp_path, monkeypatch):
    asked = counted(monkeypatch, aliases, "_said")
    hosts = {f"www-{number}": {"Hostname": f"10.0.0.{number}"} for number in range(100)}
    twins = {name: {"Hostname": "web"} for name in ("a", "b")}
    config_of(tmp_path, fleet(**hosts, **twins), "Host web\n  Port 2222\nHost *\n  Compression yes\n")
    assert sorted(name for _, name in asked) == sorted([aliases._NOBODY, "web"])


def test_files_that_ssh_cannot_read_leave_the_deployment_as_it_is(tmp_path):
    own = tmp_path / "own"
    own.write_text("Host web\n  Prot 2222\n")
    inventory = fleet(www={"Hostname": "web"})
    assert with_aliases(inventory, tmp_path, [own]) == inventory


def test_a_block_that_is_edited_counts_from_then_on(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host web\n  Port 2222\n")
    colmena, hive = fleet(www={"Hostname": "web"}), fleet("hive", www={"Hostname": "web"})
    one, other = Access(colmena), Access(hive)
    assert one.serves(colmena)
    assert other.serves(hive)
    (tmp_path / ".ssh" / "config").write_text("Host web\n  Port 23\n")
    assert not one.serves(colmena)
    assert other.serves(hive)  # there nothing of it was taken over
    one.close()
    other.close()


def test_a_hive_of_colmena_that_leaves_all_to_the_users_configuration_is_reached(site, tmp_path, monkeypatch):
    """Its node has an alias for an address, and the user's files the rest: a port, a key, a jump, who vouches."""
    jump, server = site.sshd(), site.sshd()
    known = tmp_path / "known"
    known.write_text("".join(f"[127.0.0.1]:{one.port} {public(site.keys['host-ed25519'])}\n" for one in (jump, server)))
    (tmp_path / ".ssh").mkdir()
    common = f"  User root\n  IdentityFile {site.keys['user']}\n  UserKnownHostsFile {known}\n"
    (tmp_path / ".ssh" / "config").write_text(
        f"Host the-web\n  Hostname 127.0.0.1\n  Port {server.port}\n  ProxyJump the-jump\n{common}"
        f"Host the-jump\n  Hostname 127.0.0.1\n  Port {jump.port}\n{common}"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    node = '{ deployment = { targetHost = "the-web"; targetUser = null; }; }'
    (tmp_path / "hive.nix").write_text(f"{{ meta.nixpkgs = import {NIXPKGS} {{ }}; www = {node}; }}")
    with Hive.load(tmp_path / "hive.nix") as hive:
        frame = hive.run("www", "echo here")
    assert frame["stdout"].to_list() == ["here\n"], frame.iloc[0].to_dict()
    assert (server.logins(), jump.logins()) == (1, 1)
