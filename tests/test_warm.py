"""Programs that are forked from a warm one are as those that are started."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests import warm
from tests.sshd import eventually


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
    assert ends(warm.command(), *words) == ends(warm.COLD, *words)


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


def nobody_reads(pipe):
    try:
        os.write(pipe, b"1")
    except BrokenPipeError:
        return True
    return False


@pytest.mark.nix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_who_stands_for_it_is_one_to_it(tmp_path, number):
    (tmp_path / "hive.nix").write_text("let wait = builtins.readFile ./pipe; in wait")
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([*warm.command(), "targets"], cwd=tmp_path, stderr=subprocess.PIPE) as program:
        pipe = os.open(tmp_path / "pipe", os.O_WRONLY)  # it is open when it is read
        program.send_signal(number)
        program.communicate(timeout=60)
    eventually(lambda: nobody_reads(pipe), "the end of the evaluation")
    os.close(pipe)
    assert program.returncode in {130, 143, -number}
