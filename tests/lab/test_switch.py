"""What `switch-to-configuration` of a practice system does on a host, word by word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nixhive_nb.lab import LabError

pytestmark = pytest.mark.fleet

# A host that no other test looks at, as these rename it.
HOST = "www-4"
PROFILE = "/nix/var/nix/profiles/system"
LOCK = "/run/nixos/switch-to-configuration.lock"


@pytest.fixture
def deploy(operator, build):
    """Builds a system, brings it to the host, and gives its path."""

    def deploy(configuration: str) -> str:
        path = build(f"system ({{ lib, pkgs, ... }}: {{ {configuration} }})")
        operator.copy(HOST, path)
        return path

    return deploy


@pytest.fixture
def switch(operator):
    def switch(path: str, word: str = "switch") -> subprocess.CompletedProcess[str]:
        return operator.ssh(HOST, f"{path}/bin/switch-to-configuration {word}")

    return switch


def on_host(lab, *argv: str) -> str:
    return lab.exec(HOST, argv).strip()


def current(lab) -> str:
    return on_host(lab, "readlink", "/run/current-system")


def boot_entry(lab) -> str:
    return on_host(lab, "sed", "-n", "s|^ *APPEND init=\\(.*\\)/init$|\\1|p", "/boot/extlinux/extlinux.conf")


def test_the_outward_shape_of_a_system(build):
    path = build('system { boot.kernelParams = [ "quiet" ]; environment.systemPackages = [ pkgs.htop ]; }')
    script = """
      cd "$0" && test -x bin/switch-to-configuration && test -x activate && test -d etc && test -x sw/bin/htop &&
      test -s kernel && test -s initrd && test -d kernel-modules/lib && cat kernel-params nixos-version system
    """
    done = subprocess.run(["sh", "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("quiet24.11.practice")
    size = subprocess.run(["nix-store", "-qR", path], capture_output=True, text=True, check=True).stdout
    assert sum("-base-" in line for line in size.splitlines()) == 20


def test_switch_makes_files_name_and_boot_entry(lab, deploy, switch):
    path = deploy("""
      networking.hostName = "renamed";
      environment.etc.motd.text = "first\\n";
      environment.etc."deep/er/file".text = "deep";
      environment.etc.copied = { text = "copy"; mode = "0600"; };
      environment.systemPackages = [ pkgs.htop ];
      system.activationScripts.mark = "echo $systemConfig >/var/lib/mark";
    """)
    done = switch(path)
    assert done.returncode == 0, done.stderr
    assert "activating the configuration..." in done.stderr
    assert "setting up /etc..." in done.stderr
    assert current(lab) == boot_entry(lab) == on_host(lab, "cat", "/var/lib/mark") == path
    assert on_host(lab, "cat", "/etc/motd") == "first"
    assert on_host(lab, "cat", "/etc/deep/er/file") == "deep"
    assert on_host(lab, "stat", "-c", "%a %F", "/etc/copied") == "600 regular file"
    assert on_host(lab, "hostname") == "renamed"
    assert "of the practice fleet" in on_host(lab, "htop")
    assert on_host(lab, "sudo", "id", "-u") == "0"

    # The next one takes away what it does not have, leaves the name alone, and does not touch what is the fleet's.
    config = on_host(lab, "cat", "/etc/nix/nix.conf")
    after = deploy('networking.hostName = ""; environment.etc.motd.text = "second\\n"; nix.settings.cores = 7;')
    assert switch(after).returncode == 0
    assert on_host(lab, "cat", "/etc/motd") == "second"
    assert on_host(lab, "sh", "-c", "ls -d /etc/deep /etc/copied 2>/dev/null || true") == ""
    assert on_host(lab, "hostname") == "renamed"
    assert on_host(lab, "cat", "/etc/nix/nix.conf") == config


def test_test_leaves_the_boot_entry_and_boot_leaves_the_rest(lab, deploy, switch):
    old, new = deploy('environment.etc.motd.text = "old";'), deploy('environment.etc.motd.text = "new";')
    assert switch(old).returncode == 0
    assert switch(new, "test").returncode == 0
    assert (current(lab), boot_entry(lab), on_host(lab, "cat", "/etc/motd")) == (new, old, "new")
    assert switch(old, "test").returncode == 0
    assert switch(new, "boot").returncode == 0
    assert (current(lab), boot_entry(lab), on_host(lab, "cat", "/etc/motd")) == (old, new, "old")


def test_a_reboot_starts_the_boot_entry(lab, operator, deploy, switch):
    old, new = deploy('environment.etc.motd.text = "old";'), deploy('environment.etc.motd.text = "new";')
    assert switch(old).returncode == 0
    assert switch(new, "boot").returncode == 0
    restart(lab)
    assert current(lab) == on_host(lab, "readlink", "/run/booted-system") == new
    assert operator.ssh(HOST, "cat /etc/motd").stdout == "new"
    assert switch(old, "test").returncode == 0
    restart(lab)
    assert current(lab) == new


def test_a_reboot_without_a_boot_entry_starts_the_profile(lab, deploy):
    path = deploy('environment.etc.motd.text = "from the profile";')
    on_host(lab, "rm", "-f", "/boot/extlinux/extlinux.conf")
    on_host(lab, "nix-env", "-p", PROFILE, "--set", path)
    restart(lab)
    assert current(lab) == path
    assert on_host(lab, "cat", "/etc/motd") == "from the profile"


def restart(lab) -> None:
    lab.stop_host(HOST)
    lab.start_host(HOST)


def test_dry_activate_changes_nothing(lab, deploy, switch):
    old = deploy('environment.etc.motd.text = "old";')
    new = deploy('environment.etc.motd.text = "new"; systemd.services.fresh.script = "touch /var/lib/fresh";')
    assert switch(old).returncode == 0
    done = switch(new, "dry-activate")
    assert done.returncode == 0
    assert "would activate the configuration..." in done.stderr
    assert "would start the following units: fresh.service" in done.stderr
    assert (current(lab), boot_entry(lab), on_host(lab, "cat", "/etc/motd")) == (old, old, "old")
    assert on_host(lab, "sh", "-c", "ls /var/lib/fresh 2>/dev/null || true") == ""


@pytest.mark.parametrize("word", ["", "swich", "switch now"])
def test_another_word_is_a_usage_error(lab, deploy, switch, word):
    path = deploy('environment.etc.motd.text = "never";')
    before = on_host(lab, "sh", "-c", "readlink /run/current-system || true")
    done = switch(path, word)
    assert done.returncode == 1
    assert "check|switch|boot|test|dry-activate" in done.stderr
    assert on_host(lab, "sh", "-c", "readlink /run/current-system || true") == before != path


def test_a_failing_activation_script_is_exit_code_2(lab, deploy, switch):
    path = deploy("""
      system.activationScripts.broken = "false; touch /var/lib/went-on";
      system.activationScripts.later = { deps = [ "broken" ]; text = "touch /var/lib/later"; };
    """)
    done = switch(path, "test")
    assert done.returncode == 2
    assert "Activation script snippet 'broken' failed (1)" in done.stderr
    assert current(lab) == path
    assert on_host(lab, "sh", "-c", "cd /var/lib && ls later went-on 2>/dev/null || true") == "later"


def test_a_failing_unit_is_exit_code_4(lab, deploy, switch):
    path = deploy('systemd.services.shaky.script = "test -e /var/lib/steady"; systemd.services.fine.script = "true";')
    done = switch(path)
    assert done.returncode == 4
    assert "warning: the following units failed: shaky.service" in done.stderr
    assert current(lab) == path
    # It is tried again, and only it.
    on_host(lab, "touch", "/var/lib/steady")
    done = switch(path)
    assert done.returncode == 0
    assert "starting the following units: shaky.service" in done.stderr
    assert "fine.service" not in done.stderr
    assert "starting" not in switch(path).stderr
    gone = switch(deploy('time.timeZone = "UTC";'))
    assert "stopping the following units: fine.service, shaky.service" in gone.stderr


@pytest.mark.parametrize("status", [2, 4, 100])
def test_a_switch_ends_as_it_is_told_to_after_all_else_is_done(lab, deploy, switch, status):
    path = deploy(f'environment.etc.motd.text = "told {status}"; practice.switchExit = {status};')
    before = boot_entry(lab)
    assert switch(path, "test").returncode == status
    assert (current(lab), boot_entry(lab), on_host(lab, "cat", "/etc/motd")) == (path, before, f"told {status}")
    assert switch(path, "boot").returncode == 0
    assert switch(path).returncode == status
    assert boot_entry(lab) == path


def test_a_switch_that_is_told_to_refuse_changes_nothing(lab, deploy, switch):
    old = deploy('environment.etc.motd.text = "old";')
    new = deploy('environment.etc.motd.text = "new"; practice.switchExit = 1;')
    assert switch(old).returncode == 0
    for word in ("switch", "test"):
        done = switch(new, word)
        assert done.returncode == 1
        assert "Pre-switch check 'practice' failed" in done.stderr
        assert (current(lab), boot_entry(lab), on_host(lab, "cat", "/etc/motd")) == (old, old, "old")


def test_checks_before_a_switch_are_run_for_every_word_and_alone(lab, deploy, switch):
    old = deploy('environment.etc.motd.text = "old"; system.switch.inhibitors.dbus = "dbus";')
    new = deploy("""
      environment.etc.motd.text = "new";
      system.switch.inhibitors = { dbus = "broker"; other = "new"; };
      system.preSwitchChecks.word = "echo it is $NIXOS_ACTION of $1; test ! -e /var/lib/refuse";
    """)
    assert switch(old).returncode == 0
    for word in ("check", "test", "switch"):
        done = switch(new, word)
        assert done.returncode == 1
        assert "dbus : dbus -> broker\n" in done.stderr
        assert "Pre-switch check 'switchInhibitors' failed\nPre-switch checks failed" in done.stderr
        assert (current(lab), boot_entry(lab)) == (old, old)
    assert on_host(lab, "env", "NIXOS_NO_CHECK=1", f"{new}/bin/switch-to-configuration", "test") == ""
    assert current(lab) == new
    assert switch(old, "test").returncode == 1
    assert f"it is check of {new}" in switch(new, "check").stderr
    on_host(lab, "touch", "/var/lib/refuse")
    assert "Pre-switch check 'word' failed" in switch(new, "boot").stderr
    assert boot_entry(lab) == old
    on_host(lab, "rm", "/var/lib/refuse")
    assert switch(new, "boot").returncode == 0
    assert (current(lab), boot_entry(lab)) == (new, new)
    on_host(lab, "env", "NIXOS_NO_CHECK=1", f"{old}/bin/switch-to-configuration", "switch")


def test_a_boot_loader_that_fails_leaves_the_old_entry(lab, deploy, switch):
    old, new = deploy(""), deploy('practice.bootLoaderExit = 1; environment.etc.motd.text = "new";')
    assert switch(old).returncode == 0
    for word in ("boot", "switch"):
        done = switch(new, word)
        assert done.returncode == 1
        assert "Failed to install bootloader" in done.stderr
        assert (current(lab), boot_entry(lab)) == (old, old)
    assert switch(new, "test").returncode == 0
    assert current(lab) == new
    assert switch(old, "test").returncode == 0


def test_an_entry_for_one_boot_is_good_for_one(lab, deploy, switch):
    usual, once = deploy('environment.etc.motd.text = "usual";'), deploy('environment.etc.motd.text = "once";')
    assert switch(usual).returncode == 0
    on_host(lab, "sh", "-c", f"echo {once} >/boot/once")
    for expected in (once, usual):
        restart(lab)
        assert current(lab) == on_host(lab, "readlink", "/run/booted-system") == expected


def test_failing_units_take_the_place_of_a_failing_activation_script(lab, deploy, switch):
    done = switch(deploy('system.activationScripts.bad = "false"; systemd.services.bad.script = "false";'), "test")
    assert done.returncode == 4
    assert "Activation script snippet 'bad' failed (1)" in done.stderr
    assert "Failed to run activate script" in done.stderr


def test_units_are_stopped_restarted_reloaded_or_left_as_they_say(lab, deploy, switch):
    def unit(version: int, more: str = "") -> str:
        return f'script = "true"; description = "{version}"; {more}'

    def system(version: int) -> str:
        return deploy(f"""
          systemd.services.plain = {{ {unit(version)} }};
          systemd.services.again = {{ {unit(version, "stopIfChanged = false;")} }};
          systemd.services.read = {{ {unit(version, "reloadIfChanged = true;")} }};
          systemd.services.left = {{ {unit(version, "restartIfChanged = false;")} }};
        """)

    assert switch(system(1)).returncode == 0
    new = system(2)
    for word, would in (("dry-activate", True), ("test", False)):
        said = switch(new, word).stderr
        assert ("would stop" if would else "stopping") + " the following units: plain.service\n" in said
        assert ("would restart" if would else "restarting") + " the following units: again.service\n" in said
        assert ("would reload" if would else "reloading") + " the following units: read.service\n" in said
        assert (
            "would NOT stop" if would else "NOT restarting"
        ) + " the following changed units: left.service\n" in said
        assert ("would start" if would else "starting") + " the following units: plain.service\n" in said


def test_an_activation_may_ask_for_units(lab, deploy, switch):
    path = deploy("""
      systemd.services.asked.script = "echo ran >>/var/lib/asked";
      system.activationScripts.asks = "echo asked.service >>/run/nixos/activation-restart-list";
    """)
    assert switch(path).returncode == 0
    assert "restarting the following units: asked.service" in switch(path).stderr


def test_a_system_has_its_specialisations(build):
    path = Path(build('system { specialisation.quiet.configuration.environment.etc.motd.text = "quiet"; }'))
    within = (path / "specialisation" / "quiet").resolve(strict=True)
    assert (within / "etc" / "motd").read_text() == "quiet"
    assert not (path / "etc" / "motd").exists()
    assert list((within / "specialisation").iterdir()) == []


def test_another_kind_of_init_needs_a_reboot_and_is_exit_code_100(lab, deploy, switch):
    old = deploy('environment.etc.motd.text = "old";')
    init = "systemd.package = pkgs.systemd // { interfaceVersion = 3; };"
    new = deploy(f'environment.etc.motd.text = "new"; {init}')
    assert switch(old).returncode == 0
    done = switch(new, "test")
    assert done.returncode == 100
    assert "until you reboot the system" in done.stderr
    assert (current(lab), boot_entry(lab), on_host(lab, "cat", "/etc/motd")) == (old, old, "old")
    assert switch(new).returncode == 100
    assert (current(lab), boot_entry(lab)) == (old, new)
    lab.reboot_host(HOST)
    assert (current(lab), on_host(lab, "cat", "/etc/motd")) == (new, "new")
    assert switch(new).returncode == 0
    # Back to the usual one, for the tests that follow.
    assert switch(old, "boot").returncode == 0
    lab.reboot_host(HOST)
    assert current(lab) == old


def test_another_kernel_brings_its_own_modules_and_initial_disk(build):
    parts = ("kernel", "initrd", "kernel-modules")

    def boots(configuration: str) -> list[Path]:
        system = Path(build(f"system ({{ pkgs, ... }}: {{ {configuration} }})"))
        return [(system / part).resolve(strict=True) for part in parts]

    usual, latest = boots(""), boots("boot.kernelPackages = pkgs.linuxPackages_latest;")
    assert all(old != new for old, new in zip(usual, latest, strict=True))
    assert boots('environment.etc.motd.text = "new";') == usual
    assert sum(path.stat().st_size for path in latest[:2]) < 1_000_000


def test_what_a_switch_starts_does_not_keep_its_lock(lab, deploy, switch):
    lasting = "setsid sleep 1000 </dev/null >/dev/null 2>&1 &"
    path = deploy(f"""
      system.activationScripts.lasting = "{lasting} echo $! >/run/lasting-snippet";
      systemd.services.lasting.script = "{lasting} echo $! >/run/lasting-unit";
    """)
    assert switch(path).returncode == 0
    assert on_host(lab, "flock", "--nonblock", LOCK, "echo", "free") == "free"
    # Both still run, so that it was not their end that freed the lock.
    on_host(lab, "sh", "-c", "kill $(cat /run/lasting-snippet) && kill $(cat /run/lasting-unit)")


def test_an_activation_can_cut_the_network_and_another_one_brings_it_back(lab, operator, deploy, switch):
    mending = deploy('system.activationScripts.mend = "ip link set eth0 up";')
    cutting = deploy('system.activationScripts.cut = "ip link set eth0 down";')
    assert switch(mending).returncode == 0
    # Over ssh it would wait for an answer that cannot come.
    on_host(lab, f"{cutting}/bin/switch-to-configuration", "test")
    assert current(lab) == cutting
    assert operator.ssh("-o", "ConnectTimeout=2", HOST, "true").returncode == 255
    on_host(lab, f"{mending}/bin/switch-to-configuration", "test")
    done = operator.ssh(HOST, "readlink /run/current-system")
    assert done.stdout.strip() == mending, done.stderr


def test_a_reboot_brings_the_network_back(lab, operator, deploy, switch):
    good = deploy('environment.etc.motd.text = "good";')
    cutting = deploy('system.activationScripts.cut = "ip link set eth0 down; ip addr flush dev eth0";')
    assert switch(good).returncode == 0
    on_host(lab, f"{cutting}/bin/switch-to-configuration", "test")
    lab.reboot_host(HOST)
    done = operator.ssh(HOST, "readlink /run/current-system")
    assert done.stdout.strip() == good, done.stderr


def test_only_one_at_a_time(lab, operator, deploy, switch):
    path = deploy('environment.etc.motd.text = "alone";')
    slow = deploy('system.activationScripts.slow = "echo started; read -r line </var/lib/gate";')
    on_host(lab, "mkfifo", "/var/lib/gate")
    argv = ["ssh", "-F", str(operator.config), HOST, f"{slow}/bin/switch-to-configuration test"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "started\n"
        second = switch(path)
        with pytest.raises(LabError):
            on_host(lab, "flock", "--nonblock", LOCK, "true")
        on_host(lab, "sh", "-c", "echo go >/var/lib/gate")
        assert first.wait(30) == 0
    assert second.returncode == 11
    assert "Could not acquire lock" in second.stderr
    assert current(lab) == slow
    assert switch(path).returncode == 0


def test_one_of_the_older_kind_waits_for_the_lock(lab, operator, deploy, switch):
    path = deploy('environment.etc.motd.text = "patient"; practice.lockBlocks = true;')
    on_host(lab, "sh", "-c", "rm -f /var/lib/held /var/lib/gate; mkfifo /var/lib/held /var/lib/gate")
    hold = f"mkdir -p /run/nixos; flock {LOCK} sh -c 'echo >/var/lib/held; read _ </var/lib/gate'"
    argv = ["ssh", "-F", str(operator.config), HOST]
    with subprocess.Popen([*argv, hold], stdin=subprocess.DEVNULL) as holder:
        on_host(lab, "cat", "/var/lib/held")
        waits = f"echo begins; exec {path}/bin/switch-to-configuration test"
        with subprocess.Popen([*argv, waits], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout.readline() == "begins\n"
            assert waiting.poll() is None
            on_host(lab, "sh", "-c", "echo go >/var/lib/gate")
            assert waiting.wait(30) == 0
        assert holder.wait(30) == 0
    assert current(lab) == path
