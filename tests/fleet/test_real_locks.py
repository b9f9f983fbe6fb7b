"""What others do on a host while we activate there, and what an activation prints, on each kind of host."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet.kinds import HOSTS, LOCK, REAL, seen, told, up

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("systemd_hosts")]


ALL = "www-*"
"""All hosts, in one wave: what stops one of them stops no other."""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    with up(tmp_path_factory.mktemp("fleet"), "") as one:
        yield one


@pytest.fixture(autouse=True)
def mended(kinds):
    yield
    kinds.mend()


@pytest.fixture
def held(kinds):
    """NixOS's own lock is held on all hosts, until the file is removed."""
    kinds.on(HOSTS, "mkdir -p /run/nixos; mkfifo /var/here /var/go")
    script = f"flock {LOCK} sh -c 'echo here >/var/here; read -r _ </var/go'"
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        holders = [pool.submit(kinds.lab.exec, host, ["sh", "-c", script]) for host in HOSTS]
        kinds.on(HOSTS, "cat /var/here")
        yield lambda: kinds.on(HOSTS, "echo go >/var/go")
        if not all(holder.done() for holder in holders):
            kinds.on([host for host, one in zip(HOSTS, holders, strict=True) if not one.done()], "echo go >/var/go")


@pytest.mark.parametrize("words", [(), ("--no", "confirm"), ("-t", "boot")], ids=["trial", "plain", "boot"])
def test_where_nixos_own_lock_is_held_nothing_is_changed(kinds, held, words):
    """A2, A4, case 20."""
    kinds.change()
    said = kinds.fails(*words, ALL)
    told(
        said,
        ", ".join(["NixOS's own lock is held by somebody", *([" ".join(words)] if words else [])]),
        "locked: another switch-to-configuration is at work there. Nothing was changed.",
    )


def test_nixos_own_lock_is_waited_for(kinds, held):
    """A3."""
    kinds.change()
    deploy = kinds.begin("--wait", "60", ALL)
    kinds.on(HOSTS, "until grep -q 'waits another switch' /run/nixhive/*/log 2>/dev/null; do sleep 0.05; done")
    held()
    said = deploy.communicate(timeout=120)[1]
    assert deploy.returncode == 0, said
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "in sync")
    told(said, "NixOS's own lock is held by somebody, with --wait")


def test_nobody_switches_a_host_that_waits_for_our_word(kinds):
    """Case 20: the word is about the system that is on trial."""
    gate = 'checks.gate = { command = [ "sh" "-c" "echo here >/var/here; read -r _ </var/go" ]; timeout = 60; };'
    kinds.on(HOSTS, "mkfifo /var/here /var/go")
    kinds.change(checks=gate)
    deploy = kinds.begin("--confirm", "60", ALL)
    kinds.on(HOSTS, "cat /var/here")
    by_hand = f"{kinds.base}/bin/switch-to-configuration test 2>&1; echo status $?"
    for said in kinds.on(HOSTS, by_hand):
        assert "Could not acquire lock" in said
        assert said.endswith("status 11")
    kinds.on(HOSTS, "echo go >/var/go")
    said = deploy.communicate(timeout=120)[1]
    assert deploy.returncode == 0, said
    told(said, "somebody switches by hand in a trial (refused by NixOS's own lock)")


def test_a_flood_of_output_is_bounded_on_the_host_and_here(kinds):
    """Smaller: the first lines and the last ones are kept."""
    flood = "head -c 30000000 /dev/zero | tr '\\\\000' x | fold -w 100; echo the last of it; printf 'without an end'"
    kinds.change(f'system.activationScripts.flood = "{flood}";')
    deploy = kinds.begin("--confirm", "120", ALL)
    said = deploy.communicate(timeout=200)[1]
    assert deploy.returncode == 0, said[-2000:]
    for host in HOSTS:
        log = max(kinds.fleet.own.glob(f"runs/*/{host}.log"), key=lambda file: file.stat().st_mtime)
        assert log.stat().st_size < 2_000_000
        text = log.read_text(errors="replace")
        assert "lines left out" in text
        assert text.index("lines left out") < text.index("the last of it") < text.index("without an end")
    told(said, "an activation prints 30 MB")


def test_what_an_activation_leaves_behind_may_go_on_to_write(kinds):
    background = "(while sleep 0.1; do echo still here; done) & echo $! >/run/left"
    kinds.change(f'system.activationScripts.left = "{background}";')
    ended = kinds.deploy(ALL)
    assert ended.returncode == 0, ended.stderr
    # A unit's processes end with it; on a host without systemd nobody ends them.
    assert kinds.on(["www-1"], "kill $(cat /run/left) && echo it was there") == ["it was there"]
    told(ended.stderr, "an activation leaves a program that goes on to write")


def test_a_unit_that_fails_again_and_again_is_no_success(kinds):
    """A12."""
    crash = 'systemd.services.crash = { script = "exit 3"; wantedBy = [ "multi-user.target" ]; serviceConfig'
    restart = '= { Restart = "always"; RestartSec = 2; }; unitConfig.StartLimitIntervalSec = 0; };'
    kinds.change(f"{crash} {restart}", checks="checks.units = { units = true; for = 4; };")
    said = kinds.fails(*REAL)
    told(
        said,
        "a unit crashes and is started again all the time, with a check of units for 4 s",
        "rolled back",
        "crash.service",
        hosts=REAL,
    )


def test_a_check_that_has_to_hold_for_a_while_sees_what_dies_after_its_start(kinds):
    """A12, case 23."""
    dies = 'systemd.services.dies = { script = "sleep 2; exit 1"; wantedBy = [ "multi-user.target" ]; };'
    kinds.change(dies, checks="checks.units = { units = true; for = 4; };")
    said = kinds.fails(*REAL)
    told(
        said,
        "a unit dies two seconds after its start, with a check of units for 4 s",
        "rolled back",
        "dies.service",
        hosts=REAL,
    )


def test_what_waits_for_a_reboot_is_known_as_that_and_rebooted_if_needed(kinds):
    """A8, A9."""
    kinds.change()
    assert kinds.deploy("-t", "boot", ALL).returncode == 0
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "boots it next")
    ended = kinds.fleet.nix_hive("reboot", "-c", "example", "--if-needed", ALL)
    assert ended.returncode == 0, ended.stderr
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "in sync")
    again = kinds.fleet.nix_hive("reboot", "-c", "example", "--if-needed", ALL)
    assert again.returncode == 0, again.stderr
    assert {seen(again.stderr, host) for host in HOSTS} == {f"{host}: = unchanged" for host in HOSTS}
    told(ended.stderr, "deploy -t boot, then reboot --if-needed")


def test_another_init_with_a_reboot_if_needed_is_no_warning(kinds):
    """A9."""
    init = "systemd.package = pkgs.systemd // { interfaceVersion = 3; };"
    kinds.change(init, swap=("{ lib, ... }:", "{ lib, pkgs, ... }:"))
    ended = kinds.deploy("--reboot-if-needed", ALL)
    assert ended.returncode == 0, ended.stderr
    assert kinds.state(*HOSTS) == dict.fromkeys(HOSTS, "in sync")
    told(ended.stderr, "the new system takes effect by a reboot only (100), with --reboot-if-needed", "✓ done")
    # Back by the same way, for the tests that follow.
    kinds.unchange()
    assert kinds.deploy("--reboot-if-needed", ALL).returncode == 0
