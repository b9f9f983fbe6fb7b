"""A plan for the deployment of the tests."""

from __future__ import annotations

from nixhive_nb.plan.plan import Plan


def a_plan(folder):
    """Return a plan of nothing."""
    return Plan(
        verb="deploy",
        source="hive.nix",
        systems=(),
        targets=(),
        steps=(),
        deployment=str(folder / "hive.nix"),
        state=str(folder / ".hive.state"),
    )
