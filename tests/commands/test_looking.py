"""Commands that ask hosts and change nothing."""

from __future__ import annotations

import pytest

from nixhive_nb import planning
from nixhive_nb.deployment.targets import select_instances

HIVE = """{
  systems.www.configuration = { ... }: { };
  instances.www-1 = { system = "www"; ssh.hostName = "127.0.0.1"; ssh.port = 1; };
  instances.www-2 = { system = "www"; ssh.hostName = "127.0.0.1"; ssh.port = 1; };
}
"""


@pytest.fixture
def asked(folder, monkeypatch):
    """How often a group was asked for, which asks all hosts."""
    (folder / "hive.nix").write_text(HIVE)
    count = []

    def group(work, name):
        count.append(name)
        return real(work, name)

    real = planning._group
    monkeypatch.setattr(planning, "_group", group)
    return count


@pytest.mark.parametrize("how", ["a command", "Python", "Python, of a generator"])
def test_the_hosts_of_a_group_are_looked_for_once(asked, invoke, how):
    hive = invoke.session.hive({})
    if how == "a command":
        frame = invoke("status", "--no", "build", "@unreachable").frame
    else:
        given = iter(["@unreachable"]) if how.endswith("generator") else "@unreachable"
        frame = hive.status(given, no=["build"])
    assert list(frame.index) == ["www-1", "www-2"]
    assert set(frame["carrier"]) == {"fabric"}
    assert asked == ["unreachable"]


def test_what_would_change_is_told_of_the_hosts_that_were_compared(asked, invoke, monkeypatch):
    hive = invoke.session.hive({})
    compared = []

    def diff(work, patterns, **_how):
        compared.append(select_instances(work.inventory, patterns).instances)
        return hive.instances([])

    monkeypatch.setattr("nixhive_nb.queries.diff", diff)
    invoke("diff", "@unreachable")
    assert compared == [("www-1", "www-2")]
    assert asked == ["unreachable"]
