"""A log of a failed deploy names the cause without the source code at hand."""

from __future__ import annotations

import re

import pytest

from nixhive_nb.lab import HostSpec
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A fleet on which: www-1 shows another key, www-2 is down, www-3 knows none of our keys, depot's disk is full."""
    specs = [HostSpec("depot", "depot", disk="6M")]
    one = start(tmp_path_factory.mktemp("why"), specs=specs)
    lab_nix = one.example / "lab.nix"
    keys = {host.instance: host.host_key for host in one.lab.status()}
    lab_nix.write_text(lab_nix.read_text().replace(keys["www-1"], keys["portico"], 1))
    one.lab.stop_host("www-2")
    one.lab.exec("www-3", ["sh", "-c", "find /root /home -name authorized_keys -exec sh -c ': > {}' ';'"])
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def log(broken):
    """What the log has of the deploy, by line."""
    ended = broken.nix_hive("deploy", "-c", "example", "--state-dir", "kept", "portico", "*")
    assert ended.returncode == 1
    return (broken.folder / "nix-hive.log").read_text()


def test_the_wrong_host_key_is_named_with_who_says_so(log):
    assert re.search(r"www-1 \([^)]*\): host key SHA256:\S+ \(ssh-ed25519\) is not that of the deployment", log)


def test_the_refused_login_is_named_with_each_key_that_was_tried(log):
    assert re.search(r"www-3 \([^)]*through \S*portico\): user root: key \S+ was refused", log)


def test_the_host_that_is_down_is_named_with_what_its_jump_host_says(log):
    assert re.search(r"step probe:www-2: failed: www-2 .*cannot be reached from", log)


def test_the_failed_copy_is_named_with_the_words_of_nix(log):
    assert re.search(r"started \d+: NIX_SSHOPTS=.* nix .*copy .*ssh://depot", log)
    assert re.search(r"ended \d+: nix, exit status 1 after", log)
    assert re.search(r"step fetch:depot: failed: .*No space left on device", log)


def test_logins_tell_host_way_user_and_key(log):
    assert re.search(r"portico \([\d.]+:22\): user \w+: key \S+ \(ssh-ed25519 SHA256:\S+\) was taken", log)
    assert re.search(r"portico \([\d.]+:22\): user \w+ is logged in after \d", log)


def test_the_run_and_its_end_are_named(log):
    assert re.search(r"run \S+ begins: deploy of plan [0-9a-f]{12}, journal /", log)
    assert re.search(r"run \S+ has ended: ", log)


def test_a_bug_report_of_a_killed_run_and_a_broken_deployment(broken, log):
    """What is wanted when nothing works: no evaluation, no end of the run."""
    (journal,) = (broken.folder / "kept" / "runs").glob("*.jsonl")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:3]) + '{"cut')
    (broken.folder / "broken.nix").write_text("{ systems = ")
    run = journal.stem[-6:]
    ended = broken.nix_hive("bug-report", "-c", "broken.nix", "--state-dir", "kept", run, "--file", "bug.txt")
    assert ended.returncode == 0, ended.stderr
    assert "Deployment: why it cannot be evaluated" in ended.stdout
    text = (broken.folder / "bug.txt").read_text()
    assert "syntax error" in text
    assert f"Run {journal.stem}: deploy, killed" in text
    assert '{"cut' in text
