"""When a host that was told to reboot is back, and what is looked at then: hosts that answer as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from types import SimpleNamespace

import pytest

from nixhive_nb.deployment.inventory import Check
from nixhive_nb.errors import ChecksFailed, LinkLost, WorkerLost
from nixhive_nb.hosts import reboot
from nixhive_nb.hosts.activation import RunsAndBoots
from nixhive_nb.hosts.facts import FACTS
from nixhive_nb.plan.plan import Options
from nixhive_nb.ssh.link import RemoteResult

OLD, NEW = (f"/nix/store/{letter * 32}-nixos-system-web" for letter in "ab")
ALWAYS = Options(reboot="always", reboot_timeout=5.0)
CHECK = Check(name="works", kind="command", command=("true",), period=0.01, timeout=0.05)


def facts(current, profile, boot, **more):
    said = {"current": current, "profile": profile, "boot_id": boot, "uid": "0", **more}
    return "".join(f"{name}={value}\n" for name, value in said.items())


class Hosts:
    """One host: what it says of itself, once for each time that it is asked, the last of it again and again."""

    def __init__(self, *said, works=True):
        self.said = list(said)
        self.works = works
        self.words = []
        self.told = []

    def kept(self, _instance):
        return SimpleNamespace(run=self._ordered)

    async def _ordered(self, words, *, seconds, on_line=None, stdin=None):
        if words == FACTS:
            return self.asked()
        id_ = shlex.split(words)[shlex.split(words).index("reboot") + 1]
        for line in ("ordered", "result done 0"):
            on_line(f"nixhive {id_} {line}")
        return RemoteResult(exited=0, stdout="", stderr="", seconds=0.0)

    @contextlib.asynccontextmanager
    async def fresh(self, _instance, *, urgent=False):
        yield self

    async def run(self, words, *, seconds, stdin=None):
        self.words.append(words)
        if words == FACTS:
            return self.asked()
        return RemoteResult(
            exited=0 if self.works or "is-system-running" in words else 1, stdout="", stderr="", seconds=0.0
        )

    @property
    def room(self):
        return contextlib.nullcontext()

    def asked(self):
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        return RemoteResult(exited=0, stdout=said, stderr="", seconds=0.0)

    def line(self, text):
        self.told.append(text)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(reboot, "_PAUSE", 0.001)


def rebooted(hosts, *, options=ALWAYS, wanted="", checks=()):
    one = reboot.Reboot("web", hosts, hosts, owner="ann", checks=checks)
    return asyncio.run(one.run(options, wanted, RunsAndBoots()))


def test_an_initial_disk_that_answers_is_waited_for():
    """Case 22: it has the boot id of the system that it will start."""
    hosts = Hosts(facts(OLD, NEW, "1"), facts("", "", "2"), facts("", "", ""), facts(NEW, NEW, "2"))
    assert rebooted(hosts).path == NEW
    assert len(hosts.words) == 3


def test_one_that_stays_there_says_so():
    """Case 22."""
    hosts = Hosts(facts(OLD, OLD, "1"), facts("", "", "2"))
    with pytest.raises(LinkLost, match=r"did not come back within 0\.05 s: it answers, and runs no system yet"):
        rebooted(hosts, options=Options(reboot="always", reboot_timeout=0.05))


def test_a_host_that_never_ran_a_system_is_back_without_one():
    hosts = Hosts(facts("", "", "1"), facts("", "", "2"))
    assert rebooted(hosts).path == ""


def test_its_checks_run_when_all_has_started():
    """Case 21."""
    hosts = Hosts(facts(OLD, NEW, "1"), facts(NEW, NEW, "2"))
    assert [one.ok for one in rebooted(hosts, checks=(CHECK,)).checks] == [True]
    _, started, check = hosts.words
    assert "is-system-running --wait" in started
    assert "true" in check
    assert "checking: command true" in hosts.told


def test_a_host_that_came_back_and_does_not_work_is_told_so():
    """Case 21."""
    hosts = Hosts(facts(OLD, NEW, "1"), facts(NEW, NEW, "2"), works=False)
    with pytest.raises(
        ChecksFailed, match="web was rebooted and is back, and check works failed: ended with 1"
    ) as told:
        rebooted(hosts, checks=(CHECK,))
    assert (told.value.result.path, told.value.result.previous) == (NEW, OLD)


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        (facts(OLD, NEW, "1"), "done"),
        (facts(NEW, NEW, "1"), "unchanged"),
        (facts("/nix/store/x-calm", NEW, "1", specialisation="calm", base=NEW), "unchanged"),
    ],
    ids=["boots it next", "as it was booted", "a specialisation of it"],
)
def test_only_if_needed_is_by_what_the_next_boot_starts(before, outcome):
    """A8: also where nobody said what is wanted."""
    hosts = Hosts(before, facts(NEW, NEW, "2"))
    found = rebooted(hosts, options=Options(reboot="if needed", reboot_timeout=5.0))
    assert found.outcome == outcome


class Losing(Hosts):
    """A host whose first order is lost with its worker, before or after it has come."""

    def __init__(self, *said):
        super().__init__(*said)
        self.orders = 0

    async def _ordered(self, words, *, seconds, on_line=None, stdin=None):
        if words != FACTS:
            self.orders += 1
            if self.orders == 1:
                raise WorkerLost("the link to worker east was lost")
        return await super()._ordered(words, seconds=seconds, on_line=on_line, stdin=stdin)


@pytest.mark.parametrize(
    ("then", "orders"),
    [(facts(OLD, NEW, "1"), 2), (facts(OLD, NEW, "1", held="yes", holder="ann"), 1), (facts(NEW, NEW, "2"), 1)],
    ids=["never came", "goes down", "is back"],
)
def test_an_order_that_is_lost_with_its_worker_is_given_again_only_where_it_never_came(then, orders):
    hosts = Losing(facts(OLD, NEW, "1"), then, facts(NEW, NEW, "2"))
    assert rebooted(hosts).path == NEW
    assert hosts.orders == orders
