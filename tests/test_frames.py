"""The columns and dtypes of every DataFrame are those that the docs promise for the pandas that is installed.

`make test` has the newest pandas, `make test-lowest` the oldest that is supported; on neither may pandas warn.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from nixhive_nb import frames
from nixhive_nb.commands.session import records_of
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.closure import PackageChange
from nixhive_nb.plan.events import Outcome, Result, StepEnded, StepStarted
from nixhive_nb.plan.facts import CheckResult, Generation, HostFacts, Seen, Wanted
from nixhive_nb.plan.plan import Options, Survey, Target
from nixhive_nb.plan.planner import plan_build, plan_transfer
from nixhive_nb.run.history import RunEntry
from nixhive_nb.run.report import Tally
from tests.plan.diagnoses import diagnosis, lost

pytestmark = pytest.mark.filterwarnings("error")

DOCS = Path(__file__).parent.parent / "docs" / "dataframes.md"
INVENTORY = Inventory(
    source="hive.nix",
    systems={"www": System(name="www", platform="x86_64-linux", paths=("nixpkgs=/own",))},
    instances={
        "www-1": Instance(name="www-1", system="www", tags=("web",), ssh=(("Hostname", ("10.0.0.1",)),)),
        "www-2": Instance(name="www-2", system="www", store="ssh://portico", ssh=(("ProxyJump", ("a,b",)),)),
    },
    paths=("nixpkgs=/all",),
)
EMPTY = Inventory(source="hive.nix")


def deploy_plan(inventory):
    return plan_transfer(inventory, select_instances(inventory, ()), "deploy", Options())


def report(plan):
    return Tally(plan).report()


def told(plan):
    """A run in which each step took a second and a half, but for the last one, which still goes on."""
    tally = Tally(plan, started=100.0)
    steps = [step for step in plan.steps if step.kind != "gate"]
    for number, step in enumerate(steps):
        tally.add(StepStarted(time=100.5 + number, step=step.id))
        if number + 1 < len(steps):
            tally.add(StepEnded(time=102.0 + number, step=step.id, outcome="done"))
    return tally.report()


OLD, NEW = "/nix/store/old-www", "/nix/store/new-www"
SURVEY = Survey(
    targets=tuple(Target(instance=name, system="www", store="", wave=1) for name in ("www-1", "www-2")),
    wanted=(Wanted(system="www", path=NEW, derivation="/nix/store/new-www.drv"),),
    seen=(
        Seen(
            instance="www-1",
            facts=HostFacts(
                current=OLD, profile=OLD, booted=OLD, generation=41, uptime=9.5, failed_units=("a.service",)
            ),
            moves=10_187,
            reboot=True,
        ),
        Seen(instance="www-2", error="no route to host"),
    ),
)
GENERATIONS = [
    Generation(number=40, path=OLD, created=1_795_000_000.5, version="24.05"),
    Generation(number=41, path=NEW, created=1_795_100_000, current=True, running=True),
]
CHECKS = [
    CheckResult(name="web", kind="http", ok=False, reason="status 500, not 200", tries=5, seconds=10.1),
    CheckResult(name="ssh", kind="tcp", ok=True),
]
CHANGES = [
    PackageChange(package="nginx", change="changed", old_versions=("1.25", "1.26"), new_versions=("1.27",), size=-5),
    PackageChange(package="vim", change="added", new_versions=("9",), size=7),
]
RUNS = [
    RunEntry(
        run="20261122-211402-7f3a",
        path="/tmp/run.jsonl",
        started=1_795_000_000.0,
        ended=1_795_000_011.5,
        who="ada@here",
        program="nix-hive",
        verb="deploy",
        source="example/",
        digest="7f3a91c",
        instances=4,
        counts={"done": 2, "rolled back": 1, "failed": 1},
        state="ended",
    ),
    RunEntry(
        run="20261121-211402-7f3b",
        path="/tmp/run.jsonl",
        started=1_794_000_000.0,
        who="ada@here",
        program="nix-hive",
        verb="build",
        source="example/",
        digest="7f3a91d",
        state="killed",
    ),
]


def asked(values, inventory):
    """One host that answered and one that did not; for an empty deployment neither."""
    return ({"www-1": values}, {"www-2": "no route to host"}) if inventory.instances else ({}, {})


FRAMES = {
    "instances": lambda inv: frames.instances_frame(inv, select_instances(inv, ())),
    "systems": lambda inv: frames.systems_frame(inv, inv.systems),
    "build": lambda inv: frames.build_frame(report(plan_build(inv, list(inv.systems), Options()))),
    "deploy": lambda inv: frames.outcome_frame(report(deploy_plan(inv))),
    "timings": lambda inv: frames.timings_frame(told(deploy_plan(inv))),
    "plan": lambda inv: frames.plan_frame(deploy_plan(inv)),
    "plan build": lambda inv: frames.plan_frame(plan_build(inv, list(inv.systems), Options())),
    "status": lambda inv: frames.status_frame(SURVEY if inv.instances else Survey()),
    "generations": lambda inv: frames.generations_frame(*asked(GENERATIONS, inv)),
    "check": lambda inv: frames.check_frame(*asked(CHECKS, inv)),
    "doctor": lambda inv: frames.doctor_frame(
        [diagnosis("www-1"), lost("www-2: no answer", "www-2")][: len(inv.instances)]
    ),
    "diff": lambda inv: frames.diff_frame(*asked(CHANGES, inv)),
    "history": lambda inv: frames.history_frame(RUNS if inv.instances else []),
    "run": lambda inv: frames.run_frame([{"instance": name, "stdout": "x"} for name in inv.instances]),
    "lab status": lambda inv: frames.lab_frame([{"instance": name, "pid": None} for name in inv.instances]),
}


def promised():
    """Columns and dtypes by heading of the docs."""
    found = {}
    for section in re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (\w+(?:\[us, UTC\])?) \|", section, flags=re.MULTILINE)
        index = re.search(r"^Index `(\w+)`", section, flags=re.MULTILINE)
        found[re.findall(r"`([^`]+)`", section.splitlines()[0])[0]] = (index[1], dict(rows))
    return found


def dtypes():
    """What each dtype of the docs is with the pandas that is installed: the one table that tells so is in the docs."""
    intro = DOCS.read_text().partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \|", intro, flags=re.MULTILINE)
    newer = pd.__version__.partition(".")[0] != "2"
    return {shown: three if newer else two for shown, three, two in rows}


@pytest.mark.parametrize("inventory", [INVENTORY, EMPTY], ids=["some", "none"])
@pytest.mark.parametrize("name", FRAMES)
def test_columns_and_dtypes_are_those_of_the_docs(name, inventory):
    frame = FRAMES[name](inventory)
    index, columns = promised()[name]
    assert frame.index.name == index
    found = dtypes()
    assert str(frame.index.dtype) == found["str"]
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: found[shown] for name, shown in columns.items()
    }
    assert type(frame) is pd.DataFrame


def test_every_frame_of_the_docs_is_made_here():
    assert set(promised()) == set(FRAMES)


def test_the_json_of_a_frame_is_the_same_whatever_pandas():
    rows = records_of(FRAMES["generations"](INVENTORY))
    assert [type(cell) for cell in rows[0].values()] == [str, int, bool, bool, str, str, str, str]
    assert [row["created"] for row in rows] == ["2026-11-18T11:06:40.500000+00:00", "2026-11-19T14:53:20+00:00", None]
    assert [row["number"] for row in rows] == [40, 41, None]
    assert json.loads(json.dumps(rows)) == rows


def test_instances_tell_how_they_are_reached():
    frame = FRAMES["instances"](INVENTORY)
    assert frame.loc["www-1", "address"] == "10.0.0.1"
    assert frame.loc["www-2", "jump"] == "a,b"
    assert frame.loc["www-1", "tags"] == ("web",)
    assert list(frame["wave"]) == [1, 1]


def test_a_systems_own_paths_come_first():
    frame = FRAMES["systems"](INVENTORY)
    assert frame.loc["www", "paths"] == ("nixpkgs=/own", "nixpkgs=/all")
    assert frame.loc["www", "instances"] == 2


def test_outcomes_group_with_those_that_did_not_occur():
    counts = FRAMES["deploy"](INVENTORY).groupby("outcome", observed=False).size()
    assert list(counts.index) == list(get_args(Outcome))


def test_a_plan_that_looked_tells_how_the_hosts_are():
    plan = plan_transfer(INVENTORY, select_instances(INVENTORY, ()), "deploy", Options(), survey=SURVEY)
    frame = frames.plan_frame(plan)
    there = frame.loc["www-1"]
    assert (there["current"], there["wanted"], there["action"]) == (OLD, NEW, "activate")
    assert (there["moves"], there["generation"], there["reboot"]) == (10_187, 41, True)
    away = frame.loc["www-2"]
    assert away["action"] == "unreachable: no route to host"
    assert (away["current"], away["wanted"], away["store"]) == ("", NEW, "ssh://portico")
    assert away[["moves", "reboot", "generation"]].isna().all()


def test_a_plan_that_did_not_look_leaves_open_what_it_cannot_know():
    frame = FRAMES["plan"](INVENTORY)
    assert set(frame["action"]) == {"activate"}
    assert set(frame["current"]) == {""}
    assert frame[["moves", "reboot", "generation"]].isna().all(axis=None)


def test_the_status_has_a_row_for_a_host_that_did_not_answer():
    frame = FRAMES["status"](INVENTORY)
    assert list(frame["state"]) == ["outdated", "unreachable"]
    assert frame["state"].max() == "unreachable"
    assert list(frame["error"]) == ["", "no route to host"]
    assert frame.loc["www-1", "failed_units"] == ("a.service",)
    assert pd.isna(frame.loc["www-2", "generation"])


@pytest.mark.parametrize("name", ["generations", "check", "diff"])
def test_a_host_that_could_not_be_asked_is_a_row(name):
    frame = FRAMES[name](INVENTORY)
    assert list(frame.index) == ["www-1", "www-1", "www-2"]
    assert list(frame["error"]) == ["", "", "no route to host"]


def test_generations_have_times():
    frame = FRAMES["generations"](INVENTORY)
    assert frame["created"].iloc[0] == pd.Timestamp(1_795_000_000_500, unit="ms", tz="UTC")
    assert pd.isna(frame["created"].iloc[2])
    assert list(frame["current"].fillna(value=False)) == [False, True, False]


def test_checks_are_named():
    assert list(FRAMES["check"](INVENTORY)["check"]) == ["web", "ssh", ""]


def test_the_shortcomings_of_a_host_have_their_lines():
    frame = FRAMES["doctor"](INVENTORY)
    assert list(frame["ok"]) == [True, False]
    each = frame.explode(["kinds", "shortcomings", "lines"]).loc["www-2"]
    assert (each["kinds"], each["shortcomings"]) == ("reach", "www-2: no answer.")
    assert each["lines"].startswith("# in ")
    assert pd.isna(frame.loc["www-2", "clock"])


def test_versions_of_a_package_stand_in_one_cell():
    frame = FRAMES["diff"](INVENTORY)
    assert list(frame["old_versions"]) == ["1.25, 1.26", "", ""]
    assert frame["size"].sum() == 2


def test_the_history_counts_outcomes():
    frame = FRAMES["history"](INVENTORY)
    assert list(frame["rolled_back"]) == [1, 0]
    assert frame["seconds"].iloc[0] == 11.5
    assert pd.isna(frame["seconds"].iloc[1])


def test_outcomes_tell_what_ran_before_and_whether_a_reboot_is_needed():
    plan = deploy_plan(INVENTORY)
    tally = Tally(plan)
    result = Result(path=NEW, previous=OLD, reboot=True)
    tally.add(StepEnded(time=1.0, step="activate:www-1", outcome="done", result=result))
    frame = frames.outcome_frame(tally.report())
    assert frame.loc["www-1", "previous"] == OLD
    assert bool(frame.loc["www-1", "reboot"])
    assert pd.isna(frame.loc["www-2", "reboot"])


def test_timings_are_seconds_from_the_start_of_the_run():
    frame = FRAMES["timings"](INVENTORY)
    assert frame["start"].is_monotonic_increasing
    assert frame["start"].iloc[0] == 0.5
    assert frame["seconds"].iloc[0] == 1.5
    last = frame.iloc[-1]
    assert (last["instance"], last["kind"], last["wave"]) == ("www-2", "activate", 1)
    assert last[["end", "seconds", "outcome"]].isna().all()


def test_no_text_of_a_table_steers_a_terminal():
    """E9: a journal lies in a folder that others write."""
    tally = Tally(deploy_plan(INVENTORY))
    odd = Result(previous="\x1b[2J", how="\x1b[31m", path="/nix/\x1b[2Jstore")
    tally.add(StepEnded(time=1.0, step="activate:www-1", outcome="done", result=odd))
    assert "\x1b" not in frames.outcome_frame(tally.report()).to_string()
