"""sudo that asks for a password, on real hosts: how often it is tried, and what it becomes no part of."""

from __future__ import annotations

import subprocess

import pytest

from nixhive_nb.hosts.command import errand_of
from nixhive_nb.hosts.password import Password
from nixhive_nb.hosts.privilege import REFUSED, elevation
from nixhive_nb.lab import HostSpec
from tests.fleet.asked import given, has_password, started
from tests.practice import start

pytestmark = pytest.mark.fleet

HOSTS = ("depot", "www-2")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, secret):
    """Two hosts whose sudo asks, and one whose sudo does not."""
    specs = [
        HostSpec(name, system, user="deploy", sudo=False) for name, system in (("depot", "depot"), ("www-2", "www"))
    ]
    one = start(tmp_path_factory.mktemp("fleet"), web=2, specs=specs)
    for host in HOSTS:
        has_password(one, host, secret)
    yield one
    one.lab.down()


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
    # The end of its input is the end of the link, which ends it and its session: not ours, and not before it has ended.
    argv = ["/bin/sh", "-c", command]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as running:
        running.stdin.write(data)
        running.stdin.flush()
        assert running.stdout.read() == b"line\nthere\n"
    unmarked = f"{secret}\n{secret}\nline\n"
    cut = subprocess.run(["/bin/sh", "-c", words], input=unmarked, capture_output=True, text=True, check=False)
    assert (cut.returncode, cut.stdout) == (REFUSED, "")
