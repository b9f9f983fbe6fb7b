"""Programs that are forked from a warm one are as those that are started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import warm

COLD = [sys.executable, "-m", "nixhive_nb"]


@pytest.fixture
def ends(tmp_path):
    def ends(program, *words, **options):
        env = {**os.environ, "NO_COLOR": "1", "XDG_STATE_HOME": str(tmp_path / "state")}
        done = subprocess.run(
            [*program, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, **options
        )
        return done.returncode, done.stdout, done.stderr

    return ends


@pytest.mark.parametrize(
    "words", [["--version"], ["deploy", "--help"], ["no-such-command"], ["targets"], ["-c", "x.nix", "instances"]]
)
def test_it_says_the_same_and_ends_the_same(ends, words):
    assert ends(warm.command(), *words) == ends(COLD, *words)


@pytest.mark.nix
def test_its_folder_its_environment_and_its_descriptors_are_its_own(ends, tmp_path):
    (tmp_path / "hive.nix").write_text(
        "{ systems.a.configuration = { }; instances.${builtins.getEnv ''WARM''}.system = ''a''; }"
    )
    for name in ("one", "two"):
        status, said, _ = ends(["env", f"WARM={name}", *warm.command()], "targets", "--json")
        assert (status, name in said) == (0, True)


def test_there_is_one_server_however_many_programs(ends):
    warm.command()
    server = dict(warm._servers)
    ends(warm.command(), "--version")
    assert dict(warm._servers) == server
    assert len(server) == 1
