"""One at a time on a host: who is refused, who waits, and what is found when the turn has come."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading

import pytest

from nixhive_nb.lab import HostSpec, LabError
from tests.fleet.faults import line_of, saw
from tests.practice import read_until, start

pytestmark = pytest.mark.fleet

COMMAND = ("deploy", "-c", "example", "--confirm", "5")
BOOT = "/boot/extlinux"
LOCK = "/run/nixos/switch-to-configuration.lock"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=1, specs=[HostSpec("depot", "depot", user="deploy")])
    ended = one.nix_hive(*COMMAND, "portico", "*")
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def change(fleet):
    """Change the system of depot by some options; afterwards it is mended, and deployed."""
    page = fleet.example / "depot.nix"
    text = page.read_text()

    def change(options=""):
        mark = f'environment.etc."change".text = "{next(_numbers)}";'
        page.write_text(text.replace("networking.hostName", f"{mark} {options}\n  networking.hostName", 1))

    yield change
    page.write_text(text)
    ended = fleet.nix_hive(*COMMAND, "--wait", "60", "--force", "depot")
    assert ended.returncode == 0, ended.stderr


@contextlib.contextmanager
def held(fleet):
    """Two pipes on depot: its activation says that it is there, and waits until it may go on."""
    fleet.lab.exec("depot", ["sh", "-c", "rm -f /var/here /var/go; mkfifo /var/here /var/go; touch /var/hold"])
    # Once: not when it is activated again, or boots.
    hold = "if rm /var/hold 2>/dev/null; then echo here > /var/here; read line < /var/go; fi"
    yield f'system.activationScripts.held = "{hold}";'


def release(fleet):
    fleet.lab.exec("depot", ["sh", "-c", "echo go > /var/go"])


def boot_id(fleet):
    return fleet.lab.exec("depot", ["cat", "/proc/sys/kernel/random/boot_id"]).strip()


@contextlib.contextmanager
def somebody_switches(fleet):
    """Hold the lock of switch-to-configuration on depot, as a `nixos-rebuild switch` does."""
    pipe = fleet.folder / f"hold-{next(_numbers)}"
    os.mkfifo(pipe)
    inside = f"/root/{pipe.name}"
    (fleet.lab.root("depot") / "root" / pipe.name).unlink(missing_ok=True)
    os.mkfifo(fleet.lab.root("depot") / "root" / pipe.name)
    held = f"mkdir -p /run/nixos; exec 9>{LOCK}; flock 9; echo held > {inside}; read line < {inside}"
    thread = threading.Thread(target=fleet.lab.exec, args=("depot", ["sh", "-c", held]))
    thread.start()
    fleet.lab.exec("depot", ["cat", inside])

    def leave():
        if thread.is_alive():
            fleet.lab.exec("depot", ["sh", "-c", f"echo go > {inside}"])
            thread.join()

    try:
        yield leave
    finally:
        leave()


def test_who_is_refused_leaves_the_name_of_who_holds_the_lock(fleet, change):
    """D4."""
    with held(fleet) as options:
        change(options)
        first = fleet.begin(*COMMAND, "depot")
        fleet.lab.exec("depot", ["cat", "/var/here"])
        refused = [fleet.nix_hive(*COMMAND, "depot") for _ in range(2)]
        holder = fleet.lab.exec("depot", ["cat", "/run/nixhive/holder"])
        release(fleet)
        said = first.communicate(timeout=60)[1]
    assert first.returncode == 0, said
    lines = [line_of(ended.stderr, "depot") for ended in refused]
    assert lines[0] == lines[1]
    assert "(deploy, plan " in lines[1]
    assert "(deploy, plan " in holder
    left = fleet.lab.exec("depot", ["ls", "/run/nixhive"]).split()
    assert [name for name in left if not name.startswith("script-")] == ["lock"]
    saw("a third operator, after a second was refused", lines[1])


def test_a_reboot_waits_for_an_activation_or_is_refused(fleet, change):
    """D5."""
    before = boot_id(fleet)
    with held(fleet) as options:
        change(options)
        first = fleet.begin(*COMMAND, "depot")
        fleet.lab.exec("depot", ["cat", "/var/here"])
        refused = fleet.nix_hive("reboot", "-c", "example", "depot")
        waiting = fleet.begin("reboot", "-c", "example", "--wait", "60", "depot")
        read_until(waiting, "reboot:depot: started")
        assert boot_id(fleet) == before
        release(fleet)
        said = first.communicate(timeout=60)[1]
        waited = waiting.communicate(timeout=120)[1]
    assert first.returncode == 0, said
    assert refused.returncode == 1
    assert waiting.returncode == 0, waited
    assert boot_id(fleet) != before
    saw("a reboot during the activation of somebody else", line_of(refused.stderr, "depot"))


def test_an_activation_is_refused_while_a_host_goes_down(fleet, change):
    """D5: a reboot holds the lock until the host is down."""
    script = fleet.lab.root("depot") / "sbin" / "reboot"
    text = script.read_text()
    before = boot_id(fleet)
    fleet.lab.exec("depot", ["sh", "-c", "rm -f /var/here /var/go; mkfifo /var/here /var/go"])
    script.write_text(text.replace(": >/var", "echo here >/var/here; read line </var/go; : >/var", 1))
    try:
        first = fleet.begin("reboot", "-c", "example", "depot")
        fleet.lab.exec("depot", ["cat", "/var/here"])
        change()
        refused = fleet.nix_hive(*COMMAND, "depot")
        with contextlib.suppress(LabError):  # the host may go down under the very command that lets it
            release(fleet)
        said = first.communicate(timeout=60)[1]
    finally:
        script.write_text(text)
    assert first.returncode == 0, said
    assert boot_id(fleet) != before
    line = line_of(refused.stderr, "depot")
    assert "locked" in line
    assert "(reboot, plan " in line


def test_whoever_waits_comes_after_and_says_what_came_before(fleet, change):
    """D6: what it goes back to is what it found when its turn had come."""
    with held(fleet) as options:
        change(options)
        first = fleet.begin(*COMMAND, "depot")
        fleet.lab.exec("depot", ["cat", "/var/here"])
        change('system.activationScripts.broken = "exit 1";')
        second = fleet.begin(*COMMAND, "--wait", "60", "depot")
        read_until(second, "activate:depot: started")
        fleet.lab.exec("depot", ["sh", "-c", "until grep -qs waits /run/nixhive/*/log; do :; done"])
        release(fleet)
        one = first.communicate(timeout=60)[1]
        two = second.communicate(timeout=60)[1]
    assert first.returncode == 0, one
    assert second.returncode == 1
    assert "rolled back" in line_of(two, "depot")
    assert "change" in fleet.lab.exec("depot", ["ls", "/etc"]).split()
    assert fleet.runs("depot") == fleet.boots("depot")


def test_a_host_that_others_change_while_we_build_is_refused(fleet, change, gate):
    """D6: hosts are compared with the plan when their turn has come, and not only before an hour of builds."""
    change(
        f'system.extraDependencies = [ (derivation {{ name = "gated-{os.getpid()}"; system = builtins.currentSystem; '
        f'builder = "/bin/sh"; args = [ "-c" "read line < {gate}; echo $line > $out" ]; }}) ];'
    )
    ours = fleet.begin(*COMMAND, "depot")
    read_until(ours, "build: started")
    writer = os.open(gate, os.O_WRONLY)
    change()
    theirs = fleet.nix_hive(*COMMAND, "depot")
    runs = fleet.runs("depot")
    os.write(writer, b"go\n")
    os.close(writer)
    said = ours.communicate(timeout=60)[1]
    assert theirs.returncode == 0, theirs.stderr
    assert ours.returncode == 1
    assert fleet.runs("depot") == fleet.boots("depot") == runs
    line = line_of(said, "depot")
    assert "when the plan was made. Nothing was changed." in line
    saw("somebody else deploys to the host while we build", line)


def test_an_activation_that_ends_at_once_is_heard_however_late_its_host_listens(fleet, change):
    change()
    slow = "printf '#!/bin/sh\\nsleep 1\\nexec /usr/bin/timeout \"$@\"\\n' >/run/wrappers/bin/timeout"
    fleet.lab.exec("depot", ["sh", "-c", f"mkdir -p /run/wrappers/bin; {slow}; chmod 755 /run/wrappers/bin/timeout"])
    with somebody_switches(fleet):
        ended = fleet.nix_hive(*COMMAND, "--no", "confirm", "depot")
    fleet.lab.exec("depot", ["rm", "/run/wrappers/bin/timeout"])
    assert "locked: another switch-to-configuration is at work there" in line_of(ended.stderr, "depot")


@pytest.mark.parametrize("words", [(), ("-t", "boot"), ("--no", "confirm")])
def test_whoever_switches_without_us_is_not_disturbed(fleet, change, words):
    """Case 20 a and c, E11: not what the activation says tells that the lock is held."""
    before = fleet.runs("depot"), fleet.boots("depot")
    change()
    with somebody_switches(fleet) as leave:
        ended = fleet.nix_hive(*COMMAND, *words, "depot")
        assert (fleet.runs("depot"), fleet.boots("depot")) == before
        waiting = fleet.begin(*COMMAND, *words, "--wait", "60", "depot")
        fleet.lab.exec("depot", ["sh", "-c", "until grep -qs ' waits another' /run/nixhive/*/log; do :; done"])
        leave()
        waited = waiting.communicate(timeout=60)[1]
    line = line_of(ended.stderr, "depot")
    assert "locked: another switch-to-configuration is at work there. Nothing was changed." in line
    assert waiting.returncode == 0, waited
    assert fleet.boots("depot") != before[1]
    if not words:
        saw("somebody runs nixos-rebuild there", line)


def test_whoever_switches_between_test_and_boot_is_waited_for(fleet, change):
    """Case 20 b: the profile and the boot loader are set when that one is done."""
    with held(fleet) as options:
        change(f'{options} environment.etc."other".text = "x";')
        ours = fleet.begin(*COMMAND, "--confirm", "30", "depot")
        fleet.lab.exec("depot", ["cat", "/var/here"])
        taker = threading.Thread(
            target=fleet.lab.exec,
            args=("depot", ["sh", "-c", f"exec 9>{LOCK}; flock 9; cat /var/here; sleep 2"]),
        )
        taker.start()
        # Not by /proc/locks, which tells nothing of a lock whose taker has ended and left it to others.
        waits = "until grep -qs lock /proc/$(pgrep -fx 'flock 9')/wchan; do sleep 0.05; done"
        fleet.lab.exec("depot", ["timeout", "60", "sh", "-c", waits])
        release(fleet)
        # The one who waited has the lock before our own `boot`, and lets go of it after a while.
        fleet.lab.exec("depot", ["sh", "-c", "echo here > /var/here"])
        said = ours.communicate(timeout=60)[1]
        taker.join()
    assert ours.returncode == 0, said
    assert fleet.runs("depot") == fleet.boots("depot")


def test_an_activation_that_only_says_that_a_lock_is_held_is_not_believed(fleet, change):
    """E11."""
    before = fleet.runs("depot"), fleet.boots("depot")
    change('system.activationScripts.liar = "echo Could not acquire lock; exit 1"; practice.switchExit = 11;')
    ended = fleet.nix_hive(*COMMAND, "depot")
    line = line_of(ended.stderr, "depot")
    assert "rolled back: switch-to-configuration test ended with 11" in line
    assert (fleet.runs("depot"), fleet.boots("depot")) == before
    saw("an activation fails, and says that a lock is held", line)


def test_put_back_is_said_only_where_it_was(fleet, change):
    """D15."""
    before = fleet.runs("depot"), fleet.boots("depot")
    entry = fleet.lab.root("depot") / "boot" / "extlinux"
    change()
    fleet.lab.exec("depot", ["sh", "-c", f"rm {BOOT}/extlinux.conf; mkdir {BOOT}/new"])
    try:
        ended = fleet.nix_hive(*COMMAND, "-t", "boot", "depot")
        line = line_of(ended.stderr, "depot")
        assert "the system profile was put back, but not the boot loader" in line
        assert (fleet.runs("depot"), fleet.boots("depot")) == before
        saw("the boot loader cannot be set, nor put back", line)
        trial = line_of(fleet.nix_hive(*COMMAND, "depot").stderr, "depot")
        assert "rolled back" in trial
        assert (fleet.runs("depot"), fleet.boots("depot")) == before
    finally:
        fleet.lab.exec("depot", ["rm", "-rf", f"{BOOT}/new"])
    assert entry.exists()


def test_a_oneshot_that_takes_an_hour_is_told_and_ended_at_the_limit(fleet, change):
    """Case 39: progress says what it waits for; after the limit the old state is whole."""
    change('systemd.services.kept.script = "echo old > /var/kept";')
    ended = fleet.nix_hive(*COMMAND, "depot")
    assert ended.returncode == 0, ended.stderr
    before = fleet.runs("depot"), fleet.boots("depot")
    change('systemd.services.kept.script = "echo new > /var/kept"; systemd.services.slow.script = "exec sleep 3600";')
    ended = fleet.nix_hive(*COMMAND, "--activation-timeout", "13", "depot")
    assert ended.returncode == 1
    assert (fleet.runs("depot"), fleet.boots("depot")) == before
    assert fleet.lab.exec("depot", ["cat", "/var/kept"]) == "old\n"
    assert "sleep 3600" not in fleet.lab.exec("depot", ["ps", "-eo", "args"])
    (told,) = [line for line in ended.stderr.splitlines() if "switch-to-configuration has run for " in line]
    assert "waits for: sleep 3600" in told
    saw("a unit takes an hour to start (--activation-timeout 13)", line_of(ended.stderr, "depot"))
