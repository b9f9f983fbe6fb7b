"""Commands for the steps of a run over a real sshd: what becomes of one that is cancelled before it was sent."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from nixhive_nb.backend.lines import Lines


class Noted:
    """Connections that tell when a command is on its way."""

    def __init__(self, connections):
        self._connections = connections
        self.noted = threading.Event()

    def run(self, instance, command, *, on_call, **more):
        def note(call):
            on_call(call)
            self.noted.set()

        return self._connections.run(instance, command, on_call=note, **more)


@pytest.fixture
def server(site):
    return site.sshd()


@pytest.fixture
def connections(site, server):
    return Noted(site.connect(site.instance("web", server)))


@pytest.fixture
def lines(connections):
    found = Lines(connections, parallel=1)
    yield found
    found.close()


def test_a_command_that_is_cancelled_during_the_login_is_never_sent(connections, lines, server, tmp_path):
    async def cancel_while_the_login_waits():
        server.process.send_signal(signal.SIGSTOP)
        try:
            work = asyncio.create_task(lines.remote("web", f"touch {tmp_path}/ran", seconds=20))
            await asyncio.to_thread(connections.noted.wait, 20)
            work.cancel()
            await asyncio.sleep(0)
        finally:
            server.process.send_signal(signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await work
        assert (await lines.remote("web", "true", seconds=20)).exited == 0

    asyncio.run(cancel_while_the_login_waits())
    assert server.logins() == 1
    assert not (tmp_path / "ran").exists()


def test_a_command_that_is_cancelled_before_a_thread_has_it_is_never_sent(lines, tmp_path):
    gates = [tmp_path / "one", tmp_path / "other"]
    for gate in gates:
        os.mkfifo(gate)

    async def cancel_while_all_threads_are_taken():
        before = [asyncio.create_task(lines.remote("web", f"cat {gate}", seconds=20)) for gate in gates]
        await asyncio.sleep(0)
        work = asyncio.create_task(lines.remote("web", f"touch {tmp_path}/ran", seconds=20))
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.sleep(0)
        for gate in gates:
            await asyncio.to_thread(gate.write_text, "end\n")
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.gather(*before)

    asyncio.run(cancel_while_all_threads_are_taken())
    assert not (tmp_path / "ran").exists()
