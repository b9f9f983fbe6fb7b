"""The right host, and only that: what names, jumps, logins and kernels of a real fleet could be taken for."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.fleet.faults import line_of, saw
from tests.practice import start

pytestmark = pytest.mark.fleet

WELCOME = "Please login as the user admin rather than root."


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A deployed fleet with one web server."""
    one = start(tmp_path_factory.mktemp("fleet"), web=1)
    ended = one.nix_hive("deploy", "-c", "example", "portico", "*")
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def edited(fleet):
    """Change the deployment by pairs of old and new text; afterwards it is as it was."""
    file = fleet.example / "default.nix"
    text = file.read_text()

    def edit(*changes):
        changed = text
        for old, new in changes:
            assert old in changed
            changed = changed.replace(old, new, 1)
        file.write_text(changed)

    yield edit
    file.write_text(text)


@pytest.fixture
def forced(fleet):
    """Have each login on www-1 run another command; afterwards it is as it was."""
    place = "/root/.ssh/authorized_keys"
    keys = fleet.lab.exec("www-1", ["cat", place])

    def force(command):
        text = "".join(f'command="{command}" {line}\n' for line in keys.splitlines())
        fleet.lab.exec("www-1", ["sh", "-c", f"cat > {place} <<'END'\n{text}END"])

    yield force
    fleet.lab.exec("www-1", ["sh", "-c", f"cat > {place} <<'END'\n{keys}END"])


def instance(text):
    return ("// builtins.listToAttrs (", f"// {{ {text} }} // builtins.listToAttrs (")


def test_a_name_with_a_user_is_refused_and_nobody_is_asked(fleet, edited):
    """Case 11: `deploy root@web` changed the host of the instance `web`."""
    edited(instance('"root@depot" = inner "www-1" "www" [ ];'))
    ended = fleet.nix_hive("deploy", "-c", "example", "root@depot")
    assert ended.returncode == 1
    assert re.search(r"default\.nix:\d+: an instance cannot be named 'root@depot'.*`ssh\.User`", ended.stderr)
    saw("an instance is named root@depot", ended.stderr.strip().splitlines()[-1].removeprefix("nix-hive: "))


def test_a_circle_of_jumps_is_refused_and_starts_no_ssh(fleet, edited):
    """N1."""
    edited(
        instance(
            'a = inner "a" "www" [ ] // { ssh.ProxyJump = "b"; }; b = inner "b" "www" [ ] // { ssh.ProxyJump = "a"; };'
        )
    )
    ended = fleet.nix_hive("run", "-c", "example", "a", "true")
    assert ended.returncode == 1
    assert re.search(r"default\.nix:\d+: instance a is reached through itself: a → b → a", ended.stderr)
    saw("two instances jump through each other", ended.stderr.strip().splitlines()[-1].removeprefix("nix-hive: "))


@pytest.mark.parametrize("status", [0, 142])
def test_a_login_that_runs_something_else_cannot_be_asked(fleet, forced, status):
    """Case 16: it was "never deployed", "unchanged" and "not a NixOS system"."""
    runs = fleet.runs("www-1")
    forced(f"echo {WELCOME}; exit {status}")
    asked = fleet.nix_hive("status", "-c", "example", "www-1", "--json")
    (row,) = json.loads(asked.stdout)
    assert row["state"] == "unreachable"
    assert (
        f"www-1 cannot be asked: its login runs something else than the commands that are sent, and said '{WELCOME}'"
        in row["error"]
    )
    pushed = fleet.nix_hive("push", "-c", "example", "www-1")
    deployed = fleet.nix_hive("deploy", "-c", "example", "www-1")
    rebooted = fleet.nix_hive("reboot", "-c", "example", "www-1")
    for ended in (pushed, deployed, rebooted):
        assert ended.returncode == 1
        assert "cannot be asked" in ended.stderr
        assert WELCOME in ended.stderr
        for wrong in ("unchanged", "never deployed", "not a NixOS system", "did not come back", "present"):
            assert wrong not in ended.stderr.partition("www-1  ")[2]
    listed = fleet.nix_hive("generations", "-c", "example", "www-1", "--json")
    assert "cannot be asked" in json.loads(listed.stdout)[0]["error"]
    assert fleet.runs("www-1") == runs
    if not status:
        saw("the login runs a forced command that ends with 0", line_of(deployed.stderr, "www-1"))


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_an_account_that_cannot_log_in_cannot_be_asked(fleet, shell):
    """Case 16."""
    fleet.lab.exec("www-1", ["sed", "-i", f"s,^root:.*,root:x:0:0:root:/root:{shell},", "/etc/passwd"])
    try:
        ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    finally:
        fleet.lab.exec("www-1", ["sed", "-i", "s,^root:.*,root:x:0:0:root:/root:/bin/sh,", "/etc/passwd"])
    assert ended.returncode == 1
    assert "www-1 cannot be asked" in ended.stderr
    if shell.endswith("nologin"):
        assert "This account is currently not available" in ended.stderr
        saw("the account may not log in (nologin)", line_of(ended.stderr, "www-1"))


@pytest.mark.parametrize("shell", ["/bin/tcsh", "/usr/bin/fish", "/bin/zsh", "/bin/bash"])
def test_an_activation_goes_by_every_login_shell(fleet, shell):
    """Case 17."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    fleet.lab.exec("www-1", ["sed", "-i", f"s,^root:.*,root:x:0:0:root:/root:{shell},", "/etc/passwd"])
    try:
        ended = fleet.nix_hive("deploy", "-c", "example", "--force", "www-1")
        asked = fleet.nix_hive("status", "-c", "example", "www-1", "--json")
        ran = fleet.nix_hive("run", "-c", "example", "www-1", "echo $0")
    finally:
        fleet.lab.exec("www-1", ["sed", "-i", "s,^root:.*,root:x:0:0:root:/root:/bin/sh,", "/etc/passwd"])
    assert ended.returncode == 0, ended.stderr
    assert "activate:www-1: done" in ended.stderr
    assert json.loads(asked.stdout)[0]["state"] == "in sync"
    assert ran.returncode == 0, ran.stderr
    saw(f"the login shell is {shell}", line_of(ended.stderr, "www-1"))


def foreign(edited):
    flags = 'lab.buildFlags or [ ] ++ [ "--option" "extra-platforms" "aarch64-linux" ]'
    edited(
        ("www.configuration =", 'www.system = "aarch64-linux"; www.configuration ='),
        ("nix.build.flags = lab.buildFlags or [ ]", f"nix.build.flags = {flags}"),
    )


def test_a_system_for_another_platform_is_refused_before_the_copy(fleet, edited):
    """Case 26: it was "done"."""
    foreign(edited)
    runs = fleet.runs("www-1")
    planned = fleet.nix_hive("plan", "-c", "example", "deploy", "www-1")
    assert "system www is for aarch64-linux" in planned.stdout + planned.stderr
    before = fleet.link_bytes()
    ended = fleet.nix_hive("deploy", "-c", "example", "www-1")
    assert ended.returncode == 1
    assert "system www is for aarch64-linux, and the kernel of www-1 runs x86_64-linux" in ended.stderr
    assert "Nothing was copied" in ended.stderr
    assert fleet.runs("www-1") == runs
    assert fleet.link_bytes() - before < 60_000
    saw("the system is for a platform that the kernel does not run", line_of(ended.stderr, "www-1"))


def test_by_force_it_is_copied_all_the_same(fleet, edited):
    """Case 26: the practice systems are scripts, which run everywhere."""
    foreign(edited)
    ended = fleet.nix_hive("deploy", "-c", "example", "--force", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert fleet.lab.exec("www-1", ["cat", "/run/current-system/system"]).strip() == "aarch64-linux"


def test_two_instances_that_are_one_host_are_warned_of_and_worked_on_one_by_one(fleet, edited):
    """N5: both were "done" at once."""
    edited(instance('twin = inner "depot" "depot" [ ];'))
    ended = fleet.nix_hive("deploy", "-c", "example", "--force", "*")
    assert ended.returncode == 0, ended.stderr
    assert "depot and twin are one host, " in ended.stderr
    assert "depot and twin are one host: they say the same boot id" in ended.stderr
    events = re.findall(r"activate:(?:depot|twin): (started|done)", ended.stderr)
    assert events == ["started", "done", "started", "done"]
    ends = "; ".join(line_of(ended.stderr, name) for name in ("depot", "twin"))
    saw("two instances are one host", f"{ends}: one after the other, with a warning")
    status = fleet.nix_hive("status", "-c", "example", "*")
    assert "depot and twin are one host: they say the same boot id" in status.stderr


def test_a_push_is_done_when_the_path_is_in_the_store_that_was_named(fleet, edited):
    """Case 27: the relay's own store has the system, and the one that the URL leads to had not."""
    edited(('store = "ssh://portico"', 'store = "ssh://portico?remote-store=local%3Froot%3D/var/cache/other"'))
    ended = fleet.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    path = json.loads(fleet.nix_hive("build", "-c", "example", "www").stdout)["systems"]["www"]["result"]
    assert fleet.lab.exec("portico", ["ls", "-d", f"/var/cache/other{path}"]).strip() == f"/var/cache/other{path}"
    saw("the store leads on to another one (?remote-store=)", f"{line_of(ended.stderr, 'www-1')}: it is in that one")
    edited(('store = "ssh://portico"', 'store = "ssh://portico?remote-store=local%3Froot%3D/proc/none"'))
    ended = fleet.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 1
    assert "push:www>ssh://portico" in ended.stderr


def test_a_relay_whose_login_only_serves_a_store_gets_a_copy(fleet, edited):
    """Case 16: `nix-store --serve` ends well whatever else it was asked to do."""
    place = "/root/.ssh/authorized_keys"
    keys = fleet.lab.exec("portico", ["cat", place])
    served = f'command="nix-store --serve --write" {keys}'
    edited(("www.configuration = import ./www.nix", "www.configuration = import ./new.nix"))
    text = (fleet.example / "www.nix").read_text()
    (fleet.example / "new.nix").write_text(
        text.replace("networking.hostName", 'environment.etc.new.text = "new"; networking.hostName', 1)
    )
    fleet.lab.exec("portico", ["sh", "-c", f"cat > {place} <<'END'\n{served}END"])
    try:
        ended = fleet.nix_hive("push", "-c", "example", "www-1")
    finally:
        fleet.lab.exec("portico", ["sh", "-c", f"cat > {place} <<'END'\n{keys}END"])
    assert ended.returncode == 0, ended.stderr
    assert "push:www>ssh://portico: done (from here)" in ended.stderr
    assert "fetch:www-1: done (from relay)" in ended.stderr
    saw("the relay's login serves its store and runs nothing else", line_of(ended.stderr, "www-1"))


def test_a_jump_host_that_only_the_users_configuration_knows_is_rebooted_first(fleet, edited, monkeypatch, tmp_path):
    """N6: `reboot '*'` took it down under those behind it."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host www-* depot\n  ProxyJump portico\n")
    edited(('ssh = ssh name // { ProxyJump = "portico"; }', "ssh = ssh name"))
    monkeypatch.setenv("HOME", str(tmp_path))
    listed = fleet.nix_hive("instances", "-c", "example", "--json")
    assert {row["instance"]: row["jump"] for row in json.loads(listed.stdout)} == {
        "depot": "portico",
        "portico": "",
        "www-1": "portico",
    }
    ended = fleet.nix_hive("reboot", "-c", "example", "*")
    assert ended.returncode == 0, ended.stderr
    order = re.findall(r"reboot:([\w-]+): (started|done)", ended.stderr)
    assert order[:2] == [("portico", "started"), ("portico", "done")]
    assert sorted(name for name, what in order[2:] if what == "done") == ["depot", "www-1"]
    saw(
        "reboot '*', and the jump host is known to ~/.ssh/config alone",
        "; ".join(line_of(ended.stderr, name) for name in ("portico", "www-1", "depot")),
    )
