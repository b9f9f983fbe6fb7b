"""The right host: what ssh, Nix or a shell would read as something else (cases 10, 11, N1, N5)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.names import LONGEST, name_problem, store_problem
from nixhive_nb.deployment.ways import Circle, Hop, MalformedJump, circles, jump_problem, own_jumps, read_hops, way_to
from nixhive_nb.errors import DeploymentError
from nixhive_nb.ssh.config import write_ssh_files

if TYPE_CHECKING:
    from pathlib import Path

WWW = "systems.www.configuration = { ... }: { };"
OTHER_WWW = "systems.db.configuration = { ... }: { };"
KEY, OTHER_KEY = (
    f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICxszIbEMgXks8n0EhULivLVfhmjE2hz4HEx7fRTCA{end}" for end in ("6S", "6T")
)


def problems(folder: Path, *lines: str) -> list[str]:
    (folder / "hive.nix").write_text("\n".join(["{", WWW, OTHER_WWW, *lines, "}"]))
    with pytest.raises(DeploymentError) as caught:
        load(folder / "hive.nix")
    return str(caught.value).splitlines()


def warnings(folder: Path, *lines: str) -> tuple[str, ...]:
    (folder / "hive.nix").write_text("\n".join(["{", WWW, OTHER_WWW, *lines, "}"]))
    return load(folder / "hive.nix").inventory.warnings


def host(name: str, rest: str = "", system: str = "www") -> str:
    return f'instances."{name}" = {{ system = "{system}"; {rest} }};'


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("0", "ssh reads that as the address 0.0.0.0"),
        ("42", "ssh reads that as the address 0.0.0.42"),
        ("127.1", "ssh reads that as the address 127.0.0.1"),
        ("0x7f.1", "ssh reads that as the address 127.0.0.1"),
        ("2130706433", "ssh reads that as the address 127.0.0.1"),
        ("10.0.0.010", "ssh reads that as the address 10.0.0.8"),
        ("localhost.", "this machine"),
        ("web.localhost", "this machine"),
        ("localhost.localdomain", "this machine"),
        ("ip6-localhost", "this machine"),
    ],
)
def test_a_name_that_is_read_as_an_address_needs_one_of_its_own(tmp_path: Path, name: str, hint: str) -> None:
    """Case 11: a host is meant, and this machine may be reached."""
    (line,) = [line for line in problems(tmp_path, host(name)) if "cannot be named" in line]
    assert line.startswith(f"hive.nix:4: an instance cannot be named '{name}': ")
    assert hint in line
    assert "set its `ssh.Hostname`" in line
    assert warnings(tmp_path, host(name, 'ssh.Hostname = "192.0.2.7";')) == ()


@pytest.mark.parametrize("name", ["192.0.2.7", "1a", "web-1", "1.2.3.4.example", "999.1.1.1", "localhosts"])
def test_a_name_with_numbers_in_it_is_good(tmp_path: Path, name: str) -> None:
    assert warnings(tmp_path, host(name)) == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("root@web", "a user goes into `ssh.User`"),
        ("@@", "a user goes into `ssh.User`"),
        ("web:1", "a port goes into `ssh.Port`"),
        ("web:x", "a port goes into `ssh.Port`"),
        ("::1", "an address into `ssh.Hostname`"),
        ("fe80::1", "an address into `ssh.Hostname`"),
        ("localhost", "Nix takes that name for this machine"),
        ("LocalHost", "Nix takes that name for this machine"),
        ("none", "ssh takes that word for no host"),
        ("bücher", "ASCII letters"),
        ("été", "ASCII letters"),
        ("wеb", "ASCII letters"),  # noqa: RUF001 - a Cyrillic e
        ("٣", "ASCII letters"),  # a digit, and not ASCII
        ("web^1", "ASCII letters"),
        ("%h", "ASCII letters"),
        (".", "ASCII letters"),
        ("..", "ASCII letters"),
        ("-oProxyCommand=x", "ASCII letters"),
        ("=x", "ASCII letters"),
        ("~root", "ASCII letters"),
        ("ssh://web", "a port goes into `ssh.Port`"),
        ("x" * (LONGEST + 1), f"it has {LONGEST + 1} characters"),
    ],
)
def test_a_name_that_would_be_read_as_another_host_is_refused_with_its_place(
    tmp_path: Path, name: str, hint: str
) -> None:
    """Cases 10 and 11."""
    (line,) = problems(tmp_path, host(name, 'ssh.Hostname = "198.19.1.4";'))
    assert line.startswith("hive.nix:4: an instance cannot be named ")
    assert hint in line


GOOD = ["web", "Web", "www-1", "a.b.example", "a_b", "_x", "10.0.0.5", "a+b", "a=b", "a~b", "web.", "x" * LONGEST, "7"]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_all_read_alike_is_as_it_is_for_ssh(tmp_path: Path, name: str) -> None:
    """Case 11: valid names go on to work as they are written."""
    warnings(tmp_path, host(name, f'ssh.Hostname = "198.19.1.4"; hostKeys = [ "{KEY}" ];'))
    files = write_ssh_files(load(tmp_path / "hive.nix").inventory, tmp_path / "ssh", user_files=[])
    said = subprocess.run(["ssh", "-F", files.config, "-G", "--", name], capture_output=True, text=True, check=True)
    assert "\nhostname 198.19.1.4\n" in said.stdout
    assert f"\nhostkeyalias {name.lower()}\n" in said.stdout
    keys = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", files.known_hosts], capture_output=True, text=True, check=True
    )
    assert KEY in keys.stdout


@pytest.mark.parametrize("name", GOOD)
def test_and_for_nix(tmp_path: Path, name: str) -> None:
    """Case 11: Nix hands the very name to ssh."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "asked for $1" >&2; exit 1\n')
    program.chmod(0o755)
    path = "/nix/store/" + "a" * 32 + "-x"
    words = ["nix", "--extra-experimental-features", "nix-command", "path-info", "--store", f"ssh://{name}", path]
    env = {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    assert f"asked for {name}\n" in subprocess.run(words, capture_output=True, text=True, env=env, check=False).stderr


def test_names_that_differ_in_case_alone_are_one_name(tmp_path: Path) -> None:
    """Case 11: a key of the one would be accepted for the other."""
    (line,) = problems(tmp_path, host("web", 'ssh.Hostname = "a";'), host("Web", 'ssh.Hostname = "b";'))
    assert line.startswith("hive.nix:4: instances Web and web have one name")


def test_an_alias_for_the_keys_of_another_instance_is_refused(tmp_path: Path) -> None:
    """Case 11: OpenSSH would accept the key of either for both."""
    two = [host("a", f'hostKeys = [ "{KEY}" ];'), host("b", f'hostKeys = [ "{OTHER_KEY}" ]; ssh.HostKeyAlias = "A";')]
    (line,) = problems(tmp_path, *two)
    assert line.startswith("hive.nix:5: `ssh.HostKeyAlias` of instance b stands for instance a too")
    same = host("b", f'hostKeys = [ "{KEY}" ]; ssh.HostKeyAlias = "a";')
    assert warnings(tmp_path, two[0], same) == ()
    (line,) = problems(tmp_path, host("b", f'hostKeys = [ "{KEY}" ]; ssh.HostKeyAlias = "*";'))
    assert line.startswith("hive.nix:4: `ssh.HostKeyAlias` of instance b is '*'")


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("Hostname", "root@10.0.0.1", "`ssh.User`"),
        ("Hostname", "10.0.0.1:22", "`ssh.Port`"),
        ("Hostname", "[::1]", "without brackets"),
        ("Hostname", "bücher.example", "xn--"),
        ("Hostname", "a b", "write a name or an address"),
        ("Hostname", "fe80::1%eth0", "write %% for one"),
        ("Hostname", "web%", "write %% for one"),
        ("Hostname", "web-%n", "write %% for one"),
        ("Hostname", "", "it is empty"),
        ("Port", "ssh", "not a number from 1 to 65535"),
        ("Port", "70000", "not a number from 1 to 65535"),
        ("ProxyJump", "a b", "is not of ASCII"),
        ("ProxyJump", "a,,b", "is not [user@]host[:port]"),
        ("ProxyJump", "portico:x", "the port 'x'"),
        ("ProxyJump", "bücher", "is not of ASCII"),
        ("ProxyJump", "-oProxyCommand=x", "is not of ASCII"),
    ],
)
def test_a_way_that_cannot_be_is_refused_with_its_place(tmp_path: Path, option: str, value: str, why: str) -> None:
    """Case 11: ssh reads one such option and then refuses to reach any host of the deployment."""
    (line,) = problems(tmp_path, host("web", f'\n ssh.{option} = "{value}";'))
    assert line.startswith(f"hive.nix:5: `ssh.{option}` of instance web is '{value}': ")
    assert why in line


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("Hostname", "%h.example.org"),
        ("Hostname", "fe80::1%%eth0"),
        ("Hostname", "100%%%h"),
        ("Hostname", "localhost"),
        ("Port", "22"),
        ("ProxyJump", "none"),
        ("ProxyJump", "ann@dom@first:2200,[fd00::1]:22,third"),
        ("ProxyJump", "ssh://root@portico:22/"),
        ("ProxyJump", "gate-%h"),
    ],
)
def test_a_way_that_ssh_can_read_is_taken(tmp_path: Path, option: str, value: str) -> None:
    warnings(tmp_path, host("web", f'ssh.{option} = "{value}";'))
    said = subprocess.run(
        ["ssh", "-F", "none", "-G", "-o", f"{option}={value}", "web"], check=False, capture_output=True
    )
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ssh://portico:abc", "the port 'abc' is not a number"),
        ("ssh://portico:0", "the port '0' is not a number"),
        ("ssh://portico:", "the port '' is not a number"),
        ("ssh://", "names no host"),
        ("ssh://?compress=true", "names no host"),
        ("ssh://localhost", "this machine"),
        ("ssh://localhost:2222", "this machine"),
        ("ssh-ng://LOCALHOST?x=1", "this machine"),
        ("ssh://root@localhost", "this machine"),
        ("ssh://-oProxyCommand=x", "is not of ASCII"),
        ("ssh://bücher", "is not of ASCII"),
        ("ssh://web^1", "is not of ASCII"),
        ("ssh://a%41", "is not of ASCII"),
        ("ssh://a b", "a blank"),
        ("ssh://portico/nix", "behind the host"),
        ("ssh://portico/", "behind the host"),
        ("ssh://portico#x", "behind the host"),
        ("ssh://::1", "in brackets"),
        ("ssh://-x@portico", "the user '-x'"),
        ("ssh://ci:hunter2@portico", "a password"),
        ("SSH://portico", "did you mean ssh://?"),
        ("shs://portico", "did you mean ssh://?"),
        ("ftp://portico", "stores are reached by ssh, ssh-ng"),
        ("portico", "write ssh://portico"),
        ("root@portico", "it is not a URL"),
        ("file://cache", "no absolute path"),
        ("file:cache", "it is not a URL"),
        ("https://", "names no host"),
        ("https://cache.example:x", "makes no sense"),
        ("s3://?region=eu", "names no bucket"),
        ("ssh://a\\nb", "control character"),
    ],
)
def test_a_store_that_cannot_be_is_refused_at_load(tmp_path: Path, url: str, why: str) -> None:
    """Cases 10 and 27, E3: with its place, and without its password."""
    (line,) = problems(tmp_path, host("web", f'\n store = "{url}";'))
    assert line.startswith("hive.nix:5: `store` of instance web cannot be reached by Nix: ")
    assert why in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        *("", "ssh://portico", "ssh-ng://deploy@portico:2222?compress=true", "ssh://[fe80::1]:22", "ssh://127.0.0.1"),
        *("ssh://relay?remote-store=local%3Froot%3D/srv/cache", "ssh://h?remote-program=nix-store --option x y"),
        *(
            "s3://cache?region=eu-west-1&endpoint=minio.example.com",
            "file:///mnt/cache",
            "/srv/cache",
            "auto",
            "daemon",
        ),
        *("https://ci:hunter2@cache.example:8443/x", "local?root=/srv/cache", "unix:///run/nix.sock"),
    ],
)
def test_a_store_that_can_be_is_taken(url: str) -> None:
    assert store_problem(url) == ""


def test_a_circle_of_jumps_is_refused_with_the_names_and_the_place(tmp_path: Path) -> None:
    """N1: OpenSSH would start itself without end."""
    two = [host("www-2", '\n ssh.ProxyJump = "www-3";'), host("www-3", 'ssh.ProxyJump = "www-2";')]
    (line,) = problems(tmp_path, *two)
    assert line == (
        "hive.nix:5: instance www-2 is reached through itself: www-2 → www-3 → www-2; take a `ssh.ProxyJump` out."
    )
    (line,) = problems(tmp_path, host("a", 'ssh.ProxyJump = "a";'))
    assert "a → a" in line
    chain = [
        host("a", 'ssh.proxyjump = "root@b:22,x";'),
        host("b", 'ssh.ProxyJump = "c";'),
        host("c", 'ssh.ProxyJump = "a";'),
    ]
    (line,) = problems(tmp_path, *chain, host("d", 'ssh.ProxyJump = "a";'))
    assert "a → b → c → a" in line


def test_a_circle_of_relays_is_refused_with_the_names_and_the_place(tmp_path: Path) -> None:
    two = [host("www-2", '\n store = "ssh://www-3";'), host("www-3", 'store = "ssh://root@www-2";')]
    (line,) = problems(tmp_path, *two)
    assert line == "hive.nix:5: instance www-2 reads from itself: www-2 → www-3 → www-2; take a `store` of these out."
    # One that is its own relay reads from nobody.
    assert warnings(tmp_path, host("a", 'store = "ssh://a";'), host("b", 'store = "ssh://a";')) == ()


def test_chains_and_stars_are_no_circles(tmp_path: Path) -> None:
    hosts = [host("gate"), host("portico", 'ssh.ProxyJump = "gate";'), host("www", 'ssh.ProxyJump = "portico";')]
    assert warnings(tmp_path, *hosts, host("db", 'ssh.ProxyJump = "gate,portico";')) == ()


def test_a_way_has_the_ways_of_its_jumps() -> None:
    jumps = {"www": ("portico", "inner"), "portico": ("gate",), "inner": ("elsewhere",), "x": ("y",), "y": ("x",)}
    assert way_to("www", lambda name: jumps.get(name, ())) == ("gate", "portico", "inner")
    with pytest.raises(Circle, match="x → y → x"):
        way_to("x", lambda name: jumps.get(name, ()))
    with pytest.raises(Circle):  # never an end, never the same name
        way_to("0", lambda name: (f"{name}0",))
    assert circles(jumps) == [("x", "y", "x")]


def test_two_instances_at_one_address_are_warned_of(tmp_path: Path) -> None:
    """N5."""
    at = 'ssh.Hostname = "198.19.1.4";'
    (line,) = warnings(
        tmp_path, host("www-3", at), host("twin", 'ssh = { hostname = "198.19.1.4."; Port = 22; };', "db")
    )
    assert line == "twin and www-3 are one host, 198.19.1.4 port 22: each deploy of one undoes the other."
    (line,) = warnings(tmp_path, host("www-3", at), host("198.19.1.4"))
    assert line == "198.19.1.4 and www-3 are one host, 198.19.1.4 port 22: take all but one of them out."
    other_ways = [host("a", at), host("b", f"{at} ssh.Port = 23;"), host("c", f'{at} ssh.ProxyJump = "a";')]
    assert warnings(tmp_path, *other_ways, host("d", f'{at} ssh.ProxyCommand = "nc %h %p";')) == ()


def test_a_jump_that_is_spelled_in_another_case_is_warned_of(tmp_path: Path) -> None:
    (line,) = warnings(tmp_path, host("portico"), host("www", 'ssh.ProxyJump = "Portico";'))
    assert line.startswith("www is reached through Portico, which is not instance portico")


def test_of_several_values_ssh_takes_the_first(tmp_path: Path) -> None:
    """N6: the order of a wave must not be that of another jump than ssh's."""
    assert own_jumps((("ProxyJump", ("a", "b")),)) == ("a",)
    (line,) = warnings(tmp_path, host("www", 'ssh.ProxyJump = [ "a" "b" ];'))
    assert 'for a chain write "a,b"' in line


def test_hops_are_read_as_ssh_does() -> None:
    assert read_hops("ann@dom@first:2200,[fd00::1]:22,ssh://third/") == (
        Hop("first", "ann@dom", "2200"),
        Hop("fd00::1", "", "22"),
        Hop("third"),
    )
    with pytest.raises(MalformedJump):
        read_hops("a,,b")
    assert jump_problem("a,b") == name_problem("a") == ""
