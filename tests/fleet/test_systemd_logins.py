"""Logins of all kinds on hosts with systemd: users with sudo, shells, and what a host lacks or has left over."""

from __future__ import annotations

import re
import secrets

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import line_of, saw
from tests.fleet.own_systems import BOOKWORM, TRIXIE, own_systems
from tests.fleet.there import ROOTS, is_here

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("systemd_hosts")]


def of_user(name, *, sudo=True, debian="bookworm"):
    return HostSpec(name, "www", user="deploy", init="systemd", sudo=sudo, debian=debian)


HOSTS = {
    "sudoer": of_user("sudoer"),
    "newer": of_user("newer", debian="trixie"),
    "asked": of_user("asked", sudo=False),
    "rightless": of_user("rightless", sudo=False),
    "bash": None,
    "ash": None,
    "loud": None,
    "talking": None,
    "closed": None,
    "fish": None,
    "tcsh": None,
    "zsh": of_user("zsh", debian="trixie"),
    "lockless": None,
    "statless": None,
    "findless": None,
    "sedless": None,
    "fifoless": None,
    "linkless": None,
    "headless": None,
    "timeless": None,
    "littered": None,
    "blocked": None,
}
SETTINGS = """
  printf 'Defaults use_pty\\nDefaults lecture=always\\nDefaults secure_path="/bin"\\n' >/etc/sudoers.d/settings
  sed -i '/secure_path/d' /etc/sudoers
  echo '@includedir /etc/sudoers.d' >>/etc/sudoers
  echo 'Welcome, and beware.' | tee /etc/motd >/etc/issue.net
  echo 'Banner /etc/issue.net' >>/etc/ssh/sshd_config
  systemctl restart ssh.service
"""
OLD = "/run/nixhive/0123456789abcdef"
BEFORE = {
    "sudoer": SETTINGS,
    "newer": SETTINGS,
    "asked": "echo 'deploy ALL=(ALL:ALL) ALL' >>/etc/sudoers",
    "bash": "ln -sf bash /bin/sh",
    "ash": "ln -sf busybox /bin/sh",
    "loud": "usermod -s /bin/bash root; echo 'echo from the start-up file >&2' >/root/.bashrc",
    "talking": "usermod -s /bin/bash root; echo 'echo from the start-up file' >/root/.bashrc",
    "closed": "usermod -s /usr/sbin/nologin root",
    "fish": "usermod -s /usr/bin/fish root",
    "tcsh": "usermod -s /usr/bin/tcsh root",
    "zsh": "usermod -s /usr/bin/zsh deploy",
    "lockless": "mv /usr/bin/flock /usr/bin/flock.away",
    "statless": "mv /usr/bin/stat /usr/bin/stat.away",
    "findless": "mv /usr/bin/find /usr/bin/find.away",
    "sedless": "mv /usr/bin/sed /usr/bin/sed.away",
    "fifoless": "mv /usr/bin/mkfifo /usr/bin/mkfifo.away",
    "linkless": "mv /usr/bin/readlink /usr/bin/readlink.away",
    "headless": "mv /usr/bin/head /usr/bin/head.away",
    "timeless": "mv /usr/bin/timeout /usr/bin/timeout.away",
    "littered": f"""
      mkdir -p {OLD} /run/nixhive/of-somebody
      touch {OLD}/log && touch -d '2 hours ago' {OLD}
      printf 'somebody\\n1\\n' >/run/nixhive/holder
    """,
    "blocked": "touch /run/nixhive",
}
"""What is done to a host by hand before its first deploy."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Hosts that nothing was deployed to, each with something of its own."""
    with own_systems(tmp_path_factory.mktemp("fleet"), HOSTS) as own:
        for host, words in BEFORE.items():
            own.sh(host, f"set -e\n{words}")
        yield own


@pytest.fixture(scope="module")
def said(fleet):
    """Deploy to all hosts at once, and give what was said of that."""
    return fleet.deploy().stderr


def is_deployed(fleet, host):
    runs, boots, loads = fleet.stands(host)
    return runs == boots == loads != ""


def is_untouched(fleet, host):
    return fleet.sh(host, "ls -d /run/current-system /boot/extlinux 2>/dev/null || true") == ""


@pytest.mark.parametrize(("host", "kind"), [("sudoer", BOOKWORM), ("newer", TRIXIE)])
def test_a_user_with_sudo_is_as_good_as_root_whatever_sudo_is_set_to(fleet, said, host, kind):
    """B: non-root with sudo NOPASSWD, `use_pty`, banner and MOTD, lecture, `secure_path=/bin`."""
    assert is_deployed(fleet, host)
    fault = "a user with sudo that has use_pty, a lecture and secure_path=/bin; sshd has a banner"
    saw(fault, line_of(said, host), host=kind)


@pytest.mark.parametrize(
    ("host", "fault"), [("asked", "sudo asks for a password"), ("rightless", "the login user may not use sudo")]
)
def test_without_sudo_nothing_is_changed(fleet, said, host, fault):
    """B: sudo with a password; no sudo rights."""
    assert is_untouched(fleet, host)
    saw(fault, line_of(said, host), host=BOOKWORM)


@pytest.mark.parametrize(("host", "shell"), [("bash", "bash"), ("ash", "busybox ash")])
def test_any_sh_will_do(fleet, said, host, shell):
    """B: `/bin/sh` of three kinds; that of all other hosts is dash."""
    assert is_deployed(fleet, host)
    saw(f"/bin/sh is {shell}", line_of(said, host), host=BOOKWORM)


def test_noise_on_standard_error_is_no_harm(fleet, said):
    """B: noise on stderr."""
    assert is_deployed(fleet, "loud")
    saw("the login shell prints on standard error at its start", line_of(said, "loud"), host=BOOKWORM)


@pytest.mark.parametrize(
    ("host", "fault"),
    [("talking", "the login shell prints at its start"), ("closed", "the account may not log in (nologin)")],
)
def test_a_login_that_does_not_run_what_is_sent_is_told(fleet, said, host, fault):
    """B: login shells; nologin."""
    assert is_untouched(fleet, host)
    # What was got goes on with bytes of Nix's own.
    saw(fault, re.sub(r", got '[^']*'", "", line_of(said, host)), host=BOOKWORM)


@pytest.mark.parametrize(
    ("host", "program"),
    [
        ("lockless", "flock"),
        ("sedless", "sed"),
        ("fifoless", "mkfifo"),
        ("linkless", "readlink"),
        ("headless", "head"),
        ("timeless", "timeout"),
    ],
)
def test_without_a_program_that_it_needs_nothing_is_begun(fleet, said, host, program):
    """B: missing programs, `mkfifo`, `readlink`, `head`, `timeout`, `flock`; `sed`, which is needed as well."""
    assert is_untouched(fleet, host)
    saw(f"the host has no {program}", line_of(said, host), host=BOOKWORM)


@pytest.mark.parametrize(("host", "program"), [("statless", "stat"), ("findless", "find")])
def test_other_programs_may_be_missing(fleet, said, host, program):
    """B: missing programs, `find`, `stat`."""
    assert is_deployed(fleet, host)
    saw(f"the host has no {program}", line_of(said, host), host=BOOKWORM)


@pytest.mark.parametrize(("host", "kind"), [("fish", BOOKWORM), ("tcsh", BOOKWORM), ("zsh", TRIXIE)])
def test_any_login_shell_will_do(fleet, said, host, kind):
    """B: login shells."""
    assert is_deployed(fleet, host)
    saw(f"the login shell is {host}", line_of(said, host), host=kind)


def test_what_others_left_below_our_folder_is_swept_or_left_alone(fleet, said):
    """B: stale `/run/nixhive`, foreign folder, holder without lock."""
    assert is_deployed(fleet, "littered")
    left = fleet.sh("littered", "ls /run/nixhive").split()
    assert [name for name in left if not name.startswith("script-")] == ["lock", "of-somebody"]
    saw(
        "/run/nixhive has a stale activation, a foreign folder and a holder without a lock",
        line_of(said, "littered"),
        host=BOOKWORM,
    )


def test_where_our_folder_cannot_be_made_nothing_is_begun(fleet, said):
    """B: `/run/nixhive` a file."""
    assert is_untouched(fleet, "blocked")
    saw("/run/nixhive is a file", line_of(said, "blocked"), host=BOOKWORM)


@pytest.fixture(scope="module")
def built(fleet, said):
    """Have the hosts whose logins become root by sudo build systems of their own, and give what was said."""
    del said
    own = f'environment.etc.token.text = "{secrets.token_hex(8)}";'
    fleet.write(dict.fromkeys(("sudoer", "newer"), own))
    return fleet.deploy("sudoer", "newer", "--build-on", "instance").stderr


@pytest.mark.parametrize(("host", "kind"), [("sudoer", BOOKWORM), ("newer", TRIXIE)])
def test_a_host_behind_a_jump_host_builds_for_a_user_with_sudo_whatever_nix_it_has(fleet, built, host, kind):
    assert f"build:{host}>ssh://{host}: done (built on ssh://{host})" in built
    assert is_deployed(fleet, host)
    assert not is_here(fleet.stands(host)[0])
    assert fleet.sh(host, ROOTS) == ""
    saw("a system is built on the host, behind a jump host, by a user with sudo", line_of(built, host), host=kind)
