"""How commands are run in a connection, over a real sshd: by the thread that waits, and with nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nixhive_nb.errors import LinkLost
from nixhive_nb.hosts.command import errand_of
from nixhive_nb.run.everywhere import run_everywhere
from nixhive_nb.ssh import runner
from nixhive_nb.ssh.fabric_links import FabricLinks
from tests.sshd import BOTH, FABRIC, eventually, in_threads

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]
CARRIERS = BOTH

BIG = 8_000_000


@pytest.fixture
def connections(site):
    made = site.connect(site.instance("web", site.sshd()))
    made.run("web", "true")
    return made


@pytest.fixture
def started(monkeypatch):
    """The names of the threads that are started from here on."""
    names = []
    start = threading.Thread.start

    def noted(thread):
        names.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return names


def test_a_command_starts_no_thread(connections, started):
    for _ in range(20):
        assert connections.run("web", "cat; echo err >&2", stdin=b"x" * 100_000, timeout=60).stdout == "x" * 100_000
    assert started in ([], ["hive-watchdog"])


def test_the_threads_of_a_run_are_kept_for_the_next(site, started):
    server = site.sshd()
    names = [f"h{number}" for number in range(6)]
    connections = site.connect(*(site.instance(name, server) for name in names))

    def run():
        rows = run_everywhere(connections, names, errand_of("echo"), parallel=3)
        assert [row["stdout"] for row in rows] == ["\n"] * 6
        eventually(lambda: connections.workers._idle == 3, "the end of the work")

    run()
    assert started.count("hive-host") == 3
    started.clear()
    for _ in range(3):
        run()
    assert started == []


def test_questions_use_the_threads_that_are_kept(connections, started):
    links = FabricLinks(connections)
    together = threading.Barrier(4, timeout=60)
    for future in [connections.workers.submit(together.wait) for _ in range(4)]:
        future.result(60)

    async def ask():
        for _ in range(4):
            await links.kept("web").run("true", seconds=60)

    eventually(lambda: connections.workers._idle == 4, "the end of the work")
    started.clear()
    asyncio.run(ask())
    assert "hive-host" not in started


def test_big_input_and_big_output_at_once_wait_for_nobody(connections):
    """Both are more than what a session has room for: who sends all before it reads waits without end."""
    data = bytes(range(256)) * (BIG // 256)
    command = "tee /dev/stderr | sha256sum; sleep 0"
    both = connections.run("web", "tee /dev/stderr", stdin=b"0123456789abcdef" * (BIG // 16))
    assert both.stdout == both.stderr == "0123456789abcdef" * (BIG // 16)
    ended = connections.run("web", command, stdin=data)
    assert ended.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert ended.exited == 0


def test_input_goes_on_after_the_outputs_are_closed(connections, tmp_path):
    data = b"x" * BIG
    ended = connections.run("web", f"exec >&- 2>&-; cat >{tmp_path}/all; exit 5", stdin=data)
    assert ended.exited == 5
    assert (tmp_path / "all").read_bytes() == data


def test_who_hears_lines_may_use_the_same_connection(connections):
    """A receiver on paramiko's own thread would wait for itself."""
    heard = []

    def hears(_stream, line):
        heard.append((line, connections.run("web", f"echo again {line}").stdout))

    assert connections.run("web", "echo one; echo two", on_line=hears, timeout=60).exited == 0
    assert heard == [("one", "again one\n"), ("two", "again two\n")]


def test_a_receiver_that_is_slow_stops_its_own_command_alone(connections):
    go_on, heard = threading.Event(), threading.Event()

    def hears(_stream, _line):
        heard.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(connections.run, "web", f"yes {'y' * 99} | head -c {BIG}", on_line=hears)
        assert heard.wait(60)
        assert connections.run("web", "echo there", timeout=60).stdout == "there\n"
        go_on.set()
        assert len(slow.result(60).stdout) == BIG


def test_an_error_of_the_network_that_a_receiver_raises_is_its_own(connections):
    def hears(_stream, _line):
        raise BrokenPipeError("the screen is gone")

    with pytest.raises(BrokenPipeError, match="the screen is gone"):
        connections.run("web", "echo; sleep 60", on_line=hears)
    assert connections.is_open("web")


def test_a_command_that_is_let_go_of_while_its_input_waits_ends_at_once(connections):
    calls, begun = [], threading.Event()

    def note(call):
        calls.append(call)

    with ThreadPoolExecutor(1) as pool:
        # It reads nothing, so that the input has no room.
        held = pool.submit(
            connections.run, "web", "echo; sleep 60", stdin=b"x" * BIG, on_call=note, on_line=lambda *_: begun.set()
        )
        assert begun.wait(60)
        calls[0].cancel()
        with pytest.raises(LinkLost):
            held.result(30)
    assert connections.run("web", "true").exited == 0


def test_who_waits_is_woken_by_what_comes_and_not_by_the_clock(connections, monkeypatch):
    """With a wait of an hour between looks, each command ends all the same."""
    monkeypatch.setattr("nixhive_nb.ssh.ears.AWAKE", 3600.0)
    data = b"x" * BIG

    def work(number):
        return len(connections.run("web", "cat; exec >&-; true", stdin=data[: number * 300_000], timeout=60).stdout)

    assert in_threads(4, work, range(12)) == [number * 300_000 for number in range(12)]


@FABRIC
def test_what_checks_and_decrypts_at_once_is_asked_for_first(connections):
    """To check in Python took several times as long as all else that is done with output."""
    transport = connections._hosts["web"].opened.connection.transport
    assert "-gcm@" in transport.remote_cipher
    assert "-gcm@" in transport.local_cipher


@FABRIC
def test_a_connection_that_changes_its_keys_meanwhile_goes_on(connections):
    transport = connections._hosts["web"].opened.connection.transport
    transport.packetizer.REKEY_BYTES = BIG // 4
    before = transport.H
    ended = connections.run("web", f"head -c {BIG} /dev/zero | tr '\\0' x", timeout=60)
    assert ended.stdout == "x" * BIG
    assert before != transport.H
    assert connections.run("web", "echo again", timeout=60).stdout == "again\n"


@FABRIC
def test_while_much_comes_not_each_packet_wakes_the_thread(connections, monkeypatch):
    """It rests after a long packet where it has its own thread, and never after a short answer."""
    rests = []
    monkeypatch.setattr(runner.time, "sleep", rests.append)
    connections.run("web", "echo hello; cat >/dev/null", stdin=b"x" * 100_000, timeout=60)
    connections.run("web", f"head -c {BIG} /dev/zero", timeout=60)
    assert rests == []
    connections.run("web", f"head -c {BIG} /dev/zero", timeout=60, on_call=lambda call: setattr(call, "rests", True))
    assert set(rests) == {runner._REST}


@FABRIC
def test_a_session_is_there_however_late_paramiko_takes_note_of_it(connections):
    """It wakes who waits, and takes the number of the session away then."""
    connections.run("web", "true", timeout=60)
    transport = connections._hosts["web"].opened.connection.transport

    class Slow(dict):
        def __delitem__(self, number):
            threading.Event().wait(0.3)  # for whoever was woken to look
            super().__delitem__(number)

    transport.channel_events = Slow()
    answer = asyncio.run(asyncio.wait_for(FabricLinks(connections).kept("web").run("echo hi", seconds=60), 30))
    assert answer.stdout == "hi\n"
