"""A deploy leaves real hosts alone that are as wanted: what they are asked, how often, and what is found anyway."""

from __future__ import annotations

import pytest

from nixhive_nb import Hive
from nixhive_nb.lab import HostSpec
from nixhive_nb.run.limits import Limits
from nixhive_nb.ssh.fabric_links import FabricLink, FabricLinks
from tests.practice import start

pytestmark = pytest.mark.fleet
UNCLEAN = "readlink -f /run/current-system >/run/nixhive/unclean"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=2, specs=[HostSpec("depot", "depot", user="deploy")])
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def hive(fleet):
    with Hive.load(fleet.example, state=fleet.folder / ".hive.state") as found:
        found.deploy("portico", "*")
        yield found


@pytest.fixture
def asked(monkeypatch):
    """The hosts that were asked something, and those that were logged in to anew."""
    found = []
    run, fresh = FabricLink.run, FabricLinks.fresh

    async def counted(self, command, **how):
        found.append(self._instance)
        return await run(self, command, **how)

    def opened(self, instance, **how):
        found.append(f"{instance} anew")
        return fresh(self, instance, **how)

    monkeypatch.setattr(FabricLink, "run", counted)
    monkeypatch.setattr(FabricLinks, "fresh", opened)
    return found


def sh(fleet, host, words):
    return fleet.lab.exec(host, ["sh", "-c", words])


def changed(fleet):
    """Make another system of the web servers."""
    page = fleet.example / "www.nix"
    text = page.read_text()
    page.write_text(text.replace("networking.hostName", 'environment.etc."new".text = "x";\n  networking.hostName', 1))


def test_a_host_that_is_as_wanted_is_asked_once_in_little_more_than_a_kilobyte(fleet, hive, asked):
    hive.deploy("*")  # learns that they keep our words
    sent = []
    for _ in range(4):
        asked.clear()
        before = fleet.link_payload()
        report = hive.deploy("*")
        sent.append((fleet.link_payload() - before) / 4)
        assert report.counts() == {"unchanged": 4}
        assert sorted(asked) == ["depot", "portico", "www-1", "www-2"]
    # Connections of before may still be closed meanwhile.
    assert min(sent) < 1_200  # with headers, 1,500
    assert {step.kind for step in report.plan.steps} == {"probe", "gate"}


def test_an_answer_that_is_not_fresh_is_asked_for_again(hive, asked):
    plan = hive.plan("deploy", "www-*")
    asked.clear()
    assert hive.execute(plan).counts() == {"unchanged": 2}
    assert asked == []
    assert hive.using(limits=Limits(fresh=0)).execute(plan).counts() == {"unchanged": 2}
    assert sorted(asked) == ["www-1", "www-2"]


def test_a_host_that_another_has_made_a_mixture_since_fails_and_is_mended_by_the_next_deploy(fleet, hive):
    plan = hive.plan("deploy", "www-*")
    sh(fleet, "www-1", UNCLEAN)
    report = hive.using(limits=Limits(fresh=0)).execute(plan)
    assert report.counts() == {"unchanged": 1, "failed": 1}
    (bad,) = (one for one in report.instances() if one.outcome == "failed")
    assert (bad.instance, bad.failed_step) == ("www-1", "probe")
    assert "what it runs is a mixture. Nothing was changed. Make a new plan." in bad.reason
    assert hive.deploy("www-*").counts() == {"done": 1, "unchanged": 1}
    assert hive.deploy("www-*").counts() == {"unchanged": 2}


def test_a_host_that_boots_something_else_is_activated(fleet, hive):
    other = "$(echo x >/tmp/other; nix-store --add /tmp/other)"
    sh(fleet, "www-1", f"nix-env -p /nix/var/nix/profiles/system --set {other}")
    assert fleet.boots("www-1") != fleet.runs("www-1")
    assert hive.deploy("www-*").counts() == {"done": 1, "unchanged": 1}
    assert fleet.boots("www-1") == fleet.runs("www-1")


def test_a_path_that_its_relay_has_lost_is_noticed_only_where_somebody_needs_it(fleet, hive):
    path = fleet.runs("www-1")
    sh(fleet, "portico", f"nix-store --delete {path}")
    assert hive.deploy("www-1").counts() == {"unchanged": 1}
    assert path in sh(fleet, "portico", f"nix-store --check-validity --print-invalid {path}")
    assert hive.deploy("www-1", force=True).counts() == {"done": 1}
    assert path not in sh(fleet, "portico", f"nix-store --check-validity --print-invalid {path}")


def test_what_is_left_alone_is_remembered_for_no_build(fleet, hive):
    fleet.folder.joinpath(".hive.state").unlink()
    assert hive.deploy("www-*").counts() == {"unchanged": 2}
    assert fleet.runs("www-1") in fleet.folder.joinpath(".hive.state").read_text()


def test_an_activation_on_trial_takes_four_questions_and_one_login(fleet, hive, asked):
    changed(fleet)
    hive.build()
    asked.clear()
    assert hive.deploy("www-1").counts() == {"done": 1}
    # How it is, fetch, begin (and how it is at the end), clear up; and over the new connection, the word.
    assert [one for one in asked if one != "portico"] == ["www-1"] * 3 + ["www-1 anew"] + ["www-1"] * 2
    assert "nixhive" not in sh(fleet, "www-1", "ls /nix/var/nix/gcroots/nixhive 2>/dev/null || true")


def test_what_a_host_runs_is_neither_fetched_nor_looked_at_again_when_it_is_forced(hive, asked):
    hive.deploy("www-1")
    asked.clear()
    assert hive.deploy("www-1", force=True).counts() == {"done": 1}
    # How it is, begin (and how it is at the end), clear up; and over the new connection, the word.
    assert [one for one in asked if one != "portico"] == ["www-1"] * 2 + ["www-1 anew"] + ["www-1"] * 2


def test_an_activation_on_trial_starts_few_processes_on_its_host(fleet, hive):
    """On a fleet they are most of what a deploy costs. A third of them is of the switch itself."""
    hive.deploy("www-1", force=True)
    began = int(sh(fleet, "www-1", "echo $$"))
    assert hive.deploy("www-1", force=True).counts() == {"done": 1}
    assert int(sh(fleet, "www-1", "echo $$")) - began < 160
