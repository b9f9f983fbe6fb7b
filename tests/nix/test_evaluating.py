"""Evaluating many nodes: one that fails does so alone, with its message, and costs the others one more process."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest

from nixhive_nb import Hive
from nixhive_nb.errors import RunFailed
from nixhive_nb.plan.building import NODES_A_PROCESS
from nixhive_nb.plan.events import StepProgress
from nixhive_nb.run.limits import Limits, able_evaluations
from nixhive_nb.util import process
from tests.counting import counted
from tests.deployment.sources.hives import NIXPKGS
from tests.deployment.sources.test_morph import network

pytestmark = pytest.mark.nix


@pytest.fixture(autouse=True)
def own_processes(monkeypatch):
    """Have nothing else evaluate, whatever is installed."""
    monkeypatch.setattr("nixhive_nb.runs.is_installed", lambda: False)


def built(tmp_path, monkeypatch, names, body, which="*"):
    """Evaluate a network of machines, and return the outcome and message of each, and the systems of each process."""
    network(tmp_path, "".join(f"{name} = {{ {body(name)} }};" for name in names))
    monkeypatch.chdir(tmp_path)
    with Hive.load("network.nix") as hive, monkeypatch.context() as patch:
        started = counted(patch, process, "stream")
        with pytest.raises(RunFailed) as failed:
            hive.build(which, no=["realise"])
    systems = {one.system: (one.outcome, one.reason) for one in failed.value.report.systems()}
    return systems, [json.loads(argv[argv.index("names") + 1]) for (argv, *_) in started if "names" in argv]


def breaking(*broken):
    return lambda name: f'networking.hostName = {f"""throw "{name} is broken" """ if name in broken else ""} "x";'


def test_one_broken_node_of_300_fails_alone_and_the_rest_of_its_group_is_evaluated_once_more(tmp_path, monkeypatch):
    names = [f"node-{number:03}" for number in range(300)]
    found, evaluated = built(tmp_path, monkeypatch, names, breaking("node-133"))
    assert {name: outcome for name, (outcome, _) in found.items()} == {
        name: "failed" if name == "node-133" else "done" for name in names
    }
    assert len(evaluated) == -(-300 // NODES_A_PROCESS) + 1
    assert [one for one in evaluated if "node-133" not in one and "node-132" in one] == [
        [name for name in names[128:136] if name != "node-133"]
    ]


@pytest.mark.parametrize("count", [2, 3, NODES_A_PROCESS])
def test_several_broken_nodes_of_a_group_fail_each_with_its_message(tmp_path, monkeypatch, count):
    names = [f"node-{number:02}" for number in range(NODES_A_PROCESS)]
    found, evaluated = built(tmp_path, monkeypatch, names, breaking(*names[:count]))
    assert [outcome for outcome, _ in found.values()] == ["failed"] * count + ["done"] * (NODES_A_PROCESS - count)
    assert all(f"{name} is broken" in found[name][1] for name in names[:count])
    assert len(evaluated) <= 2 * count + 1


def test_where_nix_names_no_node_the_broken_one_is_found_in_halves(tmp_path, monkeypatch):
    monkeypatch.setattr("nixhive_nb.nix.build._OF_SYSTEM", re.compile("never-this^"))
    names = [f"node-{number:02}" for number in range(NODES_A_PROCESS)]
    found, evaluated = built(tmp_path, monkeypatch, names, breaking(names[5]))
    assert [name for name, (outcome, _) in found.items() if outcome == "failed"] == [names[5]]
    assert len(evaluated) == 1 + 2 * 3  # eight, then four and four, two and two, one and one


def test_the_message_of_one_that_failed_among_others_is_that_of_it_alone(tmp_path, monkeypatch):
    names = [f"node-{number:02}" for number in range(3)]
    among, _ = built(tmp_path, monkeypatch, names, breaking(names[1]))
    alone, _ = built(tmp_path, monkeypatch, names, breaking(names[1]), names[1])
    assert among[names[1]] == alone[names[1]]


def test_as_many_are_evaluated_at_once_as_the_machine_bears_unless_a_number_is_given():
    assert Limits().of("evaluate") == able_evaluations() >= 1
    assert Limits(evaluations=5).of("evaluate") == 5


FORMS = {
    "network.nix": lambda names: (
        f"let pkgs = import {NIXPKGS} {{ }}; in {{ network = {{ inherit pkgs; }};"
        f" {''.join(f'{name} = {{ }};' for name in names)} }}"
    ),
    "hive.nix": lambda names: (
        f'{{ paths.nixpkgs = "{NIXPKGS}"; systems = {{'
        f" {''.join(f'{name}.configuration = {{ }}: {{ }};' for name in names)} }}; }}"
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_system_is_counted_as_soon_as_it_is_evaluated(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    names = [f"node-{number}" for number in range(5)]
    Path(form).write_text(FORMS[form](names).replace("{ }: { }", "{ ... }: { }"))
    told = []

    @contextlib.contextmanager
    def follow(run):
        run.subscribe(lambda event: told.append((event.done, event.expected)) if is_progress(event) else None)
        yield

    def is_progress(event):
        return isinstance(event, StepProgress) and event.step.startswith("instantiate:")

    with Hive.load(form) as hive:
        assert not [one.error for one in hive.plan("build", "*", follow=follow).wanted if one.error]
    assert list(dict.fromkeys(told)) == [(number, 5) for number in range(6)]
