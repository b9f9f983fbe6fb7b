"""The environment with every dependency at its floor: what `tools/lowest.py` puts into it, and how it is kept."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.alone import module_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "lowest.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTHING = ()
"""What is wanted by an environment that is made without a registry."""


@pytest.fixture(scope="module")
def lowest():
    return module_of(TOOL)


@pytest.fixture(scope="module")
def python():
    """A Python that environments can be made of: which version does not matter here."""
    return f"{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}", sys.version


def test_all_that_is_promised_is_at_its_floor_and_what_runs_the_tests_is_not(lowest):
    found = lowest.requirements(PROJECT)
    promised = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"]]
    assert found[: len(promised)] == [one.partition(",")[0].replace(">=", "==") for one in promised]
    tools = found[len(promised) :]
    assert {"pytest>=8.2", "sphinx>=7.4"} <= set(tools)
    assert not [one for one in tools if "==" in one or one.startswith("nixhive_nb")]


def test_a_requirement_without_a_floor_is_a_mistake(lowest):
    with pytest.raises(ValueError, match="click<9: not NAME>=FLOOR"):
        lowest.requirements({**PROJECT, "dependencies": ["click<9"]})


def test_it_is_made_once(lowest, python, tmp_path):
    place = lowest.prepared(tmp_path, NOTHING, *python)
    mark = place / "mark"
    mark.touch()
    assert lowest.prepared(tmp_path, NOTHING, *python) == place
    assert mark.exists()
    assert subprocess.run([place / "bin" / "python", "-c", ""], check=False).returncode == 0


def test_one_that_was_left_half_made_is_made_anew(lowest, python, tmp_path):
    place = lowest.prepared(tmp_path, NOTHING, *python)
    (place / lowest._READY).unlink()
    (place / "bin" / "python").unlink()
    assert lowest.prepared(tmp_path, NOTHING, *python) == place
    assert subprocess.run([place / "bin" / "python", "-c", ""], check=False).returncode == 0


def test_one_whose_installation_failed_is_not_taken_for_whole(lowest, python, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    for _ in range(2):  # the second time as well: nothing is there to begin with
        with pytest.raises(SystemExit, match="pip could not install it"):
            lowest.prepared(tmp_path, ["click==0.0.1"], *python)


def test_another_version_of_python_or_other_requirements_make_another_and_the_old_one_goes(lowest, python, tmp_path):
    first = lowest.prepared(tmp_path, NOTHING, *python)
    (tmp_path / "debian-13").mkdir()  # of somebody else
    second = lowest.prepared(tmp_path, NOTHING, python[0], f"{python[1]} built anew")
    assert first != second
    assert {path.name for path in tmp_path.iterdir()} == {second.name, "debian-13"}


def test_two_checkouts_do_not_use_it_at_once(tmp_path):
    """Whoever comes second waits until the first one has ended, as the program that it has become."""
    script = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.alone import module_of
lowest = module_of(Path({str(TOOL)!r}))
lock = lowest.hold(lowest.Path({str(tmp_path / "lock")!r}))
os.set_inheritable(lock, True)
os.execv(sys.executable, [sys.executable, "-c", "print('mine', flush=True); input()"])
"""
    argv = [sys.executable, "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes) as one:
        assert one.stdout.readline() == "mine\n"
        with subprocess.Popen(argv, **pipes) as two:
            assert two.stdout.readline().endswith("waiting for it.\n")
            one.communicate("\n", timeout=60)
            assert two.communicate("\n", timeout=60) == ("mine\n", None)


def test_it_is_kept_where_it_is_asked_for(lowest, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert lowest.cache_folder() == tmp_path / "nixhive_nb"
