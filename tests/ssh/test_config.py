"""What we render is what OpenSSH reads."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.deployment.ways import Hop
from nixhive_nb.errors import ConnectionFailed, OptionError
from nixhive_nb.ssh.config import nix_ssh_opts, private_folder, remove_folder, render_config, write_ssh_files
from nixhive_nb.ssh.resolve import Resolver, parse

pytestmark = pytest.mark.nix

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIADiemeBdCy3EI6V4fvGtVrf3DYPYxPtr15aHWZ8IZjf"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBBBemeBdCy3EI6V4fvGtVrf3DYPYxPtr15aHWZ8IZjf"


def fleet(**instances):
    return Inventory(
        source="hive.nix",
        instances={
            name: Instance(
                name=name,
                system="s",
                ssh=tuple((option, values) for option, values in ssh.items()),
                host_keys=keys,
            )
            for name, (ssh, keys) in instances.items()
        },
    )


def effective(config: Path, host: str) -> dict[str, list[str]]:
    """What `ssh -G` says, by keyword in lower case."""
    done = subprocess.run(["ssh", "-F", str(config), "-G", "--", host], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def test_openssh_reads_the_inventory_back(tmp_path):
    inventory = fleet(
        portico=({"Hostname": ("203.0.113.5",), "IdentityFile": ("/k/one", "/k/two"), "User": ("deploy",)}, ()),
        web=({"Hostname": ("fd00::5",), "Port": ("2222",), "ProxyJump": ("portico",), "Compression": ("yes",)}, ()),
        quoted=({"IdentityFile": ('"/k/with blank"',), "SetEnv": ("A=1",)}, ()),
    )
    files = write_ssh_files(inventory, tmp_path / "ssh", user_files=[])
    for config in (files.config, files.batch):
        portico = effective(config, "portico")
        assert portico["hostname"] == ["203.0.113.5"]
        assert portico["identityfile"] == ["/k/one", "/k/two"]
        assert portico["user"] == ["deploy"]
        web = effective(config, "web")
        assert (web["hostname"], web["port"]) == (["fd00::5"], ["2222"])
        assert (web["proxyjump"], web["compression"]) == (["portico"], ["yes"])
        assert effective(config, "quoted")["identityfile"] == ["/k/with blank"]


def test_instances_without_options_and_keys_get_no_block(tmp_path):
    assert render_config(fleet(bare=({}, ())), tmp_path / "k", user_files=[]) == ""


def test_the_users_own_files_are_extended(tmp_path):
    own = tmp_path / "own config"
    own.write_text("Host web\n  User fromuser\n  Port 1111\nHost elsewhere\n  Port 4444\nHost *\n  Compression yes\n")
    system = tmp_path / "system"
    system.write_text("ServerAliveCountMax 9\n")
    inventory = fleet(web=({"Port": ("2222",)}, ()), last=({"Port": ("3333",)}, ()))
    files = write_ssh_files(inventory, tmp_path / "ssh", user_files=[own, system, tmp_path / "missing"])
    for config in (files.config, files.batch):
        web = effective(config, "web")
        assert web["port"] == ["2222"], "the deployment's value comes first"
        assert web["user"] == ["fromuser"]
        # Without `Match all`, an Include after a Host block would be read for that host alone.
        assert effective(config, "elsewhere")["port"] == ["4444"]
        assert effective(config, "other")["compression"] == ["yes"]
        assert effective(config, "web")["serveralivecountmax"] == ["9"]


def test_keys_of_the_deployment_are_the_only_authority(tmp_path):
    inventory = fleet(
        web=({"StrictHostKeyChecking": ("no",), "UserKnownHostsFile": ("/home/u/known",)}, (f"{KEY} c", OTHER)),
        alias=({"HostKeyAlias": ("cluster",)}, (KEY,)),
        open=({"UserKnownHostsFile": ("/home/u/known",)}, ()),
    )
    files = write_ssh_files(inventory, tmp_path / "100% ssh", user_files=[])
    web = effective(files.config, "web")
    assert web["stricthostkeychecking"] == ["true"]
    assert web["userknownhostsfile"] == [str(files.known_hosts)]
    assert web["globalknownhostsfile"] == ["/dev/null"]
    assert web["hostkeyalias"] == ["web"]
    assert effective(files.config, "alias")["hostkeyalias"] == ["cluster"]
    assert effective(files.config, "open")["userknownhostsfile"] == ["/home/u/known"]
    assert files.known_hosts.read_text() == f"web {KEY}\nweb {OTHER}\ncluster {KEY}\n"
    found = subprocess.run(["ssh-keygen", "-F", "web", "-f", str(files.known_hosts)], capture_output=True, check=False)
    assert found.returncode == 0


def test_batch_never_asks_and_shares_nothing(tmp_path):
    own = tmp_path / "own"
    own.write_text(
        "ControlMaster auto\nControlPath /tmp/cm-%C\nForwardAgent yes\nRequestTTY force\nRemoteCommand tmux\n"
        "StrictHostKeyChecking no\nLogLevel QUIET\n"
    )
    inventory = fleet(slow=({"ConnectTimeout": ("33",)}, ()), web=({"Port": ("22",), "BatchMode": ("no",)}, ()))
    files = write_ssh_files(inventory, tmp_path / "ssh", user_files=[own])
    web = effective(files.batch, "web")
    assert web["batchmode"] == ["yes"]
    assert web["stricthostkeychecking"] == ["true"]
    assert web["controlmaster"] == ["false"]
    assert "controlpath" not in web
    assert web["forwardagent"] == ["no"]
    assert "remotecommand" not in web
    assert web["loglevel"] == ["ERROR"]
    assert web["connecttimeout"] == ["10"]
    assert web["serveraliveinterval"] == ["15"]
    assert effective(files.batch, "slow")["connecttimeout"] == ["33"], "a deployment's own value wins"
    assert effective(files.config, "web")["remotecommand"] == ["tmux"], "a person keeps what they have"


def test_files_are_private_and_left_alone_when_nothing_changes(tmp_path):
    inventory = fleet(web=({"Port": ("22",)}, (KEY,)))
    files = write_ssh_files(inventory, tmp_path / "ssh", user_files=[])
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    before = {path: path.stat().st_ino for path in files.folder.iterdir()}
    assert len(before) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in before} == {0o600}
    write_ssh_files(inventory, tmp_path / "ssh", user_files=[])
    assert {path: path.stat().st_ino for path in files.folder.iterdir()} == before
    write_ssh_files(fleet(web=({"Port": ("23",)}, (KEY,))), tmp_path / "ssh", user_files=[])
    assert files.config.stat().st_ino != before[files.config]
    assert files.known_hosts.stat().st_ino == before[files.known_hosts]


def test_nix_gets_ours_in_front_of_the_users_own_options(tmp_path):
    files = write_ssh_files(fleet(), tmp_path / "ssh", user_files=[])
    ours = f"-F {files.batch} -o ControlMaster=no -o ControlPath=none"
    assert nix_ssh_opts(files) == ours
    assert nix_ssh_opts(files, "") == ours
    assert nix_ssh_opts(files, "-p 2222") == f"{ours} -p 2222"
    blank = write_ssh_files(fleet(), tmp_path / "a b", user_files=[])
    with pytest.raises(OptionError, match="blank"):
        nix_ssh_opts(blank)


def test_private_folder_is_short_and_has_no_blank(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 80)
    blank = tmp_path / "a b"
    for place in (long, blank):
        place.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
        monkeypatch.setattr("tempfile.tempdir", str(place))
        folder = private_folder()
        try:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert len(str(folder)) < 80
            assert " " not in str(folder)
        finally:
            remove_folder(folder)
        assert list(place.iterdir()) == []


# What `ssh -G` says, as values


def test_chains_of_jumps_in_the_order_of_the_way(tmp_path):
    inventory = fleet(
        deep=({"ProxyJump": ("ann@first:2200,[fd00::1]:22,third",)}, ()),
        none=({"ProxyJump": ("none",)}, ()),
        loop=({"Hostname": ("203.0.113.9",), "ProxyJump": ("loop",)}, ()),
    )
    resolve = Resolver(write_ssh_files(inventory, tmp_path / "ssh", user_files=[]).batch)
    deep = resolve("deep")
    assert deep.jumps == (Hop("first", "ann", "2200"), Hop("fd00::1", "", "22"), Hop("third"))
    assert deep.route == "ann@first:2200,[fd00::1]:22,third"
    assert resolve("none").jumps == ()
    with pytest.raises(ConnectionFailed, match="through itself"):
        resolve("loop")


def test_names_and_homes_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HIVE_KEYS", "/keys")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent.sock")
    inventory = fleet(
        web=(
            {
                "Hostname": ("%h.example",),
                "User": ("ann",),
                "Port": ("2200",),
                "IdentityFile": ("~/.ssh/%r-%p", "${HIVE_KEYS}/%h"),
                "ProxyCommand": ("nc %h %p $HOME 100%%",),
                "ConnectTimeout": ("2m",),
            },
            (KEY,),
        ),
        off=({"IdentityAgent": ("none",), "IdentitiesOnly": ("yes",), "ProxyCommand": ("none",)}, ()),
    )
    files = write_ssh_files(inventory, tmp_path / "ssh", user_files=[])
    web = Resolver(files.batch)("web")
    assert (web.hostname, web.port, web.user) == ("web.example", 2200, "ann")
    assert web.identity_files == (Path("~/.ssh/ann-2200").expanduser(), Path("/keys/web.example"))
    assert web.proxy_command == "nc web.example 2200 $HOME 100%"
    assert web.connect_timeout == 120
    assert web.agent == "/agent.sock"
    assert web.host_key_alias == "web"
    assert web.known_hosts[0] == files.known_hosts
    off = Resolver(files.batch)("off")
    assert (off.agent, off.identities_only, off.proxy_command) == ("", True, "")
    assert off.connect_timeout == 10


def test_a_configuration_that_ssh_refuses_is_a_clear_error(tmp_path):
    files = write_ssh_files(fleet(web=({"Prot": ("22",)}, ())), tmp_path / "ssh", user_files=[])
    with pytest.raises(ConnectionFailed, match=r"web: ssh cannot read its configuration: .*prot"):
        Resolver(files.batch)("web")


def test_a_known_hosts_file_with_a_blank_in_its_name(tmp_path):
    file = tmp_path / "known hosts"
    file.touch()
    assert parse("web", f"hostname web\nuserknownhostsfile {file}\n").known_hosts == (file,)
    assert parse("web", "userknownhostsfile /a /b\n").known_hosts == (Path("/a"), Path("/b"))
