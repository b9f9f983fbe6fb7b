"""Small soaks: what a deploy with hosts down, and many commands, have open is given back. Larger ones: `make soak`."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.counts import Peak, settled
from benchmarks.kernel import Kernel
from nixhive_nb import Hive
from nixhive_nb.errors import RunFailed

pytestmark = pytest.mark.fleet

HOSTS = ["portico", "depot", "www-1", "www-2", "www-3"]
DOWN = HOSTS[-2:]


@pytest.fixture(scope="module")
def idle(practice):
    """What this process has open when a first use of the fleet is over."""
    whole = practice.example / "default.nix"
    quick = 'ProxyJump = "portico"; ConnectTimeout = 2;'  # a host that is off is waited for
    whole.write_text(whole.read_text().replace('ProxyJump = "portico";', quick))
    with hive_of(practice) as hive:
        assert set(hive.deploy("portico", "*").frame["outcome"]) == {"done"}
    return settled()


@pytest.fixture
def hive(practice, idle):
    with hive_of(practice) as one:
        yield one


def hive_of(practice):
    return Hive.load(practice.example, state=practice.folder / ".hive.state")


def with_kept_threads(counts):
    """Add the threads that wait for more work: one a host is kept at the most, and only as many as were ever wanted.

    How many were wanted at once is another number each time: five hosts that answer one after another need one. A
    thread that is left by each command would be hundreds.
    """
    return msgspec.structs.replace(counts, threads=counts.threads + len(HOSTS))


def test_a_deploy_with_hosts_down_and_its_resumption_leave_nothing_open(practice, idle, hive):
    hive.run("*", "true")
    warm = with_kept_threads(settled())
    page = practice.example / "www.nix"
    page.write_text(page.read_text().replace("This is a web server.", "This one changed."))
    for name in DOWN:
        practice.lab.stop_host(name)
    with pytest.raises(RunFailed) as failed:
        hive.deploy("web")
    assert failed.value.report.frame["outcome"].to_dict()["www-1"] == "done"
    assert warm.grown(settled(warm)) == {}
    for name in DOWN:
        practice.lab.start_host(name)
    resumed = hive.apply(hive.resume()).frame["outcome"]
    assert [resumed[name] for name in DOWN] == ["done", "done"]
    hive.run("*", "true")
    assert warm.grown(settled(warm)) == {}
    hive.close()
    assert idle.grown(settled(idle)) == {}


def test_a_hundred_commands_on_five_hosts_leave_nothing_open(idle, hive):
    hive.run("*", "true")
    warm = with_kept_threads(settled())
    assert warm.sockets >= idle.sockets + len(HOSTS)  # the connections are counted
    for _ in range(100):
        assert list(hive.run("*", "true")["exit_code"]) == [0] * len(HOSTS)
    assert warm.grown(settled(warm)) == {}
    hive.close()
    assert idle.grown(settled(idle)) == {}


def test_while_a_deploy_waits_for_hosts_it_has_few_threads_beside_those_of_connections(practice, hive):
    """Of each host one is followed, and another login has its word: none of it keeps a thread for itself."""
    page = practice.example / "www.nix"
    page.write_text(page.read_text().replace("Good morning", "Good evening"))
    with Peak() as peak:
        hive.deploy("*")
    assert peak.counts.threads <= len(HOSTS) + 32


def test_a_kernel_that_runs_a_hundred_cells_on_five_hosts_does_not_grow(practice):
    with Kernel(practice.folder, "example") as kernel:
        kernel.run("%hive run '*' true")
        warm = with_kept_threads(settled(process=kernel.process))
        for _ in range(100):
            kernel.run("%hive run '*' true")
        later = settled(warm, process=kernel.process)
    assert warm.sockets >= len(HOSTS)
    assert warm.grown(later) == {}
    assert later.memory - warm.memory < 20_000_000
