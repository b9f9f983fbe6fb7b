"""Real faults, each on one host: it fails with a clear line, the others are deployed, and the exit status is 1."""

from __future__ import annotations

import re

import pytest

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import line_of as outcome_line
from tests.fleet.faults import saw
from tests.practice import start

pytestmark = pytest.mark.fleet

GOOD = ["portico", "www-4"]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A fleet on which: www-1 shows another key, www-2 is down, www-3 refuses sudo, depot's disk is too small."""
    specs = [HostSpec("www-3", "www", user="deploy", sudo=False), HostSpec("depot", "depot", disk="6M")]
    one = start(tmp_path_factory.mktemp("broken"), web=4, specs=specs)
    lab_nix = one.example / "lab.nix"
    text = lab_nix.read_text()
    keys = {host.instance: host.host_key for host in one.lab.status()}
    lab_nix.write_text(text.replace(keys["www-1"], keys["www-4"], 1))
    one.lab.stop_host("www-2")
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def ended(broken):
    return broken.nix_hive("deploy", "-c", "example", "portico", "*")


def line_of(ended, instance):
    """The line of the report that gives the reason for one instance."""
    (line,) = [line for line in ended.stderr.splitlines() if re.match(rf"{instance}: .", line)]
    return line


def outcome_of(said, instance):
    """How an instance ended, without the reason."""
    return ": ".join(outcome_line(said, instance).split(": ")[:2])


def test_the_exit_status_is_one_and_the_headline_counts(ended):
    assert ended.returncode == 1
    assert "2 of 6 deployed, 4 failed" in ended.stderr


@pytest.mark.parametrize("host", GOOD)
def test_the_good_hosts_are_deployed(broken, ended, host):
    assert f"activate:{host}: done" in ended.stderr
    assert broken.runs(host) == broken.boots(host) != ""


def test_a_wrong_host_key_is_refused_with_both_fingerprints_and_what_to_do(broken, ended):
    line = line_of(ended, "www-1")
    assert len(re.findall(r"SHA256:[A-Za-z0-9+/]{43}", line)) == 2
    assert "instances.www-1.hostKeys" in line
    assert "system" not in broken.lab.exec("www-1", ["ls", "/nix/var/nix/profiles"])


def test_a_host_that_is_down_is_named_with_its_address(broken, ended):
    address = next(host.address for host in broken.lab.status() if host.instance == "www-2")
    assert address in line_of(ended, "www-2")


def test_refused_sudo_says_what_to_do_and_nothing_was_changed(broken, ended):
    line = line_of(ended, "www-3")
    assert "sudo was refused" in line
    assert "Nothing was changed" in line
    assert "/nix/store" not in broken.runs("www-3")
    assert "system" not in broken.lab.exec("www-3", ["ls", "/nix/var/nix/profiles"])


def test_a_full_disk_is_said_to_be_full(ended):
    assert "No space left on device" in line_of(ended, "depot")
    saw("the disk of the host is full", f"{outcome_of(ended.stderr, 'depot')}: … No space left on device")
    saw("the host is down", outcome_of(ended.stderr, "www-2"))
    saw("the host shows another key", outcome_of(ended.stderr, "www-1"))


def test_no_line_of_the_report_is_a_traceback(ended):
    assert "Traceback" not in ended.stderr
    assert "bug in nixhive_nb" not in ended.stderr


def test_when_the_faults_are_mended_the_next_deploy_brings_the_rest(broken, ended):
    lab_nix = broken.example / "lab.nix"
    keys = {host.instance: host.host_key for host in broken.lab.status()}
    text = lab_nix.read_text()
    cut = text.index("www-1 = {")
    lab_nix.write_text(text[:cut] + text[cut:].replace(keys["www-4"], keys["www-1"], 1))
    broken.lab.start_host("www-2")
    again = broken.nix_hive("deploy", "-c", "example", "portico", "web")
    for host in ("www-1", "www-2"):
        assert f"activate:{host}: done" in again.stderr, again.stderr
        assert broken.runs(host) == broken.boots(host) != ""
    assert "probe:www-4: unchanged" in again.stderr
