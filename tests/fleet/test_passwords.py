"""sudo that asks for a password, on real hosts: where it goes, and where it is found afterwards."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nixhive_nb.hosts.command import errand_of
from nixhive_nb.hosts.password import Password
from nixhive_nb.hosts.privilege import REFUSED, elevation
from nixhive_nb.lab import HostSpec
from tests.practice import start, with_leave

pytestmark = pytest.mark.fleet

LOG = "/var/log/sudo.log"
HOSTS = ("depot", "www-2")


@pytest.fixture(scope="module")
def secret():
    """A password that stands nowhere else."""
    return f"canary {secrets.token_hex(12)}\\x"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, secret):
    """Two hosts whose sudo asks, and one whose sudo does not."""
    specs = [
        HostSpec(name, system, user="deploy", sudo=False) for name, system in (("depot", "depot"), ("www-2", "www"))
    ]
    one = start(tmp_path_factory.mktemp("fleet"), web=2, specs=specs)
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=f"{secret}\n", capture_output=True, text=True, check=True
    ).stdout.strip()
    for host in HOSTS:
        one.lab.exec(host, ["sed", "-i", f"s|^deploy:[^:]*|deploy:{hashed}|", "/etc/shadow"])
        one.lab.exec(host, ["sh", "-c", f"echo 'Defaults logfile={LOG},loglinelen=0' >>/etc/sudoers"])
        one.lab.exec(host, ["sh", "-c", "echo 'deploy ALL=(ALL:ALL) ALL' >>/etc/sudoers"])
    yield one
    one.lab.down()


def given(fleet, password, *words):
    """Run `nix-hive` with a password in a descriptor."""
    read, write = os.pipe()
    os.write(write, f"{password}\n".encode())
    os.close(write)
    try:
        return subprocess.run(
            [sys.executable, "-m", "nixhive_nb", *with_leave(words)],
            cwd=fleet.folder,
            env={**fleet._environment(), "NIXHIVE_PASSWORD_FD": str(read)},
            pass_fds=[read],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        os.close(read)


def started(fleet, host):
    """What sudo has started or refused there, a line each."""
    return fleet.lab.exec(host, ["sh", "-c", f"cat {LOG} 2>/dev/null || true"]).splitlines()


def test_a_wrong_password_is_tried_once_on_one_host_and_nothing_is_built(fleet):
    before = {host: len(started(fleet, host)) for host in HOSTS}
    ended = given(fleet, "not this one", "deploy", "-c", "example", *HOSTS)
    assert ended.returncode == 1
    assert "The password was refused on 1 host. It was tried once there, and not on the 1 other host" in ended.stderr
    assert "1 incorrect password attempt" in ended.stderr
    assert "build:" not in ended.stderr
    tried = [line for host in HOSTS for line in started(fleet, host)[before[host] :] if "incorrect password" in line]
    assert len(tried) == 1


def test_without_one_it_is_said_what_to_do(fleet):
    said = fleet.nix_hive("deploy", "-c", "example", "depot").stderr
    assert "or say --ask-password" in said
    asked = fleet.nix_hive("deploy", "-c", "example", "--ask-password", "depot")
    assert asked.returncode == 2
    assert "--password-command WORDS, or a descriptor in NIXHIVE_PASSWORD_FD" in asked.stderr


class Watch:
    """Looks at each process of this machine, those of its hosts among them, for a text, until it is told to end."""

    def __init__(self, text: str) -> None:
        self.text, self.found, self.looks = text.encode(), [], 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _go(self):
        while not self._end.wait(0.01):
            self.look()

    def look(self):
        self.looks += 1
        for place in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    if self.text in (place / name).read_bytes():
                        self.found.append(f"{place / name}")
                except OSError:  # it has ended
                    continue


def kept_in(fleet, text):
    """Return the files of ours and of the hosts in which a text stands."""
    ours = subprocess.run(
        ["grep", "-rlFs", "--", text, str(fleet.folder), os.environ["XDG_STATE_HOME"]],
        capture_output=True, text=True, check=False,
    ).stdout.split("\n")  # fmt: skip
    hosts = [
        f"{host}:{file}"
        for host in HOSTS
        for file in fleet.lab.exec(
            host, ["sh", "-c", 'grep -rlFs -- "$1" /var /run /tmp /etc /root /home || true', "sh", text]
        ).split()
    ]
    return [file for file in ours if file] + hosts


def test_with_one_all_words_become_root_and_it_is_found_nowhere(fleet, secret):
    with Watch(secret) as watch:
        deployed = given(fleet, secret, "deploy", "-c", "example", *HOSTS)
        assert deployed.returncode == 0, deployed.stderr
        ran = given(fleet, secret, "run", "-c", "example", "--sudo", "--stdin-from", "/dev/null", "depot", "id -u; cat")
        assert ran.returncode == 0, ran.stderr
        assert "0" in ran.stdout.split()
        rebooted = given(fleet, secret, "reboot", "-c", "example", "www-2")
        assert rebooted.returncode == 0, rebooted.stderr
    assert all(fleet.runs(host) for host in HOSTS)
    assert watch.looks
    assert watch.found == []
    assert kept_in(fleet, secret) == []
    said = "".join(one.stdout + one.stderr for one in (deployed, ran, rebooted))
    assert secret not in said
    # No other word than the first was ever tried, and no root was asked for what needs none.
    for host in HOSTS:
        lines = started(fleet, host)
        assert len([line for line in lines if "incorrect password" in line]) <= 1
        assert not [line for line in lines if " nixhive say " in line or " nixhive follow " in line]


def test_the_search_finds_what_is_there(fleet):
    planted = f"planted {secrets.token_hex(8)}"
    (fleet.folder / "planted.log").write_text(planted)
    fleet.lab.exec("depot", ["sh", "-c", 'echo "$1" >/var/log/planted', "sh", planted])
    assert {str(fleet.folder / "planted.log"), "depot:/var/log/planted"} <= set(kept_in(fleet, planted))
    (fleet.folder / "planted.log").unlink()
    fleet.lab.exec("depot", ["rm", "/var/log/planted"])
    says = ["sh", "-c", "echo; cat", "sh"]
    for words, env in (([*says, planted], {}), (says, {"PLANTED": planted})):
        with subprocess.Popen(words, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
            one.stdout.readline()
            watch = Watch(planted)
            watch.look()
            assert watch.found
            one.stdin.close()


def test_the_password_is_no_part_of_the_script_where_sudo_does_not_ask_after_all(secret):
    """Here root is never asked, as a user with NOPASSWD, !authenticate or a note of a moment ago."""
    by = elevation((), root=False, password=Password(secret))
    words = by.shell('cat; echo "$@"', ["of", "its own"])
    ended = subprocess.run(
        ["/bin/sh", "-c", words], input=by.input("line\n"), capture_output=True, text=True, check=True
    )
    assert ended.stdout == "line\nof its own\n"
    errand = errand_of("cat; echo there", sudo=True, stdin="line\n")
    command, data = errand.command_by(by), errand.stdin_by(by)
    # It ends its session when its input has ended: not ours.
    done = subprocess.run(
        ["/bin/sh", "-c", command], input=data, capture_output=True, check=False, start_new_session=True
    )
    assert done.stdout == b"line\nthere\n"
    unmarked = f"{secret}\n{secret}\nline\n"
    cut = subprocess.run(["/bin/sh", "-c", words], input=unmarked, capture_output=True, text=True, check=False)
    assert (cut.returncode, cut.stdout) == (REFUSED, "")


def test_where_sudo_does_not_ask_any_more_none_is_sent(fleet, secret):
    fleet.lab.exec("depot", ["sh", "-c", "echo 'Defaults:deploy !authenticate' >>/etc/sudoers"])
    try:
        ended = given(fleet, secret, "run", "-c", "example", "--sudo", "depot", "cat; echo done")
    finally:
        fleet.lab.exec("depot", ["sed", "-i", "/!authenticate/d", "/etc/sudoers"])
    assert ended.returncode == 0, ended.stderr
    assert "done" in ended.stdout
    assert secret not in ended.stdout + ended.stderr
