"""A system that is evaluated is built while others are: real builds, and evaluations that wait for them."""

from __future__ import annotations

import contextlib
import os
import secrets
import select

import pytest

from nixhive_nb import Hive
from nixhive_nb.errors import DeploymentError, RunFailed
from nixhive_nb.plan.building import NODES_A_PROCESS
from nixhive_nb.run.limits import Limits
from nixhive_nb.util import process
from tests.builders import derivation, gated, opening, waiting
from tests.counting import counted
from tests.deployment.sources.test_morph import network

pytestmark = pytest.mark.nix

FIRST, LAST = "node-00", f"node-{NODES_A_PROCESS:02}"
"""The first node of the first group, and the one of the second."""


@pytest.fixture
def place():
    with gated() as folder:
        yield folder


@pytest.fixture
def fleet(place, tmp_path, monkeypatch):
    """Makes a network of two groups, in which the evaluation of the second waits for a build of the first."""
    monkeypatch.chdir(tmp_path)
    last = derivation("last", f"{waiting(place)} >$out")
    own, hives = secrets.token_hex(6), []

    def made(build, evaluation=f"builtins.readFile {last}"):
        first = derivation("first", build.format(open=opening(place), here=place))
        names = [f"node-{number:02}" for number in range(NODES_A_PROCESS + 1)]
        texts = dict.fromkeys(names, f'"{own}"') | {FIRST: f'"${{{first}}}"', LAST: f'"{own}" + {evaluation}'}
        machines = (f"{name} = {{ environment.etc.x.text = {text}; }};" for name, text in texts.items())
        network(tmp_path, "".join(machines))
        hives.append(Hive.load("network.nix", limits=Limits(evaluations=1)))
        return hives[-1]

    yield made
    for hive in hives:
        hive.close()


def outcomes(report):
    return {one.system: one.outcome for one in report.systems()}


def test_what_is_evaluated_is_built_while_another_is_evaluated(fleet, place):
    with fleet("{open} && echo built >>{here}/log && echo >$out") as hive:
        report = hive.build("*")
    assert set(outcomes(report).values()) == {"done"}
    assert (place / "log").read_text() == "built\n"
    assert report.record_of("build").result.how == f"{NODES_A_PROCESS} of {NODES_A_PROCESS + 1} begun early"
    assert report.record_of("register", FIRST).result.how == "built"


@pytest.mark.parametrize("verb", ["deploy", "push"])
def test_a_run_that_goes_on_builds_while_it_evaluates_as_the_first_one_did(fleet, place, verb):
    """None of its hosts is there, so that all is left to do."""
    with fleet("echo >$out", evaluation='"x"') as hive, pytest.raises(RunFailed):
        getattr(hive, verb)("*")
    with fleet("{open} && echo built >>{here}/log && echo >$out") as hive, hive.building_ahead():
        plan = hive.resume()
        assert (place / "log").read_text() == "built\n"
    assert [one.error for one in plan.wanted] == [""] * (NODES_A_PROCESS + 1)


def test_a_plan_that_is_looked_at_first_builds_nothing(fleet, place):
    with fleet("echo built >>{here}/log && echo >$out", evaluation='"x"') as hive:
        hive.plan("build", "*")
    assert not (place / "log").exists()


def test_one_that_breaks_early_is_built_once_and_told_as_one_that_breaks_late(fleet, place):
    with fleet("echo tried >>{here}/log; {open}; echo it does not work >&2; exit 3") as hive:
        with pytest.raises(RunFailed) as failed:
            hive.build("*")
        report = failed.value.report
    assert (place / "log").read_text() == "tried\n"
    assert outcomes(report) == dict.fromkeys(outcomes(report), "done") | {FIRST: "failed"}
    build, verdict = report.record_of("build"), report.record_of("register", FIRST)
    assert (build.outcome, build.reason) == ("failed", f"{FIRST} failed")
    assert "it does not work" in verdict.log
    assert "failed with exit code 3" in verdict.reason


def test_what_no_run_takes_over_is_ended(fleet, place):
    with fleet("echo $$ >{here}/pid; {open}; exec sleep 1000") as hive, hive.building_ahead():
        hive.plan("build", "*")
        builder = os.pidfd_open(int((place / "pid").read_text()))
    with contextlib.closing(os.fdopen(builder)):
        assert select.select([builder], [], [], 60)[0] == [builder]


def test_what_was_begun_is_ended_where_the_deployment_breaks_meanwhile(fleet, place, monkeypatch):
    def broken(*_words, **_how):
        raise DeploymentError("it is gone")

    monkeypatch.setattr("nixhive_nb.planning.plan_build", broken)
    with (
        fleet("echo $$ >{here}/pid; {open}; exec sleep 1000") as hive,
        pytest.raises(DeploymentError, match="it is gone"),
    ):
        hive.build("*")
    with contextlib.suppress(ProcessLookupError):
        builder = os.pidfd_open(int((place / "pid").read_text()))
        assert select.select([builder], [], [], 60)[0] == [builder]


def test_a_run_in_the_background_takes_it_over(fleet, place):
    with fleet("echo tried >>{here}/log; {open} && echo >$out") as hive:
        with hive.building_ahead():
            run = hive.begin(hive.plan("build", "*"))
        report = run.wait()
    assert set(outcomes(report).values()) == {"done"}
    assert (place / "log").read_text() == "tried\n"


def test_what_broke_the_builds_ahead_breaks_no_run(fleet, monkeypatch):
    async def broken(*_words):
        raise OSError("too many open files")

    monkeypatch.setattr("nixhive_nb.nix.ahead.realise", broken)
    with fleet("echo >$out", evaluation='"x"') as hive:
        assert set(outcomes(hive.build("*")).values()) == {"done"}


def test_what_is_here_begins_nothing(fleet, monkeypatch):
    with fleet("echo >$out", evaluation='"x"') as hive:
        hive.build("*")
        started = counted(monkeypatch, process, "stream")
        report = hive.build("*")
    assert set(outcomes(report).values()) == {"unchanged"}
    assert not [argv for (argv, *_) in started if "--keep-going" in argv]


def test_what_is_not_to_be_built_does_not_begin(fleet, place):
    with fleet("echo built >>{here}/log; echo >$out", evaluation='"x"') as hive:
        hive.build("*", no=["realise"])
    assert not (place / "log").exists()


def test_a_node_that_cannot_be_evaluated_fails_alone_whatever_began_before(fleet):
    with fleet("echo >$out", evaluation='throw "it is broken"') as hive:
        with pytest.raises(RunFailed, match="it is broken") as failed:
            hive.build("*")
        report = failed.value.report
    assert outcomes(report) == dict.fromkeys(outcomes(report), "done") | {LAST: "failed"}
