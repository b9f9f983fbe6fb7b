"""What we render is what OpenSSH reads."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.deployment.ways import Hop
from nixhive_nb.errors import ConnectionFailed, OptionError
from nixhive_nb.ssh.config import (
    default_user_files,
    nix_ssh_opts,
    private_folder,
    remove_folder,
    render_config,
    restore,
    write_ssh_files,
)
from nixhive_nb.ssh.resolve import Resolver, parse
from nixhive_nb.workspace import WayToHosts

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


def test_what_a_newer_ssh_knows_is_undone_though_ours_may_be_too_old_for_it(tmp_path):
    """`ChannelTimeout` ends a copy that rests. An ssh that is too old for it passes over what `IgnoreUnknown` names."""
    own = tmp_path / "own"
    own.write_text("IgnoreUnknown UseKeychain,ChannelTimeout\nUseKeychain yes\nHost *\n  ChannelTimeout *=1s\n")
    files = write_ssh_files(fleet(web=({"Port": ("2222",)}, ())), tmp_path / "ssh", user_files=[own])
    web = effective(files.batch, "web")
    assert web["port"] == ["2222"]
    assert web.get("channeltimeout", ["none"]) == ["none"]
    own.write_text("Host *\n  Compression yes\n")
    files = write_ssh_files(fleet(web=({"Port": ("2222",)}, ())), tmp_path / "ssh", user_files=[own])
    assert "ChannelTimeout" not in files.batch.read_text()


def test_a_host_is_looked_up_as_one_that_runs_a_command(tmp_path):
    own = tmp_path / "own"
    own.write_text("Match sessiontype exec\n  User runner\nMatch sessiontype shell\n  User person\n")
    files = write_ssh_files(fleet(web=({"Port": ("2222",)}, ())), tmp_path / "ssh", user_files=[own])
    asked = subprocess.run(["ssh", "-F", str(own), "-G", "web"], capture_output=True, check=False)
    if asked.returncode:
        pytest.skip("this ssh tells no kinds of sessions apart")
    assert Resolver(files.batch)("web").user == "runner"


def test_the_home_folder_is_that_which_ssh_takes_whatever_home_says(tmp_path, monkeypatch):
    """CI gives jobs a HOME of their own: ssh, and so a copy by Nix, does not look there for keys."""
    home = pwd.getpwuid(os.getuid()).pw_dir
    web = {"IdentityFile": ("~/key", "%d/other"), "UserKnownHostsFile": ("~/known",), "IdentityAgent": ("~/agent",)}
    files = write_ssh_files(fleet(web=(web, ())), tmp_path / "ssh", user_files=[])
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    target = Resolver(files.batch)("web")
    assert target.identity_files == (Path(home, "key"), Path(home, "other"))
    assert (target.known_hosts[0], target.agent) == (Path(home, "known"), f"{home}/agent")


def test_without_a_configuration_below_home_the_one_that_ssh_reads_is_extended(tmp_path, monkeypatch):
    theirs, ours = tmp_path / "passwd-home", tmp_path / "home"
    monkeypatch.setattr("nixhive_nb.ssh.config.home", lambda: str(theirs))
    monkeypatch.setenv("HOME", str(ours))
    for folder in (theirs, ours):
        (folder / ".ssh").mkdir(parents=True)
        (folder / ".ssh" / "config").touch()
    assert default_user_files()[0] == ours / ".ssh" / "config"
    (ours / ".ssh" / "config").unlink()
    assert default_user_files()[0] == theirs / ".ssh" / "config"


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


def test_nix_gets_our_configuration(tmp_path):
    files = write_ssh_files(fleet(), tmp_path / "ssh", user_files=[])
    ours = f"-F {files.batch} -o ControlMaster=no -o ControlPath=none"
    assert nix_ssh_opts(files) == ours
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


def environment(tmp_path, monkeypatch, words, **instances):
    monkeypatch.setenv("NIX_SSHOPTS", words)
    return write_ssh_files(fleet(**instances), tmp_path / "ssh", user_files=[])


def test_the_variable_of_nix_counts_for_commands_as_for_copies(tmp_path, monkeypatch):
    """Case 31: it was for copies alone, where it won over the deployment."""
    own = {"Port": ("22",), "IdentityFile": ("/k/own",)}
    words = "-p 2222 -i /k/one -o IdentityFile=/k/two -oCompression=yes -o 'ServerAliveInterval 7'"
    files = environment(tmp_path, monkeypatch, words, own=(own, ()), bare=({}, ()))
    assert not files.warnings
    bare, own = effective(files.batch, "bare"), effective(files.batch, "own")
    assert (bare["port"], bare["identityfile"], bare["compression"]) == (["2222"], ["/k/one", "/k/two"], ["yes"])
    assert bare["serveraliveinterval"] == ["7"]
    assert own["port"] == ["22"], "what the deployment says comes first"
    assert own["identityfile"][0] == "/k/own"
    assert effective(files.batch, "bare")["batchmode"] == ["yes"]
    assert "2222" not in nix_ssh_opts(files)


@pytest.mark.parametrize("words", ["-F /tmp/other", "-W a:22", "web", "-p", "-o Nonsense", "'"])
def test_what_no_host_can_have_of_the_variable_is_told_and_left_out(tmp_path, monkeypatch, words):
    files = environment(tmp_path, monkeypatch, words, web=({}, ()))
    (line,) = files.warnings
    assert line.startswith("NIX_SSHOPTS is not used: ")
    assert effective(files.batch, "web")["port"] == ["22"]


def test_the_variable_cannot_weaken_what_programs_need(tmp_path, monkeypatch):
    words = "-o StrictHostKeyChecking=no -o BatchMode=no -o ControlMaster=auto -S /tmp/c -q"
    web = effective(environment(tmp_path, monkeypatch, words, web=({}, ())).batch, "web")
    assert web["stricthostkeychecking"] == ["true"]
    assert web["batchmode"] == ["yes"]
    assert web["controlmaster"] == ["false"]
    assert "controlpath" not in web
    assert web["loglevel"] == ["ERROR"]


# What of the user's own is left out


def extending(tmp_path, *files):
    return write_ssh_files(fleet(web=({}, ())), tmp_path / "ssh", user_files=list(files))


def test_a_file_that_others_may_write_is_left_out_with_a_warning(tmp_path):
    """Case 6: ssh refuses such a file where it is included, and all hosts were out of reach."""
    own, good = tmp_path / "own", tmp_path / "good"
    own.write_text("Port 2222\n")
    good.write_text("Compression yes\n")
    own.chmod(0o664)
    files = extending(tmp_path, own, good)
    assert files.warnings == (
        f"{own} is left out of our ssh configuration: others may write to {own}: `chmod go-w {own}`.",
    )
    web = effective(files.batch, "web")
    assert (web["port"], web["compression"]) == (["22"], ["yes"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_of_another_user_is_left_out_with_a_warning_wherever_it_is_included(tmp_path):
    """Case 6, of a file that the user's own one includes."""
    own, inner = tmp_path / "own", tmp_path / "conf.d" / "inner.conf"
    inner.parent.mkdir()
    inner.write_text("Port 2222\n")
    own.write_text(f"Host web\n  Include {tmp_path}/conf.d/*.conf\n")
    assert effective(extending(tmp_path, own).batch, "web")["port"] == ["2222"]
    os.chown(inner, 12345, -1)
    files = extending(tmp_path, own)
    (line,) = files.warnings
    assert f"{inner} belongs to user 12345" in line
    assert "chown" in line
    assert effective(files.batch, "web")["port"] == ["22"]


# The folder


def test_the_folder_is_made_anew_when_it_is_gone(tmp_path):
    """Case 14."""
    files = write_ssh_files(fleet(web=({"Port": ("2222",)}, (KEY,))), tmp_path / "ssh", user_files=[])
    before = {path.name: path.read_text() for path in files.folder.iterdir()}
    shutil.rmtree(files.folder)
    nix_ssh_opts(files)
    assert {path.name: path.read_text() for path in files.folder.iterdir()} == before
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    assert effective(files.batch, "web")["port"] == ["2222"]
    files.batch.unlink()
    Resolver(files.batch, restore=partial(restore, files))("web")
    assert files.batch.read_text() == before["batch"]


def test_a_folder_that_is_somebody_elses_by_now_is_not_taken(tmp_path):
    files = write_ssh_files(fleet(web=({}, ())), tmp_path / "ssh", user_files=[])
    shutil.rmtree(files.folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files.folder.symlink_to(elsewhere)
    with pytest.raises(ConnectionFailed, match="is gone and cannot be made anew"):
        restore(files)
    assert list(elsewhere.iterdir()) == []


def test_where_the_folder_cannot_be_made_anew_there_is_another(tmp_path, monkeypatch):
    """Case 14: what was below XDG_RUNTIME_DIR went with the login."""
    runtime = Path(tempfile.mkdtemp(prefix="hive-t"))  # its name has to be short
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    inventory = fleet(web=({"Port": ("2222",)}, ()))
    way = WayToHosts()
    first = way.access(inventory, print)
    assert way.access(inventory, print) is first
    shutil.rmtree(first.files.folder)
    assert way.access(inventory, print) is first
    assert first.files.batch.exists()
    shutil.rmtree(runtime)
    second = way.access(inventory, print)
    assert second.files.folder != first.files.folder
    assert second.resolve("web").port == 2222
    way.close()
