"""What people have in their own ssh configuration: it does what it does for ssh, or breaks no word of ours."""

from __future__ import annotations

import json
import os
import socket

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import line_of, saw
from tests.practice import start

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

OPTIONS = {
    "RemoteCommand": "RemoteCommand tmux new -A",
    "RequestTTY": "RequestTTY force",
    "ControlMaster": "ControlMaster auto\n  ControlPath HOME/control-%C\n  ControlPersist yes",
    "ControlPath": "ControlPath HOME/nobody-%C",
    "LogLevel QUIET": "LogLevel QUIET",
    "LogLevel DEBUG3": "LogLevel DEBUG3",
    "LocalCommand": "PermitLocalCommand yes\n  LocalCommand touch HOME/local-command",
    "ForkAfterAuthentication": "ForkAfterAuthentication yes",
    "StdinNull": "StdinNull yes",
    "SessionType": "SessionType none",
    "EscapeChar": "EscapeChar a",
    "Tunnel": "Tunnel yes",
    "LocalForward": "LocalForward PORT localhost:22\n  ExitOnForwardFailure yes",
    "RemoteForward": "RemoteForward 22 localhost:22\n  ExitOnForwardFailure yes",
    "DynamicForward": "DynamicForward PORT\n  ExitOnForwardFailure yes",
    "CanonicalizeHostname": "CanonicalizeHostname always\n  CanonicalDomains example.invalid",
    "BatchMode": "BatchMode no\n  NumberOfPasswordPrompts 3",
    "SendEnv": "SendEnv LANG LC_*",
    "SetEnv": "SetEnv OWN=mine",
    "StrictHostKeyChecking": "StrictHostKeyChecking ask\n  UpdateHostKeys ask\n  VerifyHostKeyDNS ask",
    "VisualHostKey": "VisualHostKey yes",
    "AddKeysToAgent": "AddKeysToAgent ask",
    "Compression": "Compression yes",
    "RekeyLimit": "RekeyLimit 64K 1s",
    "ForwardX11": "ForwardX11 yes\n  ForwardX11Trusted yes\n  ForwardAgent yes",
    "IdentitiesOnly": "IdentityFile HOME/no-such-key\n  CertificateFile HOME/no-such-key-cert.pub",
    "ServerAlive": "ServerAliveInterval 0\n  ConnectTimeout 20\n  ConnectionAttempts 3\n  TCPKeepAlive no",
}
"""What stands below `Host` of an instance, by what it is called."""
HOSTS = {f"row-{number}": name for number, name in enumerate(OPTIONS, 1)}
JUMP = ("RemoteCommand", "RequestTTY", "ControlMaster", "StdinNull", "SessionType", "LocalForward", "LogLevel QUIET")
_HIVE = """
let lab = import ./lab.nix; in
{{
  paths.nixpkgs = lab.nixpkgs;
  signing.keyFile = lab.signingKeyFile;
  nix.build.flags = lab.buildFlags;
  systems.row.configuration = {{ ... }}: {{ environment.etc.row.text = "own options"; }};
  instances = {{
    portico = {{ system = "row"; inherit (lab.instances.portico) ssh hostKeys; }};
    depot = {{
      system = "row";
      ssh = {{ inherit (lab.instances.depot.ssh) Hostname; ProxyJump = "portico"; }};
      inherit (lab.instances.depot) hostKeys;
    }};
    {instances}
  }};
}}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet whose hosts are each below another option of the user's own. There is no relay: Nix copies by its ssh."""
    one = start(tmp_path_factory.mktemp("fleet"), web=0, specs=[HostSpec(name, "www") for name in HOSTS])
    instances = "\n    ".join(
        f'{name} = {{ tags = [ "rows" ]; system = "row"; inherit (lab.instances.{name}) hostKeys; '
        f'ssh = lab.instances.{name}.ssh // {{ ProxyJump = "portico"; }}; }};'
        for name in HOSTS
    )
    (one.example / "options.nix").write_text(_HIVE.format(instances=instances))
    for name in HOSTS:
        sshd = one.lab.root(name) / "etc" / "ssh" / "sshd_config"
        sshd.write_text(f"AcceptEnv OWN LANG\n{sshd.read_text()}")
        one.lab.exec(name, ["kill", "-HUP", "1"])
    sshd = one.lab.root("depot") / "etc" / "ssh" / "sshd_config"
    sshd.write_text(f"Port 2222\n{sshd.read_text()}")
    one.lab.exec("depot", ["kill", "-HUP", "1"])
    before, home = os.environ.get("HOME"), one.folder / "home"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        blocks = [f"Host {name}\n  {OPTIONS[option]}\n" for name, option in HOSTS.items()]
        blocks.append("Host portico\n" + "".join(f"  {OPTIONS[option]}\n" for option in JUMP))
        blocks.append("Match exec \"test '%n' = row-1\"\n  ServerAliveInterval 7\n")
        text = "".join(blocks).replace("HOME", str(home)).replace("PORT", str(taken.getsockname()[1]))
        (home / ".ssh" / "config").write_text(text)
        os.environ["HOME"], os.environ["LANG"] = str(home), "xx_XX"
        try:
            yield one
        finally:
            del os.environ["LANG"]
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before
            one.lab.down()


@pytest.fixture(scope="module")
def said(fleet):
    """Say each word once, to all hosts."""

    def nix_hive(command, *words):
        return fleet.nix_hive(command, "-c", "example/options.nix", *words)

    deployed = nix_hive("deploy", "@(rows)")
    ran = nix_hive("run", "--json", "@(rows)", "echo ${OWN-nothing} ${LANG-nothing}")
    asked = nix_hive("status", "--json", "@(rows)")
    return {
        "deploy": deployed.stderr,
        "run": {row["instance"]: row for row in json.loads(ran.stdout)},
        "status": {row["instance"]: row for row in json.loads(asked.stdout)},
    }


@pytest.mark.parametrize("host", HOSTS, ids=HOSTS.get)
def test_no_option_of_the_users_own_breaks_a_copy_or_a_command(host, said):
    deployed, ran = line_of(said["deploy"], host), said["run"][host]
    assert deployed == f"{host}: ✓ done", deployed
    assert f"fetch:{host}: done (from here" in said["deploy"]
    expected = "mine nothing" if HOSTS[host] == "SetEnv" else "nothing nothing"
    assert (ran["exit_code"], ran["stdout"].strip()) == (0, expected), ran
    assert said["status"][host]["state"] == "in sync"
    saw(f"~/.ssh/config says {HOSTS[host]}", "deploy (by a copy from here), run and status are done")


def test_nothing_is_done_here_that_only_a_persons_own_ssh_is_to_do(fleet, said):
    assert sorted(path.name for path in (fleet.folder / "home").iterdir()) == [".ssh"]


def test_the_variable_of_nix_leads_commands_and_copies_to_one_place(fleet, monkeypatch):
    """Case 31: port, user and key stand there alone."""
    words = ("deploy", "-c", "example/options.nix", "depot")
    assert fleet.nix_hive(*words).returncode == 1
    monkeypatch.setenv("NIX_SSHOPTS", f"-p 2222 -l root -i {fleet.lab.identity} -o IdentitiesOnly=yes")
    ended = fleet.nix_hive(*words)
    assert ended.returncode == 0, ended.stderr
    assert "fetch:depot: done (from here" in ended.stderr
    saw("port, user and key stand in NIX_SSHOPTS alone", line_of(ended.stderr, "depot"))


def test_a_variable_that_cannot_be_used_is_told_once(fleet, monkeypatch):
    monkeypatch.setenv("NIX_SSHOPTS", "-F /tmp/other")
    ended = fleet.nix_hive("run", "-c", "example/options.nix", "portico", "echo in")
    assert (ended.returncode, ended.stdout.strip()) == (0, "portico | in"), ended.stderr
    assert ended.stderr.count("NIX_SSHOPTS is not used: `-F`") == 1


def test_a_configuration_that_ssh_would_refuse_is_left_out_and_told(fleet, monkeypatch, tmp_path):
    """Case 6."""
    config = tmp_path / ".ssh" / "config"
    config.parent.mkdir()
    config.write_text("Host *\n  Port 9\n")
    config.chmod(0o666)
    monkeypatch.setenv("HOME", str(tmp_path))
    ended = fleet.nix_hive("run", "-c", "example/options.nix", "portico", "echo in")
    assert (ended.returncode, ended.stdout.strip()) == (0, "portico | in"), ended.stderr
    assert ended.stderr.count(f"{config} is left out of our ssh configuration: others may write to {config}") == 1
    saw(
        "others may write to ~/.ssh/config",
        "it is left out, with a warning that says how to mend it; hosts are reached as the deployment says",
    )
