"""Practice hosts with a real systemd, beside light ones, as an operator, the product and the machine see them."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import select
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nixhive_nb.lab import HostSpec, Lab, LabError, cgroups, debian, host
from tests.lab.conftest import Operator
from tests.lab.test_life import start_owner
from tests.practice import start
from tests.real import groups_below

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("systemd_hosts")]

SPECS = (
    HostSpec("depot", "depot", user="deploy", init="systemd", disk="64M"),
    HostSpec("www-3", "www", user="deploy", init="systemd", debian="trixie"),
)
REAL = ("depot", "www-2", "www-3")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A light jump host and web server, one with Debian 12, one with Debian 13 and a user, and a small depot."""
    one = start(tmp_path_factory.mktemp("fleet"), web=1, systemd=1, specs=SPECS)
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def lab(fleet):
    return fleet.lab


@pytest.fixture(scope="module")
def operator(fleet, tmp_path_factory):
    return Operator(fleet.lab, tmp_path_factory.mktemp("operator"))


def boot_of(lab, name):
    return lab.exec(name, ["cat", "/proc/sys/kernel/random/boot_id"])


def groups_of(lab):
    return sorted(cgroups.hierarchy().glob(cgroups.name_of(lab._record.token, "*")))


def traces_of(folder):
    """Mounts, and groups of processes, that a fleet in this folder has, or has left."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {folder}/" in line]
    return mounts + groups_below(folder)


def test_it_is_told_what_each_host_is(lab):
    assert {status.instance: status.init for status in lab.status()} == {
        "portico": "light",
        "www-1": "light",
        **dict.fromkeys(REAL, "systemd"),
    }
    assert all(status.running for status in lab.status())


@pytest.mark.parametrize("name", REAL)
def test_a_host_is_reached_through_portico_and_has_what_a_light_one_has(lab, operator, name):
    user = next(status.user for status in lab.status() if status.instance == name)
    done = operator.ssh(name, "hostname; id -un; cat /proc/1/comm; nix-store --add /etc/hostname; echo $PATH; pwd")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    hostname, login, first, path, search, home = done.stdout.splitlines()
    assert (hostname, login, first) == (name, user, "systemd")
    assert home == ("/root" if user == "root" else f"/home/{user}")
    assert (lab.root(name) / path.removeprefix("/")).read_text() == f"{name}\n"
    assert search.startswith("/run/current-system/sw/bin:/usr/local/sbin:")


@pytest.mark.parametrize("name", ["depot", "www-3"])
def test_a_user_becomes_root_by_sudo(operator, name):
    assert operator.ssh(name, "sudo -n id -un").stdout == "root\n"


def test_a_small_disk_is_small(lab):
    assert lab.exec("depot", ["df", "--output=size", "-k", "/nix"]).split()[-1] == "65536"


def test_each_debian_has_its_own_programs(lab):
    assert lab.exec("www-2", ["systemctl", "--version"]).startswith("systemd 252 ")
    assert lab.exec("www-3", ["systemctl", "--version"]).startswith("systemd 257 ")
    assert lab.exec("www-3", ["nix", "--version"]).split()[-1].startswith("2.26.")
    # Who is root already needs no leave.
    assert lab.exec("www-3", ["run0", "--pipe", "id", "-un"]) == "root\n"


@pytest.mark.parametrize("name", REAL)
def test_nothing_failed_at_the_boot(lab, name):
    assert lab.exec(name, ["systemctl", "is-system-running", "--wait"]) == "running\n"
    assert lab.exec(name, ["systemctl", "--failed", "--no-legend"]) == ""


@pytest.mark.parametrize("name", REAL)
def test_a_login_is_a_session_with_a_manager_of_its_own(operator, name):
    done = operator.ssh(name, "systemctl --user is-system-running --wait; loginctl show-user --value -p State $USER")
    assert done.stdout.split() == ["running", "active"], done.stderr


def test_units_are_killed_in_each_of_two_hosts(lab):
    """Not so where two containers share a group."""
    for name in ("www-2", "www-3"):
        lab.exec(name, ["systemd-run", "--quiet", "--unit=sleeper", "sleep", "1000"])
        lab.exec(name, ["systemctl", "kill", "--signal=KILL", "sleeper"])
        # Its end is seen by the manager, which waits for no more than that.
        assert "signal" in lab.exec(name, ["sh", "-c", RESULT_OF_SLEEPER])
        lab.exec(name, ["systemctl", "reset-failed", "sleeper"])


RESULT_OF_SLEEPER = """
until systemctl is-failed --quiet sleeper; do :; done
systemctl show --value -p Result sleeper
"""


@pytest.mark.parametrize("name", REAL)
def test_the_end_of_a_build_on_the_machine_kills_nobody(lab, name):
    """Nix kills all processes of a build user then, in containers too: nobody there may have such a number."""
    users = {int(line.split(":")[2]) for line in lab.exec(name, ["cat", "/etc/passwd"]).splitlines()}
    assert users - {user.pw_uid for user in pwd.getpwall() if user.pw_name.startswith("nixbld")} == users


def test_the_product_deploys_to_it_among_light_ones(fleet):
    done = fleet.nix_hive("deploy", "-c", "example", "portico", "*")
    assert done.returncode == 0, done.stderr
    assert {fleet.runs("www-1"), fleet.runs("www-2"), fleet.runs("www-3")} == {fleet.boots("www-1")}
    status = fleet.nix_hive("status", "-c", "example", "www*", "--json")
    states = {row["instance"]: row["state"] for row in json.loads(status.stdout)}
    assert states == dict.fromkeys(("www-1", "www-2", "www-3"), "in sync")


@pytest.mark.parametrize("name", ["www-2", "www-3"])
def test_the_product_reboots_it(fleet, name):
    fleet.nix_hive("deploy", "-c", "example", "portico", "www*")
    before, runs = boot_of(fleet.lab, name), fleet.runs(name)
    done = fleet.nix_hive("reboot", "-c", "example", name)
    assert done.returncode == 0, done.stderr
    assert boot_of(fleet.lab, name) != before
    assert fleet.runs(name) == runs
    booted = fleet.lab.exec(name, ["readlink", "-f", "/run/booted-system"]).strip()
    assert booted == runs


def test_a_host_is_rebooted_with_its_shutdown(lab):
    before = boot_of(lab, "www-2")
    # What a stop leaves behind tells that there was one: nothing is stopped when a plug is pulled.
    lab.exec("www-2", ["systemd-run", "--quiet", "-p", "ExecStop=touch /var/lib/was-stopped", "-r", "true"])
    lab.reboot_host("www-2")
    assert boot_of(lab, "www-2") != before
    lab.exec("www-2", ["rm", "/var/lib/was-stopped"])


def test_a_plug_is_pulled_and_put_back(lab, operator):
    path = lab.exec("www-2", ["nix-store", "--add", "/etc/hostname"]).strip()
    lab.exec("www-2", ["systemd-run", "--quiet", "-p", "ExecStop=touch /var/lib/was-stopped", "-r", "true"])
    machine = lab.exec("www-2", ["cat", "/etc/machine-id"])
    lab.stop_host("www-2")
    try:
        gone = next(status for status in lab.status() if status.instance == "www-2")
        assert (gone.running, gone.pid) == (False, None)
        assert operator.ssh("-o", "ConnectTimeout=2", "www-2", "true").returncode == 255
        with pytest.raises(LabError, match="is down"):
            lab.exec("www-2", ["true"])
        assert not (lab.root("www-2") / "var/lib/was-stopped").exists()
    finally:
        lab.start_host("www-2")
    assert operator.ssh("www-2", f"nix-store --query --hash {path}").returncode == 0
    assert lab.exec("www-2", ["cat", "/etc/machine-id"]) == machine
    assert len({lab.exec(name, ["cat", "/etc/machine-id"]) for name in REAL}) == len(REAL)


def test_a_host_that_powers_off_stays_off_until_it_is_started(lab):
    pid = next(status.pid for status in lab.status() if status.instance == "www-3")
    lab.exec("www-3", ["systemctl", "poweroff", "--no-block"])
    await_end(pid)
    assert not next(status.running for status in lab.status() if status.instance == "www-3")
    lab.start_host("www-3")
    assert lab.exec("www-3", ["hostname"]) == "www-3\n"


def test_the_kept_debian_is_never_changed(lab):
    lab.exec("www-2", ["touch", "/usr/bin/mine", "/etc/mine"])
    for place in ("usr/bin/mine", "etc/mine"):
        assert not (debian.place_of("bookworm") / place).exists()


def test_down_leaves_nothing(tmp_path):
    specs = [HostSpec("depot", "depot", user="deploy", sudo=False, init="systemd")]
    with Lab.up(tmp_path / "lab", web=0, systemd=1, specs=specs) as lab:
        pids = [status.pid for status in lab.status()]
        assert len(traces_of(tmp_path)) == 6  # of each host its root, its /nix, and a group
        with pytest.raises(LabError, match="password is required"):
            lab.exec("depot", ["su", "deploy", "-c", "sudo -n true"])
    assert traces_of(tmp_path) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not (tmp_path / "lab").exists()


def test_when_the_owner_is_killed_nothing_is_left(tmp_path):
    owner = start_owner(tmp_path / "lab", init="systemd")
    keeper = int(owner.stdout.readline())
    assert traces_of(tmp_path)
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    await_end(keeper)
    assert traces_of(tmp_path) == []


@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.4, 0.5, 0.6, 0.8])
def test_down_after_a_crash_at_any_moment(tmp_path, seconds):
    owner = start_owner(tmp_path / "lab", keep="keep", init="systemd")
    with contextlib.suppress(subprocess.TimeoutExpired):
        owner.wait(seconds)
    owner.kill()
    owner.communicate()
    if (tmp_path / "lab" / "lab.json").exists():
        Lab.open(tmp_path / "lab").down()
    assert traces_of(tmp_path) == []
    assert not (tmp_path / "lab").exists() or not any((tmp_path / "lab").iterdir())


def test_down_ends_a_container_whose_power_was_killed(tmp_path):
    with Lab.up(tmp_path / "lab", web=0, systemd=1) as lab:
        (group,) = groups_of(lab)
        for pid in map(int, (group / "power" / "cgroup.procs").read_text().split()):
            os.kill(pid, signal.SIGKILL)
    assert traces_of(tmp_path) == []


def test_a_host_that_comes_into_its_group_when_that_is_empty_ends_as_well(tmp_path, monkeypatch):
    """A host enters its group by itself, whenever it comes to that: its owner may have been killed meanwhile."""
    token, await_empty, late = secrets.token_hex(4), cgroups._await_empty, []
    group = cgroups.make(cgroups.name_of(token, "late"), tmp_path / "gone")

    def then_one_comes(group):
        await_empty(group)
        if not late:
            enter = f"echo $$ >{group}/power/cgroup.procs && echo in && exec sleep 600"
            late.append(subprocess.Popen(["sh", "-c", enter], stdout=subprocess.PIPE))
            assert late[0].stdout.readline() == b"in\n"

    monkeypatch.setattr(cgroups, "_await_empty", then_one_comes)
    cgroups.end(token)
    with late[0]:
        assert late[0].wait(10) == -signal.SIGKILL
    assert not group.exists()


def test_what_somebody_left_is_removed_by_the_next_fleet(tmp_path):
    token = secrets.token_hex(4)
    old, new = (cgroups.make(cgroups.name_of(token, name), tmp_path / "gone") for name in ("old", "new"))
    os.utime(old, (0, 0))
    Lab.up(tmp_path / "lab", web=0).down()
    assert (old.exists(), new.exists()) == (False, True)
    cgroups.end(token)
    assert not new.exists()


def test_nothing_of_a_host_stays_in_any_hierarchy(tmp_path):
    """Where there are some of version 1, systemd-nspawn makes groups there as well."""
    with Lab.up(tmp_path / "lab", web=0, systemd=1) as lab:
        name = cgroups.name_of(lab._record.token, "*")
        assert groups_of(lab)
    assert cgroups.older(name) == []


def test_what_stays_in_older_hierarchies_is_removed_by_the_next_fleet(tmp_path):
    name = cgroups.name_of(secrets.token_hex(4), "old")
    for top in cgroups._hierarchies("cgroup"):
        with contextlib.suppress(OSError):  # as in that of cpusets, where nothing can be made
            (top / name / "box").mkdir(parents=True)
    Lab.up(tmp_path / "lab", web=0).down()
    assert cgroups.older(name) == []


def test_two_fleets_side_by_side_leave_each_other_alone(tmp_path):
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda name: Lab.up(tmp_path / name, web=0, systemd=1), ["one", "two"])
    with second:
        first.down()
        assert second.exec("www-1", ["systemctl", "is-system-running", "--wait"]) == "running\n"
        assert all(status.running for status in second.status())


def test_a_host_that_does_not_start_is_named_with_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "_START_SECONDS", 5.0)
    original = Lab._make_host

    def broken(self, *args):
        original(self, *args)
        if (sshd := self.folder / "hosts" / "www-1" / "etc" / "ssh" / "sshd_config").exists():
            sshd.write_text("NoSuchWord yes\n")

    monkeypatch.setattr(Lab, "_make_host", broken)
    with pytest.raises(LabError, match=r"(?s)www-1: .*Bad configuration option: NoSuchWord"):
        Lab.up(tmp_path / "lab", web=0, systemd=1)
    assert traces_of(tmp_path) == []


def await_end(pid):
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    waiter = select.poll()
    waiter.register(handle, select.POLLIN)
    assert waiter.poll(30_000), f"process {pid} did not end"
    os.close(handle)
