"""The first use of many hosts: how many programs it takes, whatever their number."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from nixhive_nb.hosts.command import errand_of
from nixhive_nb.run.everywhere import run_everywhere
from nixhive_nb.util import process
from tests.sshd import eventually, in_threads

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]

MANY = 40


@pytest.fixture
def programs(monkeypatch):
    """How often ssh was started, by what it was to do."""
    found = Counter()
    run, start = process.run, process.start

    def count(argv):
        found[next((word for word in ("-G", "forward", "check", "-W", "-M") if word in argv), "other")] += 1

    monkeypatch.setattr(process, "run", lambda argv, **how: (count(argv), run(argv, **how))[1])
    monkeypatch.setattr(process, "start", lambda argv, **how: (count(argv), start(argv, **how))[1])
    return found


@pytest.fixture
def behind(site):
    """Hosts behind a jump host, each with an address of its own, and what connects to them."""
    jump = site.sshd(address="127.0.0.2", extra="MaxStartups 100\nMaxSessions 100")
    target = site.sshd(address="0.0.0.0", extra="MaxStartups 100")
    hosts = [
        site.instance(f"h{number}", target, Hostname=f"127.0.1.{number + 1}", ProxyJump="jump")
        for number in range(MANY)
    ]
    return site.connect(site.instance("jump", jump), *hosts), [one.name for one in hosts]


def test_hosts_that_are_alike_behind_one_jump_host_take_a_handful_of_programs(behind, programs):
    """It were two for each host: one that reads the configuration, one that asks for its forward."""
    connections, names = behind
    rows = run_everywhere(connections, names, errand_of("echo $SSH_CONNECTION"), parallel=4)
    assert [row["stdout"].split()[2] for row in rows] == [f"127.0.1.{number + 1}" for number in range(MANY)]
    assert programs["-G"] == 2  # of the hosts, and of the jump host
    assert programs["-M"] == 1
    # The first alone may have asked before the others were heard of.
    assert programs["forward"] <= 2
    programs.clear()
    assert not [row for row in run_everywhere(connections, names, errand_of("true"), parallel=4) if row["exit_code"]]
    assert not programs


def test_no_more_hosts_are_forwarded_to_than_are_used(behind, programs):
    connections, names = behind
    run_everywhere(connections, names[:3], errand_of("true"), parallel=3)
    (chain,) = connections._opener._jumps._chains.values()
    assert len(chain._forwards) == 3
    run_everywhere(connections, names[3:5], errand_of("true"), parallel=1)
    assert len(chain._forwards) == 5
    assert not chain._wanted


def test_hosts_that_come_at_once_are_forwarded_to_together_though_nobody_announced_them(behind, programs):
    connections, names = behind
    opener = connections._opener
    chain = opener._jumps._chain(opener._resolve(names[0]).jumps)
    with ThreadPoolExecutor(10) as pool:
        with chain._lock:  # as while its process starts
            waiting = [pool.submit(connections.run, name, "true") for name in names[:10]]
            eventually(lambda: len(chain._wanted) == 10, "all to wait")
        assert [one.result(60).exited for one in waiting] == [0] * 10
    assert programs["forward"] == 1


def test_one_forward_that_cannot_be_made_costs_the_others_nothing(behind, programs, monkeypatch):
    connections, names = behind
    run = process.run

    def spoilt(argv, **how):
        if "forward" in argv and argv.count("-L") > 1:
            at = [place for place, word in enumerate(argv) if word == "-L"][4]
            argv = [*argv[:at], "--", "jump"]
        return run(argv, **how)

    monkeypatch.setattr(process, "run", spoilt)
    connections.expect(names[:10])
    assert [one.exited for one in in_threads(10, lambda name: connections.run(name, "true"), names[:10])] == [0] * 10
    assert 1 < programs["forward"] <= 10
