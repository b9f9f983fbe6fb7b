"""A command works on one reading of the deployment: with real Nix, and no host that answers."""

from __future__ import annotations

import contextlib
import json

import click
import msgspec
import pytest

from nixhive_nb import Hive
from nixhive_nb.commands import hive_group
from nixhive_nb.commands.session import Session
from nixhive_nb.deployment import changes
from nixhive_nb.errors import HiveError, PlanStale
from tests.test_hive import ended, folder, noted  # noqa: F401 - a fixture

pytestmark = pytest.mark.nix

GONE = "nobody-listens"


@pytest.fixture
def unheard(folder):  # noqa: F811 - the fixture
    """The deployment, with an address where nobody listens, and a check."""
    path = folder / "hive.nix"
    extra = 'system = "www"; ssh = { Hostname = "127.0.0.1"; Port = 1; }; checks.x.tcp = 80;'
    path.write_text(path.read_text().replace('value = { system = "www"; };', f"value = {{ {extra} }};"))
    return folder


METHODS = {
    "targets": lambda hive: hive.targets("@picked"),
    "instances": lambda hive: hive.instances("@picked"),
    "status": lambda hive: hive.status("@picked"),
    "generations": lambda hive: hive.generations("@picked"),
    "check": lambda hive: hive.check("@picked"),
    "diff": lambda hive: hive.diff("@picked"),
    "run": lambda hive: hive.run("@picked", "true"),
    **{verb: lambda hive, verb=verb: hive.plan(verb, "@picked") for verb in ("deploy", "push", "rollback", "reboot")},
    "deploy it": lambda hive: hive.deploy("@picked"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_file_that_changes_in_the_middle_is_for_the_next_command(unheard, name):
    """D9: `www-1` is picked and then goes from the deployment; the command that began goes on as it began."""

    def picked():
        (unheard / "hosts.json").write_text(json.dumps(["www-7"]))
        return ["www-1"]

    with Hive.load(picked=picked) as hive:
        with contextlib.suppress(HiveError):  # nobody listens there
            METHODS[name](hive)
        assert list(hive.loaded.instances) == ["www-1"]
        assert list(hive.instances().index) == ["www-7"]


@pytest.mark.parametrize(
    "words",
    [["instances"], ["systems"], ["plan", "reboot", "*"], ["status"], ["run", "*", "true"], ["generations"], ["diff"]],
    ids=lambda words: words[0],
)
def test_a_command_looks_at_the_files_once(unheard, monkeypatch, words):
    """D9: one walk over the tree a command."""
    walks = []
    look = changes.look
    monkeypatch.setattr(changes, "look", lambda *args: walks.append(1) or look(*args))
    session = Session(program="nix-hive", follow=None, warn=print)
    try:
        with (
            hive_group.make_context("nix-hive", words, obj=session) as ctx,
            contextlib.suppress(HiveError, click.ClickException),
        ):
            hive_group.invoke(ctx)
        assert session.current is not None
        assert len(walks) == 1
    finally:
        session.close()


def test_a_plan_of_an_instance_that_is_gone_names_it_also_with_force(unheard):
    """D16: it was "A bug in nixhive_nb", and a connection to whatever host has that name."""
    (unheard / "hosts.json").write_text(json.dumps(["www-1", GONE]))
    with Hive.load() as hive:
        plan = hive.plan("reboot", "*")
        (unheard / "hosts.json").write_text(json.dumps(["www-1"]))
        for call in (hive.apply, hive.check_fits):
            with pytest.raises(PlanStale, match=f"{GONE}: there is no such instance") as caught:
                call(plan, force=True)
            assert "www-1" not in str(caught.value)
        for call in (hive.execute, hive.begin):
            with pytest.raises(PlanStale, match=GONE):
                call(plan)


def test_a_plan_through_a_host_that_is_gone_names_it_also_with_force(unheard):
    """D16: a jump host, a relay or a builder that is gone would be any host of that name."""
    with Hive.load() as hive:
        plan = hive.plan("reboot", "*")
        terms = msgspec.structs.replace(plan.terms, hosts={**plan.terms.hosts, GONE: {}})
        with pytest.raises(PlanStale, match=f"{GONE}: there is no such instance, and the plan goes through it"):
            hive.apply(msgspec.structs.replace(plan, terms=terms), force=True)


def test_a_plan_of_a_system_that_is_gone_names_it_also_with_force(unheard):
    """D16."""
    with Hive.load() as hive:
        plan = hive.plan("build", "odd")
        text = (unheard / "hive.nix").read_text()
        (unheard / "hive.nix").write_text(text.replace("systems.odd", "systems.even"))
        with pytest.raises(PlanStale, match="system odd: there is no such system"):
            hive.apply(plan, force=True)


def test_failed_leaves_out_and_names_who_is_gone(unheard):
    """D16: an instance that failed, and was taken out of the deployment since."""
    ended(noted(unheard, "deploy", "www-1", "www-2"), www_1="failed", www_2="failed")
    said = []
    with Hive.load(warn=said.append) as hive:
        assert hive.targets("@failed").instances == ("www-1",)
    assert len(said) == 1
    assert "@failed is without www-2" in said[0]
