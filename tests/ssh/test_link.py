"""Commands for the steps of a run over a real sshd: what becomes of one that is cancelled before it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.hosts.checks import _Site
from nixhive_nb.ssh.config import SESSIONS
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.util.workers import Workers
from tests.sshd import BOTH, eventually, is_running, public

pytestmark = pytest.mark.nix
CARRIERS = BOTH


class Noted:
    """Connections that tell when a command is on its way."""

    far = None

    def __init__(self, connections):
        self._connections = connections
        self.workers = connections.workers
        self.noted = threading.Event()
        self.calls = []

    def steps(self, instance, command, *, on_call, **more):
        def note(call):
            on_call(call)
            self.calls.append(call)
            self.noted.set()

        return self._connections.steps(instance, command, on_call=note, **more)


@pytest.fixture
def server(site):
    return site.sshd()


@pytest.fixture
def connections(site, server):
    return Noted(site.connect(site.instance("web", server)))


@pytest.fixture
def lines(connections):
    return FabricLinks(connections)


def test_a_command_that_is_cancelled_during_the_login_is_never_sent(connections, lines, server, tmp_path):
    async def cancel_while_the_login_waits():
        server.process.send_signal(signal.SIGSTOP)
        try:
            work = asyncio.create_task(lines.kept("web").run(f"touch {tmp_path}/ran", seconds=20))
            await asyncio.to_thread(connections.noted.wait, 20)
            work.cancel()
            await asyncio.sleep(0)
        finally:
            server.process.send_signal(signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await work
        assert (await lines.kept("web").run("true", seconds=20)).exited == 0

    asyncio.run(cancel_while_the_login_waits())
    assert server.logins() == 1
    assert not (tmp_path / "ran").exists()


def test_a_command_that_is_cancelled_before_a_session_is_free_is_never_sent(connections, lines, tmp_path):
    gates = [tmp_path / f"gate-{number}" for number in range(SESSIONS)]
    for gate in gates:
        os.mkfifo(gate)

    async def cancel_while_all_sessions_are_taken():
        before = [asyncio.create_task(lines.kept("web").run(f"cat {gate}", seconds=20)) for gate in gates]
        # Each is noted when it has its session.
        await asyncio.to_thread(eventually, lambda: len(connections.calls) == SESSIONS)
        work = asyncio.create_task(lines.kept("web").run(f"touch {tmp_path}/ran", seconds=20))
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.sleep(0)
        for gate in gates:
            await asyncio.to_thread(gate.write_text, "end\n")
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.gather(*before)

    asyncio.run(cancel_while_all_sessions_are_taken())
    assert not (tmp_path / "ran").exists()


class Together:
    """Connections whose commands end when so many of them are under way at once; `late` where they never are."""

    far = None

    def __init__(self, parties):
        self._barrier = threading.Barrier(parties)
        self.workers = Workers("together")
        self.late = False

    def steps(self, instance, command, **_):
        try:
            self._barrier.wait(120)
        except threading.BrokenBarrierError:
            self.late = True
        raise ConnectionFailed("it is not there")
        yield


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@example(hosts=32, checks=5)
@given(hosts=st.integers(1, 40), checks=st.integers(0, SESSIONS))
def test_whatever_hosts_and_checks_there_are_no_command_waits_for_a_thread(hosts, checks):
    """D1: each host is followed, checked, and given its word at once: none of them queues behind another."""
    together = Together(hosts * (checks + 2))
    lines = FabricLinks(together)

    async def all_of_it():
        commands = ("follow", "say", *(f"check {number}" for number in range(checks)))
        asked = [lines.kept(f"h{host}").run(one, seconds=9) for host in range(hosts) for one in commands]
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(all_of_it())
    assert not together.late


def test_commands_that_wait_for_their_hosts_have_no_threads(site, server, tmp_path):
    """Of 24 commands at once no more threads are left than wait for work; what comes of a command finds one at once."""
    names = [f"h{number}" for number in range(3)]
    connections = site.connect(*(site.instance(name, server) for name in names))
    links = FabricLinks(connections)
    gates = [f"{name}-{number}" for name in names for number in range(SESSIONS)]
    for gate in gates:
        os.mkfifo(tmp_path / gate)
    begun = []

    def at_work():
        return [thread for thread in threading.enumerate() if thread.name == "hive-host"]

    async def all_of_them():
        asked = [
            asyncio.create_task(
                links.kept(gate.partition("-")[0]).run(
                    f"echo begun; cat {tmp_path}/{gate}", seconds=60, on_line=begun.append
                )
            )
            for gate in gates
        ]
        await asyncio.to_thread(eventually, lambda: begun.count("begun") == len(asked), "the beginning of all")
        await asyncio.to_thread(eventually, lambda: len(at_work()) <= 8, "threads of those that wait")
        for gate in gates:
            await asyncio.to_thread((tmp_path / gate).write_text, f"{gate}\n")
        return [ended.stdout for ended in await asyncio.gather(*asked)]

    assert asyncio.run(all_of_them()) == [f"begun\n{gate}\n" for gate in gates]


class Unsure:
    """Connections that know after a while only where a host is, as where ssh reads its configuration for it."""

    far = None

    def __init__(self):
        self.asked, self.known = threading.Event(), threading.Event()
        self.workers = Workers("unsure")

    @contextlib.contextmanager
    def fresh(self, instance, *, urgent=False):
        yield SimpleNamespace(steps=None, dial=None)

    def address(self, instance):
        self.asked.set()
        assert self.known.wait(60), "the loop waits for it"
        return "192.0.2.1"


@pytest.mark.parametrize("line", ["fresh", "kept"])
def test_no_look_into_the_configuration_of_ssh_holds_the_loop(line):
    """D10: all hosts waited for it."""
    unsure = Unsure()
    lines = FabricLinks(unsure)

    async def known():
        if line == "fresh":
            async with lines.fresh("web") as fresh:
                return fresh.address
        with ThreadPoolExecutor(1) as pool:
            return await _Site(lines.kept("web"), pool).address()

    async def meanwhile():
        looking = asyncio.create_task(known())
        assert await asyncio.to_thread(unsure.asked.wait, 60)
        unsure.known.set()
        return await looking

    assert asyncio.run(meanwhile()) == "192.0.2.1"


def test_a_login_that_is_left_before_it_came_about_is_closed_though_the_run_has_ended(site, server):
    """D17: nobody else would close it: the connections stay for the next run."""
    connections = site.connect(site.instance("web", server))
    lines = FabricLinks(connections)

    async def leave_in_the_login():
        server.process.send_signal(signal.SIGSTOP)
        opening = asyncio.create_task(lines.fresh("web").__aenter__())
        await asyncio.to_thread(eventually, lambda: connections._fresh)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    try:
        asyncio.run(leave_in_the_login())
    finally:
        server.process.send_signal(signal.SIGCONT)
    eventually(lambda: not connections._fresh, "the end of the login")


def test_the_word_waits_for_no_login_to_another_host(site, server):
    """D1: hosts that hang take every place for logins through one way in; the one on trial needs none."""
    hanging = [site.instance(f"slow-{number}", server) for number in range(2)]
    connections = site.connect(site.instance("web", server), *hanging, logins_per_jump=1, connect_timeout=60)
    connections.open("web")
    held = connections._opener._slot(connections._opener._resolve("web"))
    lines = FabricLinks(connections)

    async def give_the_word():
        async with lines.fresh("web", urgent=True) as line:
            return await line.run("echo keep", seconds=20)

    with held:  # as a login that hangs does
        assert asyncio.run(give_the_word()).stdout == "keep\n"


OPERATOR = """
import asyncio, sys
from pathlib import Path
from nixhive_nb.ssh.pool import Connections
from nixhive_nb.hosts.checks import _Site
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.ssh.config import SshFiles
from nixhive_nb.deployment.inventory import Instance, Inventory

folder, keys, words, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
files = SshFiles(folder=folder, config=folder / "config", batch=folder / "batch", known_hosts=folder / "known_hosts")
web = Instance(name="web", system="s", host_keys=(keys,), carrier=sys.argv[5])
lines = FabricLinks(Connections(Inventory(source="t", instances={"web": web}), files))

async def work():
    if way == "kept":
        await lines.kept("web").run(words, seconds=60)
    else:
        async with lines.fresh("web") as line:
            await line.run(words, seconds=60)

asyncio.run(work())
"""


@pytest.mark.parametrize("way", ["kept", "fresh"])
def test_what_runs_on_a_host_ends_when_we_are_killed(site, server, tmp_path, way, carrier):
    """D3, N3: a fetch that was left there held Nix's lock of the path; `timeout` makes a group of its own."""
    _, files = site.files(site.instance("web", server))
    words = f"timeout -k 5 600 sh -c 'sleep 600 & echo $! $$ >{tmp_path}/pids; wait'; true"
    argv = [sys.executable, "-c", OPERATOR, files.folder, public(site.keys["host-ed25519"]), words, way, carrier]
    with subprocess.Popen(argv) as operator:
        eventually(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"))
        pids = list(map(int, (tmp_path / "pids").read_text().split()))
        assert all(map(is_running, pids))
        operator.kill()
    eventually(lambda: not any(map(is_running, pids)), "the end of what ran on the host")
