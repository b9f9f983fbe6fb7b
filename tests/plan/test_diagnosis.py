"""What is amiss with a host, by what it says, and which lines are given for it."""

from __future__ import annotations

import shutil
import subprocess

import msgspec
import pytest

from nixhive_nb.plan.examined import KINDS, RelayTried, ThisMachine
from nixhive_nb.plan.facts import Wanted
from tests.plan.diagnoses import KEY, WAY, diagnosis, lost

CASES = {
    "no Nix": ("nix", "finds no Nix", "nix.enable = true;", {"nix": ""}),
    "an old Nix": ("nix", "Its Nix is 2.3.16; 2.8 or newer", "nix.package", {"nix": "2.3.16"}),
    "sudo that asks": (
        "root",
        "a password is required",
        "NOPASSWD",
        {"power": 1, "power_said": "sudo: a password is required"},
    ),
    "a terminal that is wanted": (
        "root",
        "have a tty",
        "!requiretty",
        {"power": 1, "power_said": "sudo: sorry, you must have a tty to run sudo"},
    ),
    "no way to root": (
        "root",
        '`elevate` is "none"',
        'instances.www-1.elevate = "sudo";',
        {"power": None, "elevate": ()},
    ),
    "sudo that is not there": (
        "root",
        "by `sudo -n`: No such file or directory.",
        "security.sudo.enable = true;",
        {"power": 127, "power_said": "timeout: failed to run command 'sudo': No such file or directory"},
    ),
    "sudo to another user": ("root", "not as root", "security.sudo", {"power": 65}),
    "doas": ("root", "by `doas -n`", "noPass = true;", {"power": 1, "elevate": ("doas", "-n", "--")}),
    "run0": (
        "root",
        "by `run0 --no-ask-password`",
        'subject.user == "deploy"',
        {"power": 1, "elevate": ("run0", "--no-ask-password", "--")},
    ),
    "a key that is not trusted": (
        "trust",
        "trusts neither",
        f'[ "{KEY}" ]',
        {"settings": {"trusted-public-keys": "x"}},
    ),
    "nothing signed": ("trust", "nothing is signed", "signing.keyFile", {"here": ThisMachine()}),
    "a key that cannot be read": (
        "trust",
        "No such file",
        "signing.keyFile",
        {"here": ThisMachine(key_problem="No such file.")},
    ),
    "a relay out of reach": (
        "relay",
        "timed out",
        "allowedTCPPorts",
        {"relay": RelayTried(is_reached=False, said="ssh: connect to host portico port 22: Connection timed out")},
    ),
    "a relay that refuses": (
        "relay",
        "Permission denied",
        "nix.sshServe",
        {"relay": RelayTried(is_reached=False, said="nix-ssh@portico: Permission denied (publickey).")},
    ),
    "a relay with another key": (
        "relay",
        "Host key",
        "programs.ssh.knownHosts",
        {"relay": RelayTried(is_reached=False, said="Host key verification failed.")},
    ),
    "a relay without address": (
        "relay",
        "resolve",
        "Hostname 192.0.2.1",
        {"relay": RelayTried(is_reached=False, said="ssh: Could not resolve hostname portico")},
    ),
    "no substituter": ("relay", "not among the substituters", 'substituters = [ "ssh://portico" ]', {"takes_from": ""}),
    "a full store": ("store", "10.0 MB free", "nix-collect-garbage", {"lacks": 10_000_001}),
    "a full /boot": ("boot", "/boot has 5.0 MB free", "configurationLimit", {"boot_needs": 5_000_001}),
    "another platform": (
        "platform",
        "runs aarch64-linux",
        'systems.www.system = "aarch64-linux";',
        {"facts": {"runs": ("aarch64-linux",)}},
    ),
    "nobody who builds": ("build", "Nobody builds", "--builders", {"builds": ""}),
    "no systemd": ("systemd", "systemd does not run", "systemd-nspawn --boot", {"facts": {"failed_units": None}}),
    "a system that is broken": ("system", "syntax error", "", {"wanted": Wanted(system="www", error="syntax error")}),
}


def test_a_host_that_lacks_nothing_has_no_shortcoming():
    one = diagnosis()
    assert one.ok
    assert (one.trust, one.is_signed, one.is_allowed, one.root_by, one.asks) == ("signature", True, True, "sudo", False)


@pytest.mark.parametrize(("kind", "text", "line", "changed"), CASES.values(), ids=CASES)
def test_a_shortcoming_is_told_with_its_lines(kind, text, line, changed):
    one = diagnosis(**changed)
    found = {shortcoming.kind: shortcoming for shortcoming in one.shortcomings}
    assert set(found) == {kind}
    assert text in found[kind].text
    assert line in "\n".join(found[kind].lines)
    assert not found[kind].lines or found[kind].lines[0].startswith("# ")


@pytest.mark.parametrize(
    ("changed", "trust"),
    [
        ({"facts": {"root": True}}, "root"),
        ({"names": ("deploy", "@wheel")}, "trusted user"),
        ({"settings": {"trusted-users": "*"}}, "trusted user"),
        ({"settings": {"require-sigs": "false", "trusted-public-keys": ""}}, "unsigned"),
        ({"settings": {"trusted-public-keys": ""}}, "nothing"),
        ({"nix": ""}, ""),
    ],
)
def test_why_a_push_is_taken(changed, trust):
    assert diagnosis(**changed).trust == trust


UNREACHED = {
    "another host key": (
        (
            "host key of www-1 (192.0.2.1:22) is SHA256:x (ssh-ed25519), which is not known. Nothing was sent. If it "
            'is right, add to instances.www-1.hostKeys in the deployment: "ssh-ed25519 AAAAC3"'
        ),
        'instances.www-1.hostKeys = [ "ssh-ed25519 AAAAC3" ];',
    ),
    "a key with a passphrase": (
        "www-1 (192.0.2.1:22): the login of user deploy was refused. /home/me/id has a passphrase: add it to ssh-agent",
        "ssh-add /home/me/id",
    ),
    "no key": ("www-1: the login of user deploy was refused. There was no key to try: name one", "ssh.IdentityFile"),
    "a login that is refused": (
        "www-1: the login of user deploy was refused. Keys tried: /id.",
        'users.users.deploy.openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA" ];',
    ),
    "a jump host that is off": (
        "www-1 is behind a jump host that cannot be used: portico: Connection refused",
        "nix-hive doctor portico",
    ),
    "no such name": ("www-1: there is no address for the name w.example.", "instances.www-1.ssh.Hostname"),
    "nobody listens": ("www-1 (192.0.2.1:22) refuses the connection: no ssh server", "services.openssh"),
    "no answer": ("www-1 (192.0.2.1:22) did not answer within 10 s.", "services.openssh"),
    "another command": (
        "www-1 cannot be asked: its login runs something else than the commands that are sent, and said nothing",
        "users.users.deploy.shell",
    ),
    "no algorithm": ("www-1 and this machine have no algorithm in common: kex", 'instances.www-1.carrier = "openssh";'),
    "a mistake in ssh_config": ("www-1: ssh cannot read its configuration: Bad owner", "~/.ssh/config"),
    "anything else": ("www-1: an odd thing", "nix-hive ssh -v www-1"),
}


@pytest.mark.parametrize(("error", "line"), UNREACHED.values(), ids=UNREACHED)
def test_a_host_that_was_not_reached_has_lines_that_would_help(error, line):
    (one,) = lost(error).shortcomings
    assert (one.kind, one.text.rstrip(".")) == ("reach", error.rstrip("."))
    assert line in "\n".join(one.lines)


def test_a_certificate_that_has_ended_is_renewed_before_anything_else_is_tried():
    one = lost("www-1: the login of user deploy was refused.", expired=(("/k/my id-cert.pub", "2026-11-28 05:01"),))
    assert one.shortcomings[0].lines[1:] == (
        "# /k/my id-cert.pub was valid until 2026-11-28 05:01",
        "ssh-keygen -s CA_KEY -I deploy -n deploy -V +1d '/k/my id.pub'",
    )


@pytest.mark.nix
@pytest.mark.skipif(not shutil.which("nix-instantiate"), reason="needs Nix")
@pytest.mark.parametrize("odd", ['we"b', "we''b", "web${x}", "wéb\\", "www-1"])
def test_lines_of_nix_are_nix_whatever_a_name_holds(odd):
    """A name of the deployment cannot end its string and begin something else."""
    way = msgspec.structs.replace(WAY, user=odd)
    found = [
        *lost("www-1: the login of user deploy was refused. Keys tried: /id.", name=odd, user=odd).shortcomings,
        *diagnosis(odd, power=1, power_said="sudo: must have a tty", way=way).shortcomings,
        *diagnosis(odd, power=1, elevate=("run0",), way=way).shortcomings,
        *diagnosis(odd, power=None, elevate=()).shortcomings,
    ]
    for one in found:
        for group in "\n".join(one.lines).split("# ")[1:]:
            lines = group.partition("\n")[2]
            argv = ["nix-instantiate", "--parse", "-E", f"{{ {lines} }}"]
            told = subprocess.run(argv, capture_output=True, text=True, check=False)
            assert told.returncode == 0, f"{lines}\n{told.stderr}"


def test_a_substituter_that_may_be_the_relay_by_another_name_is_no_shortcoming():
    one = diagnosis(takes_from="", takes_other="ssh://10.0.0.1")
    assert one.ok
    assert one.is_allowed is None


def test_each_kind_stands_in_the_list_of_kinds():
    assert {kind for kind, *_ in CASES.values()} | {"reach", "clock"} == set(KINDS)
