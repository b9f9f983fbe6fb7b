"""Jumps that only the user's own ssh configuration knows (N6), and circles that it makes (N1)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.plan.routes import login_locks, relies_on
from nixhive_nb.ssh import routing
from nixhive_nb.ssh.config import write_ssh_files
from nixhive_nb.ssh.resolve import Resolver, parse
from nixhive_nb.ssh.routing import changes_ways, routed
from tests.counting import counted
from tests.ssh.own import OF_SYSTEMD
from tests.sshd import descendants

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.nix

PORTICO = {"Hostname": ("198.19.1.2",)}


def fleet(**hosts: dict[str, tuple[str, ...]]) -> Inventory:
    instances = {
        name: Instance(name=name, system="s", ssh=tuple(options.items())) for name, options in sorted(hosts.items())
    }
    return Inventory(source="t", instances=instances)


def ways(folder: Path, own: str, inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return the jumps of each instance where the user's own configuration is `own`."""
    user = folder / "user"
    user.write_text(own)
    files = write_ssh_files(inventory, folder / "ssh", user_files=[user])
    found = routed(inventory, list(inventory.instances), Resolver(files.batch), files.extends)
    return {name: instance.hops for name, instance in found.instances.items()}


@pytest.mark.parametrize(
    "own",
    [
        "Host www-*\n  ProxyJump portico\n",
        "Host www-*\n  ProxyJump root@198.19.1.2:22\n",
        "Match host www-1\n  proxyjump=portico\n",
        "Host www-*\n  ProxyCommand ssh -q -W %h:%p portico\n",
        "Host www-*\n  ProxyCommand exec /usr/bin/ssh -p 22 root@198.19.1.2 nc %h %p\n",
        "Host www-*\n  ProxyJump edge\nHost edge\n  Hostname 198.19.1.2\n",
        "Host *\n  ProxyJump portico\nHost x\n",
    ],
)
def test_a_jump_of_the_users_own_is_one_that_others_rely_on(tmp_path: Path, own: str) -> None:
    """N6: however it is written, it is the instance that it leads through."""
    inventory = fleet(portico={**PORTICO, "ProxyJump": ("none",), "ProxyCommand": ("none",)}, **{"www-1": {}})
    assert ways(tmp_path, own, inventory) == {"portico": (), "www-1": ("portico",)}


def test_its_limits_are_those_of_a_jump_host(tmp_path: Path) -> None:
    """N6."""
    user = tmp_path / "user"
    user.write_text("Host www\n  ProxyJump portico\n")
    files = write_ssh_files(inventory := fleet(portico=PORTICO, www={}), tmp_path / "ssh", user_files=[user])
    www = routed(inventory, ["www"], Resolver(files.batch), files.extends).instances["www"]
    assert login_locks(www) == ("all", "jump:portico")
    assert relies_on(www) == {"portico"}
    assert "jump:portico" not in login_locks(inventory.instances["www"])


def test_the_way_to_a_jump_host_is_a_part_of_the_way(tmp_path: Path) -> None:
    inventory = fleet(gate={"Hostname": ("g",)}, portico={"Hostname": ("p",)}, www={"ProxyJump": ("portico",)})
    own = "Host portico\n  ProxyJump gate\n"
    assert ways(tmp_path, own, inventory) == {"gate": (), "portico": ("gate",), "www": ("gate", "portico")}
    chained = fleet(gate={}, portico={"ProxyJump": ("gate",)}, www={"ProxyJump": ("portico",)})
    assert ways(tmp_path, "Compression yes\n", chained)["www"] == ("gate", "portico")


def test_none_of_the_deployment_wins_and_what_cannot_be_told_stays(tmp_path: Path) -> None:
    own = "Host *\n  ProxyJump portico\n"
    inventory = fleet(portico={"ProxyJump": ("none",)}, direct={"ProxyJump": ("none",)}, www={"ProxyJump": ("gate",)})
    # gate is reached through portico, by the user's own file; the deployment's hosts as they say.
    assert ways(tmp_path, own, inventory) == {"direct": (), "portico": (), "www": ("portico", "gate")}
    circle = ways(tmp_path, "Host *\n  ProxyJump portico\n", fleet(portico={}, www={}))
    assert circle == {"portico": (), "www": ()}


def test_ssh_is_not_asked_where_the_deployment_says_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand hosts would be a thousand processes before a list is shown."""
    monkeypatch.setenv("PATH", "/nowhere")
    inventory = fleet(portico=PORTICO, www={"ProxyJump": ("198.19.1.2",)})
    own = f"# ProxyJump portico\nHost *\n  SendEnv LANG\n  Compression yes\n{OF_SYSTEMD}"
    assert ways(tmp_path, own, inventory) == {"portico": (), "www": ("portico",)}


def test_an_included_file_can_change_a_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh" / "conf.d").mkdir(parents=True)
    config, other = tmp_path / "config", tmp_path / ".ssh" / "conf.d" / "x.conf"
    config.write_text("Include conf.d/*.conf\n")
    other.write_text("User ann\n")
    assert not changes_ways([config], ["x"])
    other.write_text("Host x\n  proxyJump=y\n")
    assert changes_ways([config], ["w", "x"])
    assert not changes_ways([config], ["w", "z"])
    config.write_text("Include conf.d/*.conf\nPort 3\n")
    assert changes_ways([config], ["w"]), "what stands behind an include is no part of its last block"
    other.write_text("Match host x\n  ProxyJump y\n")
    assert changes_ways([config], ["w"])
    other.write_text(f"Include {other}\n")
    assert changes_ways([config], ["w"]), "a circle of includes: ssh is asked"
    assert changes_ways([tmp_path / "unreadable"], ["w"])


def test_a_block_for_a_jump_host_alone_changes_the_way_of_who_is_behind_it(tmp_path: Path) -> None:
    inventory = fleet(www={"ProxyJump": ("gate",)})
    assert ways(tmp_path, "Host gate\n  ProxyJump outer\n", inventory) == {"www": ("outer", "gate")}


@pytest.mark.parametrize(
    ("command", "host"),
    [
        ("ssh -W %h:%p portico", ("portico",)),
        ("exec ssh -o BatchMode=yes -W [%h]:%p -- me@portico", ("portico",)),
        ("nc %h %p", ()),
        ("sh -c 'ssh x nc y'", ()),
        ("ssh '", ()),
    ],
)
def test_the_host_of_a_proxy_command(command: str, host: tuple[str, ...]) -> None:
    assert parse("web", f"hostname h\nproxycommand {command}\n").through == host


@pytest.mark.parametrize(
    "own",
    [
        "Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n",
        "Host a\n  ProxyJump b\nHost b\n  ProxyCommand ssh -W %h:%p a\n",
        "Host *\n  ProxyCommand ssh -W %h:%p b\n",
        "Host *\n  ProxyJump b\n",
    ],
)
def test_a_circle_of_the_users_own_starts_no_ssh(site, tmp_path: Path, own: str) -> None:
    """N1: OpenSSH starts itself without end; before, 781 of them in ten seconds."""
    user = tmp_path / "user"
    user.write_text(own)
    before = descendants(os.getpid())
    inventory, files = site.files(Instance(name="a", system="s"), user_files=[user])
    connections = site.connect(*inventory.instances.values(), user_files=[user])
    for _ in range(2):
        with pytest.raises(ConnectionFailed, match="through itself"):
            connections.run("a", "true")
    assert not [pid for pid in descendants(os.getpid()) if _is_ssh(pid) and pid not in before]
    # What a person has mended meanwhile is read anew.
    resolve = Resolver(files.batch)
    with pytest.raises(ConnectionFailed, match="through itself"):
        resolve.way("a")
    user.write_text("Compression yes\n")
    assert resolve.way("a") == ()


def _is_ssh(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm") as file:  # noqa: PTH123
            return file.read().strip() == "ssh"
    except OSError:
        return False


def test_each_address_is_read_once_however_many_instances_are_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = counted(monkeypatch, routing, "own_address")
    hosts = {f"www-{number}": {"ProxyJump": ("198.19.1.2",)} for number in range(30)}
    found = ways(tmp_path, "", fleet(portico=PORTICO, **hosts))
    assert found["www-7"] == ("portico",)
    assert len(addresses) == 31
