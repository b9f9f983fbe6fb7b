"""The columns and dtypes of every DataFrame are those that the docs promise."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from nixhive_nb import frames
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_build, plan_transfer
from nixhive_nb.plan.report import Tally

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


FRAMES = {
    "instances": lambda inv: frames.instances_frame(inv, select_instances(inv, ())),
    "systems": lambda inv: frames.systems_frame(inv, inv.systems),
    "build": lambda inv: frames.build_frame(report(plan_build(inv, list(inv.systems), Options()))),
    "deploy": lambda inv: frames.outcome_frame(report(deploy_plan(inv))),
    "plan": lambda inv: frames.plan_frame(deploy_plan(inv)),
    "run": lambda inv: frames.run_frame([{"instance": name, "stdout": "x"} for name in inv.instances]),
    "lab status": lambda inv: frames.lab_frame([{"instance": name, "pid": None} for name in inv.instances]),
}


def promised():
    """Columns and dtypes by heading of the docs."""
    found = {}
    for section in re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, flags=re.MULTILINE)
        index = re.search(r"^Index `(\w+)`", section, flags=re.MULTILINE)
        found[re.findall(r"`([^`]+)`", section.splitlines()[0])[0]] = (index[1], dict(rows))
    return found


@pytest.mark.parametrize("inventory", [INVENTORY, EMPTY], ids=["some", "none"])
@pytest.mark.parametrize("name", FRAMES)
def test_columns_and_dtypes_are_those_of_the_docs(name, inventory):
    frame = FRAMES[name](inventory)
    index, columns = promised()[name]
    assert frame.index.name == index
    assert frame.index.dtype == "str"
    assert {column: str(dtype) for column, dtype in frame.dtypes.items()} == columns
    assert type(frame) is pd.DataFrame


def test_every_frame_of_the_docs_is_made_here():
    assert set(promised()) == set(FRAMES)


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
    assert list(counts.index) == ["done", "unchanged", "failed", "skipped", "unknown", "cancelled"]
