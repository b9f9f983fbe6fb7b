"""What moves on this machine, by real programs (N4)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import pytest

from nixhive_nb.errors import StepFailed
from nixhive_nb.nix.fetching import Moves
from nixhive_nb.nix.stillness import Stillness, stream_moving
from nixhive_nb.nix.traffic import Traffic


class Told:
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)

    def progress(self, done, expected):
        pass


async def run(argv, *, stall, limit=60.0, ask=None, told=None, after=10.0):
    return await stream_moving(
        argv,
        on_stderr=lambda _: None,
        env={},
        stall=stall,
        stillness=Stillness(told or Told(), "www-1", after=after),
        ask=ask,
        limit=limit,
        glance=0.2,
    )


def test_what_ends_by_itself_is_waited_for():
    assert asyncio.run(run(["sh", "-c", "exit 3"], stall=1)).status == 3


def test_what_moves_nothing_is_ended(tmp_path):
    """N4."""
    file = tmp_path / "pid"
    with pytest.raises(StepFailed, match="no bytes moved for "):
        asyncio.run(run(["sh", "-c", f"echo $$ > {file}; exec sleep 60"], stall=1))
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


@pytest.mark.waits
def test_what_a_child_moves_counts():
    """N4: ssh moves what Nix gave it long ago."""
    child = "while :; do head -c 100000 /dev/zero > /dev/null; sleep 0.1; done"
    ended = asyncio.run(run(["sh", "-c", f"timeout 5 sh -c '{child}' & wait $!; exit 0"], stall=3))
    assert ended.status == 0


def test_a_child_that_ends_as_it_is_looked_at_is_one_less(monkeypatch):
    """Its folder in /proc is there when it is looked for, and gone when it is read."""

    def gone(folder, _pattern):
        yield folder / "1" / "children"
        raise FileNotFoundError(folder)

    monkeypatch.setattr(Path, "glob", gone)
    moved = Traffic.of(os.getpid())
    assert moved is not None
    assert moved.own > 0
    assert moved.children == {}


@pytest.mark.waits
def test_where_nothing_can_be_read_the_long_limit_holds(monkeypatch):
    """N4."""
    monkeypatch.setattr(Traffic, "of", classmethod(lambda _cls, _pid: None))
    with pytest.raises(StepFailed, match="took longer than 3"):
        asyncio.run(run(["sleep", "60"], stall=1, limit=3))


@pytest.mark.waits
def test_what_another_nix_brings_to_the_host_counts_and_is_told():
    """N4."""
    there = iter(range(10_000))
    told = Told()

    async def ask():
        return Moves(bytes=next(there), still=0, process="77")

    assert asyncio.run(run(["sleep", "5"], stall=3, ask=ask, told=told, after=0.5)).status == 0
    assert told.lines[0] == "waits for another Nix on www-1 (process 77)"


def test_it_is_told_after_seconds_and_then_each_time_that_it_has_taken_twice_as_long():
    """N4."""
    told = Told()
    still = Stillness(told, "www-1")
    for seconds in range(100):
        still.see(float(seconds))
    assert told.lines == [
        f"no bytes have moved for {seconds}" for seconds in ("10.0 s", "20.0 s", "40.0 s", "1 min 20 s")
    ]
    still.see(0.0)
    still.see(10.0)
    assert len(told.lines) == 5


def test_the_questions_of_ssh_whether_the_other_side_is_there_are_no_progress():
    before = Traffic(own=1, children={7: 10_000}, queued=0)
    assert not Traffic(own=1, children={7: 10_100}, queued=52).is_past(before)
    assert Traffic(own=2, children={7: 10_000}).is_past(before)
    assert Traffic(own=1, children={7: 20_000}).is_past(before)
    assert Traffic(own=1, children={7: 10_000}, queued=90_000).is_past(before)


def test_what_waits_in_the_socket_of_a_program_is_seen():
    """N4: what ssh wrote has not left yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = "import socket,sys,time; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        sender += "s.setblocking(False); n = 0\nwhile n < 50:\n    try: s.send(b'x' * 1000000)\n"
        sender += "    except BlockingIOError: n += 1; time.sleep(0.01)\nprint(flush=True); time.sleep(60)"
        program = subprocess.Popen(["python3", "-c", sender, str(server.getsockname()[1])], stdout=subprocess.PIPE)
        with server.accept()[0] as link:
            program.stdout.readline()
            full = Traffic.of(program.pid)
            assert full.queued > 10_000
            while link.recv(1_000_000):
                if Traffic.of(program.pid).queued < full.queued - 2_000:
                    break
            assert Traffic.of(program.pid).is_past(full)
        program.kill()
        program.communicate()
