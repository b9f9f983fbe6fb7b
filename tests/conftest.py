"""What tests of several rooms share."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import warm
from tests.practice import start
from tests.programs import codename, versions
from tests.speed import examples

# Whoever checks notebooks by their schema loads this, which takes a second, to check URLs that no notebook has.
sys.modules.setdefault("rfc3987_syntax", None)

# Nobody computes anything here, and the threads that numpy has for it spin while they wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

pytest_plugins = ("tests.evidence", "tests.floors", "tests.real", "tests.side_by_side")

# A busy machine is no reason to fail: nothing here is timed.
settings.register_profile(
    "untimed", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory):
    """Keep what deployments of the tests leave out of the folder of whoever runs them."""
    folder = tmp_path_factory.mktemp("state-home")
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(folder)
    # One signing key for the fleets of all tests: paths of this machine's store gather a signature of each key.
    keys = Path(before or Path.home() / ".local" / "state") / "nixhive-lab-signing"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / keys.name).symlink_to(keys)
    yield folder
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(scope="session", autouse=True)
def warm_programs(tmp_path_factory):
    """Have what starts `nix-hive` without its imports; it ends with the tests."""
    with warm.programs(tmp_path_factory.mktemp("warm") / "socket"):
        yield


@pytest.fixture(scope="module")
def secret():
    """A password that stands nowhere else."""
    return f"canary {secrets.token_hex(12)}\\x"


@pytest.fixture(scope="module")
def practice(tmp_path_factory):
    """One fleet for the tests of a module, with three web servers."""
    one = start(tmp_path_factory.mktemp("fleet"))
    yield one
    one.lab.down()


def pytest_terminal_summary(terminalreporter) -> None:
    if codename():
        terminalreporter.write_line(
            f"On {codename()}: " + ", ".join(f"{name} {one}" for name, one in versions().items())
        )
