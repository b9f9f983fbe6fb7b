"""Practice hosts with a real systemd: whether this machine can have them, and a word at the end where it cannot."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from nixhive_nb.lab import Lab, LabError, cgroups, debian
from nixhive_nb.lab.model import DEBIANS

NOT_TESTED = "no practice hosts with systemd: "


@cache
def why_not() -> str:
    """Return why this machine cannot have them, in a line; empty if it can."""
    try:
        Lab.check(systemd=True)
    except LabError as error:
        return " ".join(str(error).split())
    missing = [name for suite, name in DEBIANS.items() if not debian.place_of(suite).is_dir()]
    if missing and "NIXHIVE_APART" in os.environ:  # a world without a network
        return f"{' and '.join(missing)} must be made before, by tools/practice_debians.py"
    return ""


def groups_below(folder: Path) -> list[str]:
    """Return the groups of all fleets in a folder or below it, whether a fleet is still there or not."""
    top = cgroups.hierarchy()
    groups = [] if top is None else sorted(top.glob(cgroups.name_of("*", "*")))
    return [str(group) for group in groups if _fleet_of(group).is_relative_to(folder)]


def _fleet_of(group: Path) -> Path:
    try:
        return Path(os.fsdecode(os.getxattr(group, cgroups.FLEET)))
    except OSError:  # it is gone, or nobody marked it
        return Path()


@pytest.fixture(scope="session")
def systemd_hosts() -> None:
    """Leave out what needs a practice host with systemd where this machine cannot have one."""
    if reason := why_not():
        pytest.skip(NOT_TESTED + reason)


def pytest_terminal_summary(terminalreporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    ours = [reason.partition(NOT_TESTED)[2] for reason in reasons if NOT_TESTED in reason]
    if ours:
        terminalreporter.write_line(f"NOT RUN: {len(ours)} tests, because there are {NOT_TESTED}{ours[0]}", yellow=True)
