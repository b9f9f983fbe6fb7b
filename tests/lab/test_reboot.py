"""A host that is rebooted: from inside, from outside, and what is left when it is ended in the middle."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from nixhive_nb.lab import Lab, LabError
from nixhive_nb.lab.commands import processes_in
from nixhive_nb.lab.network import inode
from tests.lab.test_life import Traces

pytestmark = pytest.mark.fleet

BOOT_ID = "/proc/sys/kernel/random/boot_id"
HOST = "www-1"
WITH_SUDO = "www-2"

ON_A_MACHINE_WITH_PROGRAMS_OF_ITS_OWN = """
import sys
from nixhive_nb.lab import Lab
with Lab.up(sys.argv[1], web=0) as lab:
    for program in ("machine-program", "reboot --help"):
        print(lab.exec("depot", ["sh", "-c", f"{program} 2>&1 || true"]), end="")
"""


def pid_of(lab: Lab, host: str = HOST) -> int:
    return next(status.pid for status in lab.status() if status.instance == host)


def runs(lab: Lab, host: str = HOST) -> bool:
    return next(status.running for status in lab.status() if status.instance == host)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def power_of(lab: Lab, host: str = HOST) -> int:
    """The process that starts a host again after a reboot."""
    pid = parent(parent(pid_of(lab, host)))
    assert b"power.sh" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return pid


def processes_of(lab: Lab, host: str = HOST) -> set[int]:
    number = inode(int(lab.link.removeprefix("nixhive")), host)
    return processes_in([number])[number]


@contextlib.contextmanager
def ends(pid: int):
    """What happens inside is over when that process is."""
    handle = os.pidfd_open(pid)
    try:
        yield
        waiter = select.poll()
        waiter.register(handle, select.POLLIN)
        assert waiter.poll(20_000), f"process {pid} did not end"
    finally:
        os.close(handle)


def order(lab: Lab, host: str = HOST) -> None:
    """`reboot`, from inside. It may be ended with all the rest before it comes back."""
    with contextlib.suppress(LabError):
        lab.exec(host, ["reboot"])


def boot_id(operator, host: str = HOST) -> str:
    return operator.ssh("-o", "ConnectTimeout=2", host, f"cat {BOOT_ID}").stdout.strip()


def comes_back(operator, host: str = HOST) -> str:
    """Try until it answers, and give its boot id."""
    return next(found for _ in range(300) if (found := boot_id(operator, host)))


def facts(operator, host: str = HOST) -> str:
    """What a reboot does not change."""
    words = (
        "cat /etc/ssh/ssh_host_ed25519_key.pub /sys/class/net/eth0/address; readlink /proc/self/ns/net; ip -o -4 addr"
    )
    done = operator.ssh(host, words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_host_has_a_boot_id_of_its_own_and_keeps_it(operator):
    found = [boot_id(operator, host) for host in ("portico", "www-1", "www-4", "portico", "www-1")]
    assert found[:2] == found[3:]
    assert len({*found, Path(BOOT_ID).read_text().strip()}) == 4
    assert all(str(uuid.UUID(one)) == one for one in found)
    assert operator.ssh(HOST, f"echo mine >{BOOT_ID}").returncode != 0


def test_each_start_is_another_boot(lab, operator):
    before = boot_id(operator)
    lab.stop_host(HOST)
    lab.start_host(HOST)
    assert boot_id(operator) not in ("", before)


def test_root_reboots_a_host_from_inside(lab, operator):
    before, unchanged = boot_id(operator), facts(operator)
    operator.ssh(HOST, "mkdir /nix/var/booted; echo /nix/var/booted >/boot/once")
    operator.ssh(HOST, "mkdir /nix/var/running; ln -sfn /nix/var/running /run/current-system")
    operator.ssh(HOST, "touch /run/old /tmp/old /root/kept; setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    assert operator.ssh(HOST, "pgrep -x sleep").returncode == 0
    with ends(pid_of(lab)):
        done = operator.ssh(HOST, "reboot; sleep 500")
    assert done.returncode == 255  # the connection broke
    assert comes_back(operator) not in ("", before)
    assert facts(operator) == unchanged
    assert operator.ssh(HOST, "pgrep -x sleep; ls -d /run/old /tmp/old").stdout == ""
    links = operator.ssh(HOST, "readlink /run/booted-system /run/current-system; ls -d /root/kept").stdout
    assert links.split() == ["/nix/var/booted", "/nix/var/booted", "/root/kept"]
    assert runs(lab)


def test_only_root_reboots(lab, operator):
    before = boot_id(operator, WITH_SUDO)
    refused = operator.ssh(WITH_SUDO, "reboot")
    assert refused.returncode == 1
    assert refused.stderr == "reboot: must be superuser\n"
    assert boot_id(operator, WITH_SUDO) == before
    with ends(pid_of(lab, WITH_SUDO)):
        operator.ssh(WITH_SUDO, "sudo -n reboot")
    assert comes_back(operator, WITH_SUDO) != before
    assert operator.ssh(WITH_SUDO, "nix-store --add /etc/hostname").returncode == 0


def test_a_word_that_reboot_does_not_know_reboots_nothing(operator):
    before = boot_id(operator)
    done = operator.ssh(HOST, "reboot --help")
    assert (done.returncode, done.stderr) == (1, "usage: reboot [-f|--force]\n")
    assert boot_id(operator) == before


def test_a_reboot_from_outside_is_over_when_the_host_answers(lab, operator):
    before, pid, unchanged = boot_id(operator), pid_of(lab), facts(operator)
    lab.reboot_host(HOST)
    assert boot_id(operator) not in ("", before)
    assert facts(operator) == unchanged
    assert pid_of(lab) != pid


def test_the_jump_host_comes_back_as_well(lab, operator):
    before = boot_id(operator, "portico")
    with ends(pid_of(lab, "portico")):
        operator.ssh("portico", "reboot")
    assert comes_back(operator, "portico") != before
    assert operator.ssh(HOST, "hostname").stdout == f"{HOST}\n"


def test_a_host_that_is_down_is_not_rebooted(lab):
    lab.stop_host(HOST)
    try:
        with pytest.raises(LabError, match="is down"):
            lab.reboot_host(HOST)
        assert not runs(lab)
    finally:
        lab.start_host(HOST)


@pytest.fixture
def small(tmp_path):
    """A fleet of one web server, for tests that break it."""
    with Lab.up(tmp_path / "lab", web=1) as lab:
        yield lab


@pytest.fixture
def between(small):
    """The same, and the web server is down and about to start again: what would start it is held."""
    os.kill(power_of(small), signal.SIGSTOP)
    with ends(pid_of(small)):
        order(small)
    return small


def test_a_host_between_two_boots_does_not_run(between):
    assert not runs(between)
    with pytest.raises(LabError, match="is down"):
        between.exec(HOST, ["true"])


def test_a_host_between_two_boots_is_started_once(between):
    between.start_host(HOST)
    assert runs(between)
    inside = between.exec(HOST, ["cat", "/var/lib/sshd.pid"])
    assert inside == "1\n"
    power, first = power_of(between), pid_of(between)
    assert processes_of(between) == {power, parent(first), first}


def test_a_host_between_two_boots_can_be_switched_off(between):
    between.stop_host(HOST)
    assert processes_of(between) == set()
    assert not runs(between)


def test_down_between_two_boots_leaves_nothing(between):
    traces = Traces(between)
    assert len(traces.pids) == 2
    assert len(traces.left()) > 5
    between.down()
    assert traces.left() == []


def test_down_while_a_host_boots_leaves_nothing(small):
    # What it boots waits for a word that nobody says.
    boot = "mkdir /nix/var/slow && cd /nix/var/slow && mkfifo started gate && chmod 755 . && echo $PWD >$0"
    small.exec(HOST, ["sh", "-c", boot, "/boot/once"])
    script = "#!/bin/sh\necho >/nix/var/slow/started\nread -r _ </nix/var/slow/gate\n"
    small.exec(HOST, ["sh", "-c", "cat >/nix/var/slow/activate; chmod 755 /nix/var/slow/activate"], text=script)
    order(small)
    # It opens when the activation of the next boot has come to that line.
    with (small.root(HOST) / "nix/var/slow/started").open() as started:
        assert started.read() == "\n"
    traces = Traces(small)
    assert runs(small)
    small.down()
    assert traces.left() == []


@pytest.mark.parametrize("attempt", range(5))
def test_down_right_after_an_order_to_reboot_leaves_nothing(small, attempt):
    traces = Traces(small)
    for _ in range(attempt):
        order(small)
    order(small)
    small.down()
    assert traces.left() == []


def test_a_host_whose_first_process_is_killed_stays_down(small):
    with ends(power_of(small)):
        os.kill(pid_of(small), signal.SIGKILL)
    assert not runs(small)
    assert processes_of(small) == set()


def test_an_order_to_reboot_that_was_never_seen_is_forgotten_with_the_next_start(small):
    (small.root(HOST) / "var/lib/reboot-ordered").touch()
    small.stop_host(HOST)
    small.start_host(HOST)
    with ends(power_of(small)):
        os.kill(pid_of(small), signal.SIGKILL)
    assert not runs(small)


def test_programs_that_the_machine_has_beside_reboot_stay(tmp_path):
    words = """
      mount -t tmpfs tmpfs /usr/local/sbin
      printf '#!/bin/sh\\necho of the machine\\n' >/usr/local/sbin/machine-program
      cp /usr/local/sbin/machine-program /usr/local/sbin/reboot
      chmod 755 /usr/local/sbin/*
      exec "$@"
    """
    argv = [sys.executable, "-c", ON_A_MACHINE_WITH_PROGRAMS_OF_ITS_OWN, str(tmp_path / "lab")]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=slave", "sh", "-ec", words, "sh", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "of the machine\nusage: reboot [-f|--force]\n", done.stderr
