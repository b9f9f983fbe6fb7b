"""`doctor` on real hosts that each lack something, what its lines do, and that it changes nothing."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from tests.fleet.doctored import STAGED, Doctored
from tests.real import why_not

pytestmark = pytest.mark.fleet
needs_systemd = pytest.mark.usefixtures("systemd_hosts")

LISTED = (
    "for one in /boot /etc /home /nix /root /run /tmp /var; do "
    "find $one -xdev -printf '%p %y %s %m %u %T@ %l\\n'; done | "
    "grep -v -e ^/var/log -e '^/run/\\(log\\|systemd\\|user\\|utmp\\|sshd\\|udev\\)' -e '^/run ' -e ^/run/sudo "
    "-e /nix/var/nix/db/db.sqlite- -e '^/nix/var/nix/db ' -e ^/var/lib/systemd -e wtmp -e motd.dynamic "
    "-e ^/tmp/systemd -e '^/tmp ' -e '^/nix/store ' | sort"
)
"""All that a host has, but for what its own daemons write and what any login leaves in a log."""


@pytest.fixture(scope="module")
def doctored(tmp_path_factory):
    one = Doctored(tmp_path_factory.mktemp("fleet"), systemd=not why_not())
    try:
        one.stage()
        yield one
        one.pause("stalled", signal.SIGCONT)
    finally:
        one.lab.down()


def state(one):
    """All that there is on some hosts, and on this machine."""
    hosts = {host: one.lab.exec(host, ["sh", "-c", LISTED]) for host in ("portico", "www-1", "untrusting", *one.well)}
    here = [
        (path, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for root in (one.fleet.example, one.fleet.own, one.fleet.folder / ".hive.state")
        for path in [root, *sorted(root.rglob("*"))]
        if root.exists()
    ]
    return hosts, here


@pytest.fixture(scope="module")
def changes(doctored):
    """What a first `doctor` has changed, by host, and what it said."""
    before = state(doctored)
    rows = doctored.doctor()
    return before, state(doctored), rows


@pytest.fixture(scope="module")
def rows(changes):
    return changes[2]


def told(row, kind):
    """The sentence and the lines of one shortcoming."""
    assert kind in row["kinds"], row
    at = row["kinds"].index(kind)
    return row["shortcomings"][at], row["lines"][at]


def test_nothing_is_changed_on_a_host_or_here(changes):
    before, after, _ = changes
    for host, listed in before[0].items():
        assert set(after[0][host].splitlines()) ^ set(listed.splitlines()) == set()
    assert after[1] == before[1]


def test_a_host_is_logged_in_to_once(doctored, rows):
    assert rows["keyless"]["error"] == ""
    log = ["sh", "-c", "grep -c 'Accepted publickey' /var/log/sshd.log"]
    before = int(doctored.lab.exec("keyless", log))
    doctored.doctor("keyless")
    assert int(doctored.lab.exec("keyless", log)) == before + 1


@needs_systemd
def test_a_host_that_lacks_nothing_is_well(rows):
    row = rows["www-2"]
    assert row["ok"] is True
    assert row["kinds"] == []
    assert (row["user"], row["root"], row["asks"], row["trust"]) == ("root", "login", False, "root")
    assert (row["through"], row["carrier"], row["key"]) == ("portico", "fabric", "ssh-ed25519")
    assert re.fullmatch(r"file /.*/operator", row["key_from"])
    assert row["systemd"] is True
    assert row["relay_reached"] is True
    assert row["relay_allowed"] is True
    assert row["nix"]
    assert "x86_64-linux" in row["platforms"]
    assert row["builds"] == "here"
    assert row["free"] > row["needs"] > 0
    assert row["clock"] == 0.0


@needs_systemd
def test_a_host_with_a_newer_nix_whose_login_becomes_root_by_sudo_is_well(rows):
    row = rows["newer"]
    assert row["kinds"] == []
    assert (row["user"], row["root"], row["asks"], row["trust"], row["signed"]) == (
        "deploy",
        "sudo",
        False,
        "signature",
        True,
    )
    assert row["relay_reached"] is True
    assert row["relay_allowed"] is True
    assert not row["nix"].startswith("2.8")


@needs_systemd
def test_what_is_told_of_a_host_with_systemd_is_what_it_has(doctored, rows):
    """Of both Debians."""
    for host in doctored.well:
        row = rows[host]
        assert row["nix"] == doctored.sh(host, "nix-store --version").split()[-1]
        assert row["boot_free"] == 1024 * int(doctored.sh(host, "df -P -k /boot | tail -n 1").split()[3])
        assert row["free"] == pytest.approx(1024 * int(doctored.sh(host, "df -P -k /nix | tail -n 1").split()[3]), 0.1)
        wanted = doctored.closure("www")
        lacks = doctored.sh(host, f"for one in {' '.join(wanted)}; do test -e $one || echo $one; done").split()
        assert row["needs"] == sum(wanted[path] for path in lacks)


@needs_systemd
def test_what_hosts_with_systemd_lack_is_told_of_them(doctored):
    """Of both Debians: one whose login is root, and one whose login becomes root by sudo."""
    with doctored.spoilt(*doctored.well):
        rows = doctored.doctor(*doctored.well)
        user = doctored.well[1]
        doctored.sh(user, "sed -i 's/^trusted-users.*/& deploy/' /etc/nix/nix.conf")
        trusted = doctored.doctor(user)[user]
    assert (trusted["trust"], trusted["signed"], trusted["kinds"]) == (
        "trusted user",
        False,
        ["root", "relay", "boot", "clock"],
    )
    of_root, of_user = (rows[host] for host in doctored.well)
    assert of_root["kinds"] == ["relay", "relay", "boot", "clock"]
    assert (of_root["trust"], of_root["signed"], of_root["relay_reached"]) == ("root", False, False)
    assert of_user["kinds"] == ["root", "trust", "boot", "clock"]
    assert (of_user["trust"], of_user["root"], of_user["asks"]) == ("nothing", "sudo", True)
    for row in (of_root, of_user):
        assert row["boot_free"] == 65536
        assert -3601 < row["clock"] <= -3599
        assert row["systemd"] is True


@needs_systemd
def test_a_fleet_of_hosts_that_are_well_is_told_by_the_exit_status(doctored, rows):
    assert doctored.nix_hive("doctor", *doctored.well).returncode == 0
    assert doctored.nix_hive("doctor", "www-1").returncode == 1
    assert told(rows["www-1"], "systemd")


def test_each_host_has_a_row_whatever_becomes_of_the_others(doctored, rows):
    assert set(rows) == {"portico", "depot", "www-1", *doctored.well, *STAGED}


def test_sudo_that_asks(doctored, rows):
    row = rows["asked"]
    text, lines = told(row, "root")
    assert row["asks"] is True
    assert text == "User deploy does not become root by `sudo -n`: a password is required."
    doctored.add("asked", [lines])
    after = doctored.doctor("asked")["asked"]
    assert "root" not in after["kinds"]
    assert (after["root"], after["asks"]) == ("sudo", False)


def test_a_push_that_would_be_refused(doctored, rows):
    row = rows["untrusting"]
    text, lines = told(row, "trust")
    assert row["trust"] == "nothing"
    assert row["signed"] is False
    assert text == "What is pushed there is refused: Nix there trusts neither user deploy nor our signing key."
    doctored.add("untrusting", [lines])
    after = doctored.doctor("untrusting")["untrusting"]
    assert "trust" not in after["kinds"]
    assert (after["trust"], after["signed"]) == ("signature", True)


def test_a_relay_behind_a_firewall(doctored, rows):
    row = rows["walled"]
    text, lines = told(row, "relay")
    assert row["relay_reached"] is False
    assert row["relay_allowed"] is True
    assert text.startswith("It does not reach its relay ssh://portico: ssh: connect to host 198.19.0.1 port 22: ")
    assert "networking.firewall.allowedTCPPorts = [ 22 ];" in lines
    doctored.lab.exec("walled", ["ip", "rule", "del", "to", "198.19.0.1", "ipproto", "6", "dport", "22", "prohibit"])
    assert "relay" not in doctored.doctor("walled")["walled"]["kinds"]


def test_a_relay_that_is_no_substituter(doctored, rows):
    row = rows["unrelayed"]
    text, lines = told(row, "relay")
    assert row["relay_reached"] is True
    assert row["relay_allowed"] is False
    assert text.endswith("ssh://portico is not among the substituters of its Nix.")
    doctored.add("unrelayed", [lines])
    assert "relay" not in doctored.doctor("unrelayed")["unrelayed"]["kinds"]


def test_a_relay_whose_signatures_are_not_trusted(doctored, rows):
    row = rows["keyless"]
    text, lines = told(row, "relay")
    assert (row["trust"], row["signed"]) == ("root", False)
    assert text.endswith("it does not trust our signing key.")
    doctored.add("keyless", [lines])
    after = doctored.doctor("keyless")["keyless"]
    assert "relay" not in after["kinds"]
    assert after["signed"] is True


def test_a_login_that_is_refused(doctored, rows):
    row = rows["refusing"]
    _, lines = told(row, "reach")
    assert "the login of user root was refused" in row["error"]
    doctored.add("refusing", [lines.partition("# or")[0]])
    assert doctored.doctor("refusing")["refusing"]["error"] == ""


def test_a_certificate_that_is_not_valid_any_more(doctored, rows):
    _, lines = told(rows["certified"], "reach")
    assert f"# {doctored.key}-cert.pub was valid until " in lines
    (command,) = [line for line in lines.splitlines() if line.startswith("ssh-keygen ")]
    assert command == f"ssh-keygen -s CA_KEY -I root -n root -V +1d {doctored.key}.pub"
    doctored.hup("certified")
    doctored.sign("-V", "+1d")
    row = doctored.doctor("certified")["certified"]
    assert row["error"] == ""
    assert row["key"] == "ssh-ed25519-cert-v01@openssh.com"
    assert row["key_from"].startswith("certificate ")


def test_a_key_that_an_agent_has(doctored, monkeypatch, tmp_path):
    sock = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.PIPE)
    try:
        agent.stdout.readline()  # it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        subprocess.run(["ssh-add", "-q", str(doctored.lab.identity)], check=True)
        row = doctored.doctor("www-1")["www-1"]
    finally:
        agent.terminate()
        agent.wait()
    assert (row["key"], row["key_from"]) == ("ssh-ed25519", f"agent {doctored.lab.identity}")


def test_a_host_key_that_nobody_knows(doctored, rows):
    _, lines = told(rows["strange"], "reach")
    assert re.search(r'^instances\.strange\.hostKeys = \[ "ssh-ed25519 \S+" \];$', lines, re.MULTILINE)
    doctored.add("strange", [lines])
    assert doctored.doctor("strange")["strange"]["error"] == ""


def test_the_other_carrier_finds_the_same(doctored):
    by_fabric, by_openssh = (
        doctored.doctor("bootless", "early", "asked", "--carrier", carrier) for carrier in ("fabric", "openssh")
    )
    for name, row in by_openssh.items():
        assert (by_fabric[name]["carrier"], row["carrier"]) == ("fabric", "openssh")
        assert row["kinds"] == by_fabric[name]["kinds"]
        assert {field for field in row if row[field] != by_fabric[name][field]} <= {
            *("carrier", "key", "key_from", "clock", "free", "boot_free", "shortcomings"),
        }


def test_a_host_that_is_off_and_one_that_stalls(rows):
    for name in ("down", "stalled"):
        row = rows[name]
        assert row["error"]
        assert row["shortcomings"][0].startswith(row["error"][:40])
        assert "services.openssh = { enable = true; openFirewall = true; };" in told(row, "reach")[1]
        assert (row["user"], row["through"], row["address"][-3:]) == ("root", "portico", ":22")


def test_a_clock_that_is_wrong_and_one_whose_answer_takes_long(rows):
    text, lines = told(rows["early"], "clock")
    assert text.startswith(("Its clock is 1 h 00 min ahead of", "Its clock is 59 min"))
    assert 3590 < rows["early"]["clock"] <= 3601
    assert "services.timesyncd.enable = true;" in lines
    assert rows["slow"]["clock"] == 0.0
    assert "clock" not in rows["slow"]["kinds"]


def test_a_store_and_a_boot_partition_without_room(rows):
    small = rows["small"]
    assert small["needs"] > small["free"]
    assert told(small, "store")[0].startswith("Its store has ")
    boot = rows["bootless"]
    assert (boot["boot_free"], boot["boot_needs"] > 65536) == (65536, True)
    text, lines = told(boot, "boot")
    assert text.startswith("/boot has 65.5 kB free, and kernel and initrd need ")
    assert "configurationLimit" in lines


def test_a_system_for_another_platform(rows):
    row = rows["foreign"]
    text, lines = told(row, "platform")
    assert text == "System arm is for aarch64-linux, and its kernel runs x86_64-linux, i686-linux."
    assert 'systems.arm.system = "x86_64-linux";' in lines
    assert row["builds"] == ""
    assert told(row, "build")[0].startswith("Nobody builds system arm: ")


def test_what_the_own_ssh_configuration_changes(doctored, monkeypatch, tmp_path):
    # OpenSSH reads the home of the user, whatever HOME says: ours includes what it names.
    config = tmp_path / ".ssh" / "config"
    config.parent.mkdir()
    config.write_text("Host www-1\n  ServerAliveInterval 7\n  User somebody\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (effect,) = [one for one in doctored.doctor("www-1")["www-1"]["own_ssh"] if "serveralive" in one]
    assert effect == "serveraliveinterval 7 (without: 15)"
