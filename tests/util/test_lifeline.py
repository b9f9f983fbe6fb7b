"""Nothing that we started outlives us: no program here, no private folder, however we end (D3, case 13)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nixhive_nb.ssh.config import private_folder, remove_folder
from nixhive_nb.util import lifeline, process
from tests.sshd import descendants, eventually, is_running

CHILD = """
import asyncio, os, sys, tempfile, threading
from nixhive_nb.util import process
from nixhive_nb.ssh.config import private_folder

SLEEP = ["/bin/sh", "-c", "trap '' TERM; echo begun >&2; sleep 600; sleep 600"]
threading.Thread(target=lambda: process.run(["sleep", "600"]), daemon=True).start()
with tempfile.TemporaryFile() as log:
    process.start(["sleep", "600"], stderr=log)
print(private_folder(), flush=True)
begun = lambda line: print(line, flush=True)
asyncio.run(process.stream(SLEEP, on_stderr=begun))
"""


@pytest.fixture
def place():
    """A folder with a short name, where nobody else sweeps."""
    with tempfile.TemporaryDirectory(prefix="place-", dir="/tmp") as folder:
        yield folder


@pytest.fixture
def child(place):
    """A program of ours that has started others, and its private folder."""
    env = {**os.environ, "XDG_RUNTIME_DIR": place, "TMPDIR": place}
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, env=env) as one:
        folder = Path(one.stdout.readline().strip())
        assert one.stdout.readline() == "begun\n"
        yield one, folder
        one.kill()


@pytest.mark.waits
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_what_we_started_ends_with_us_also_what_ignores_a_sigterm(child, number, monkeypatch, place):
    program, folder = child
    eventually(lambda: len(descendants(program.pid)) >= 5, "all programs")
    started = descendants(program.pid)
    program.send_signal(number)
    program.wait(20)
    eventually(lambda: not any(map(is_running, started)), "the end of all")
    # E10: the folder of a dead program goes when the next one makes its own.
    assert folder.is_dir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", place)
    ours = private_folder()
    assert not folder.exists()
    other = private_folder()
    assert ours.is_dir(), "its program lives"
    remove_folder(ours)
    remove_folder(other)


def test_a_watcher_that_somebody_killed_is_replaced(tmp_path):
    process.run(["true"])
    lifeline._watcher._shell.kill()
    lifeline._watcher._shell.wait()
    assert process.run(["echo", "on"]).stdout == "on\n"


@pytest.mark.waits
def test_a_fork_of_ours_does_not_keep_what_we_started_alive(child):
    code = CHILD.replace(
        "begun = lambda", "if os.fork() == 0:\n    import time\n    time.sleep(30)\n    os._exit(0)\nbegun = lambda"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout.readline()
        assert one.stdout.readline() == "begun\n"
        below = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0] for pid in descendants(one.pid)}
        fork = [pid for pid, program in below.items() if program == sys.executable]
        started = [pid for pid in below if pid not in fork]
        assert len(fork) == 1
        assert started
        one.kill()
        eventually(lambda: not any(map(is_running, started)), "the end of all")
        for pid in fork:
            os.kill(pid, signal.SIGKILL)


ATTACHED = """
from nixhive_nb.util import process
process.run_attached(["sh", "-c", "echo begun; exec sleep 600"])
"""


def test_a_program_on_our_own_terminal_ends_with_us_too():
    """D3: `ssh` of `nix-hive ssh` has our terminal and no session of its own."""
    with subprocess.Popen([sys.executable, "-c", ATTACHED], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout.readline() == "begun\n"
        started = descendants(one.pid)
        one.kill()
    eventually(lambda: not any(map(is_running, started)), "the end of all")


def test_what_has_ended_is_let_go_of(monkeypatch, tmp_path):
    """Its number may become that of another program, which would be ended with us."""
    told, pids = [], []
    monkeypatch.setattr(lifeline._watcher, "tell", told.append)
    pids.append(process.run(["sh", "-c", "echo $$"]).stdout.strip())
    asyncio.run(process.stream(["sh", "-c", "echo $$ >&2"], on_stderr=pids.append))
    with (tmp_path / "errors").open("wb") as errors:
        beside = process.start(["sleep", "600"], stderr=errors)
    process.end(beside)
    pids.append(str(beside.pid))
    assert told == [f"--{pid}" for pid in pids]
