"""`fetch.sh` in the hands of real shells, with a `nix-store` that does as it is told (N4, case 7)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

from nixhive_nb.nix import fetching
from nixhive_nb.nix.fetching import Moves, Rooted, Stalled
from tests.sshd import eventually

PATH = "/nix/store/00000000000000000000000000000000-system"
ROOT = fetching.root_name("20261128T010203Z-ab12cd", PATH)
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


@pytest.fixture(params=SHELLS)
def host(request, tmp_path):
    """Run the script as a host does, whose `nix-store` is the given text; its folder for roots is a folder here."""
    programs = tmp_path / "bin"
    programs.mkdir()

    def run(command, nix_store="", glance="0.2", **options):
        program = programs / "nix-store"
        program.write_text(f"#!/bin/sh\n{nix_store}\n")
        program.chmod(0o755)
        command = command.replace("gcroots=/nix/var/nix/gcroots", f"gcroots={tmp_path}")
        for slow, quick in (("glance=2", f"glance={glance}"), ("grace=1", "grace=0.1")):
            assert slow in command
            command = command.replace(slow, quick)
        env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        return subprocess.run(
            [request.param, "-c", command], env=env, capture_output=True, text=True, timeout=60, check=False, **options
        )

    run.roots = tmp_path / "nixhive"
    return run


def said(ended):
    return [word for line in ended.stdout.splitlines() if (word := fetching.read(line)) is not None]


def test_a_fetch_ends_as_nix_does_and_its_words_come_through(host):
    ended = host(fetching.fetch(PATH, ROOT, stall=9), 'echo "$@"; echo oops >&2; exit 3')
    assert ended.returncode == 3
    assert f"--realise {PATH} --option connect-timeout 5" in ended.stdout
    assert "oops" in ended.stderr


def test_a_path_is_kept_before_it_comes(host):
    """Case 7: no collector comes between the copy and the root."""
    look = f'readlink "{host.roots}/{ROOT}"'
    ended = host(fetching.fetch(PATH, ROOT, stall=9), look)
    assert ended.stdout.splitlines() == ["nixhive rooted", PATH]


def test_roots_have_the_run_and_go_at_the_end_or_after_a_day(host):
    """Case 7."""
    host.roots.mkdir()
    for name, hours in (("dead", 25), ("alive", 23)):
        (host.roots / name).symlink_to(PATH)
        then = time.time() - hours * 3600
        os.utime(host.roots / name, (then, then), follow_symlinks=False)
    assert said(host(fetching.keep(PATH, ROOT))) == [Rooted()]
    assert {file.name for file in host.roots.iterdir()} == {"alive", ROOT}
    assert ROOT.startswith("20261128T010203Z-ab12cd-")
    assert fetching.root_name("20261128T010203Z-ab12cd", PATH, relay=True) != ROOT
    host(fetching.release(ROOT))
    assert {file.name for file in host.roots.iterdir()} == {"alive"}


def alive_in(group):
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=False).stdout
    return [line for line in listed.splitlines() if line.split()[0] == group and line.split()[1][0] != "Z"]


@pytest.mark.parametrize("nix_store", ["sleep 60", "kill -STOP $$", "trap '' TERM; sleep 60; sleep 60"])
def test_what_moves_nothing_is_ended_with_all_that_it_started(host, nix_store):
    """N4."""
    ended = host(fetching.fetch(PATH, ROOT, stall=1), f"echo $$ >&2; {nix_store}")
    assert ended.returncode != 0
    assert isinstance(said(ended)[-1], Stalled)
    group = ended.stderr.split()[0]
    # Who is killed is there until it is its turn to die.
    eventually(lambda: not alive_in(group), "the end of the group")


@pytest.mark.waits
def test_what_moves_slowly_is_not_ended(host):
    """N4: a byte now and then is enough."""
    ended = host(fetching.fetch(PATH, ROOT, stall=2), "for i in 1 2 3 4 5 6; do read x </proc/version; sleep 0.6; done")
    assert ended.returncode == 0
    moves = [word for word in said(ended) if isinstance(word, Moves)]
    assert moves
    assert max(move.still for move in moves) < 2
    assert moves[-1].bytes > 0


def test_a_fetch_ends_with_nix_whatever_its_watcher_does_then(host):
    """Bash loses a handler of a signal that comes while it reads a command to substitute, and goes on for ever."""
    for pause in range(10, 50):
        ended = host(fetching.fetch(PATH, ROOT, stall=9), f"sleep 0.0{pause}", glance="0")
        assert (ended.returncode, ended.stderr) == (0, "")


def test_what_takes_too_long_in_all_is_ended(host):
    ended = host(fetching.fetch(PATH, ROOT, stall=60, limit=1), "while :; do read x </proc/version; sleep 0.1; done")
    assert said(ended)[-1] == Stalled(1, late=True)


def test_another_nix_that_is_waited_for_is_named(host, tmp_path):
    """N4, N3: Nix itself says nothing of a path that another one brings."""
    lock = tmp_path / "lock"
    argv = ["flock", lock, "sh", "-c", "echo; exec tail -f /dev/null"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as holder:
        holder.stdout.readline()
        ended = host(fetching.fetch(PATH, ROOT, stall=2), f'exec 9>"{lock}"; exec flock 9')
        os.killpg(holder.pid, signal.SIGKILL)
    assert any(move.process == str(holder.pid) for move in said(ended) if isinstance(move, Moves))


def test_nobody_who_hears_it_ends_it(host):
    """N3: an operator who is gone leaves no fetch on the host."""
    ended = host(f"({fetching.fetch(PATH, ROOT, stall=50)}\n) | true; echo over", "sleep 55")
    assert ended.stdout == "over\n"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("nixhive moves 12 3 -", Moves(bytes=12, still=3)),
        ("nixhive moves - 0 77", Moves(bytes=None, still=0, process="77")),
        ("nixhive stalled 9", Stalled(9)),
        ("nixhive rooted", Rooted()),
        (f"nixhive moves {'9' * 30} 0 -", None),
        ("nixhive moves x 0 -", None),
        ("copying path '/nix/store/x' from 'ssh://portico'...", None),
    ],
)
def test_lines_of_the_script_are_told_from_those_of_nix(line, word):
    assert fetching.read(line) == word
