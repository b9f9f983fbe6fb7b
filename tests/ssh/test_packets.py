"""A way on which each packet waits until the one before is acknowledged, as Nagle's algorithm has it for small ones."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

from nixhive_nb.ssh.ears import Ears
from nixhive_nb.ssh.transport import Link

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]

WAY = """
import os, select, socket, sys
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
waited = sys.argv[3]
opposite = {0: there.fileno(), there.fileno(): 0}
unacknowledged = set()
while True:
    ready = select.select(list(set(opposite) - unacknowledged), [], [], 5)[0]
    if not ready:
        with open(waited, "a") as file:
            file.writelines(f"{side}\\n" for side in select.select(list(unacknowledged), [], [], 0)[0])
        unacknowledged.clear()
    for side in ready:
        data = os.read(side, 65536)
        if not data:
            sys.exit()
        os.write(opposite[side] or 1, data)
        unacknowledged.discard(opposite[side])
        if os.path.exists(waited):
            unacknowledged.add(side)
"""
"""A ProxyCommand that is such a way once a file is there, and notes there what waited in vain: 0 for what we sent."""


def unhindered(site, commands):
    """Run commands on such a way, until three of them waited for nothing. Return how many did not."""
    server = site.sshd()
    way, waited = site.folder / "way", site.folder / "waited"
    way.write_text(WAY)
    command = f"{sys.executable} -IS {way} {server.address} {server.port} {waited}"
    connections = site.connect(site.instance("web", server, ProxyCommand=command))
    connections.run("web", "true")
    waited.touch()
    found = 0
    for number in range(commands):
        before = waited.read_text()
        said = connections.run("web", "read word; echo $word; sleep 0.05; echo end; exit 3", stdin=f"{number}\n")
        assert (said.stdout, said.exited) == (f"{number}\nend\n", 3)
        assert connections.run("web", "echo without input").exited == 0
        found += waited.read_text() == before
        if found == 3:
            break
    return found


def test_a_command_does_not_wait_for_what_it_said_to_be_acknowledged(site):
    """It took 40 ms for each command behind a jump host."""
    assert unhindered(site, commands=8) == 3


@pytest.mark.parametrize("where", ["between two messages", "at the last of some"])
def test_nor_where_a_thread_is_held_up(site, monkeypatch, where):
    """Then it acknowledged what had come twice, or an end, and its next command waited for the answer."""
    receive = Link.recv

    def hold_up(link, size):
        time.sleep(0.02 if link._ahead and where == "between two messages" else 0)
        data = receive(link, size)
        time.sleep(0.02 if not link._ahead and where == "at the last of some" else 0)
        return data

    monkeypatch.setattr(Link, "recv", hold_up)
    assert unhindered(site, commands=3) == 3


def test_what_is_sent_together_goes_at_once_and_before_what_others_send_later():
    ours, theirs = socket.socketpair()
    link = Link()
    link.adopt(ours, lambda: "")
    with theirs:
        with link.together():
            link.send(b"a")
            theirs.settimeout(0)
            with pytest.raises(BlockingIOError):
                theirs.recv(10)
            link.send(b"b")
        assert theirs.recv(10) == b"ab"
        with link.together():
            link.send(b"c")
            other = threading.Thread(target=link.send, args=(b"d",))
            other.start()
            other.join(20)
            assert theirs.recv(10) == b"cd"
            link.send(b"e")
        assert theirs.recv(10) == b"e"
        link.close()


def test_what_two_threads_hold_back_at_a_time_goes_with_what_is_sent_next():
    """A session that we close, and that the host does: the one who left first ended it for both."""
    ours, theirs = socket.socketpair()
    link = Link()
    link.adopt(ours, lambda: "")
    held_back, go_on = threading.Event(), threading.Event()

    def close():
        with link.together(wait=True):
            held_back.set()
            go_on.wait(20)
            link.send(b"b")

    other = threading.Thread(target=close)
    with theirs:
        theirs.settimeout(0)
        with link.together(wait=True):
            other.start()
            assert held_back.wait(20)
            link.send(b"a")
        go_on.set()
        other.join(20)
        with pytest.raises(BlockingIOError):
            theirs.recv(10)
        link.send(b"c")
        assert theirs.recv(10) == b"abc"
        link.close()


def test_an_answer_is_owed_when_all_that_came_is_done_with():
    """Before, what has been taken may be the end of a session, whose next packet is an answer as well."""
    ours, theirs = socket.socketpair()
    link = Link()
    link.adopt(ours, lambda: "")
    ears = Ears()
    with theirs:
        theirs.send(b"ab")
        for taken in (b"a", b"b"):
            assert link.recv(1) == taken
            assert not link.owes_an_answer(ears)
        done_with = threading.Thread(target=link.recv, args=(1,))
        done_with.start()
        ears.wait(20)
        assert link.owes_an_answer(ears)
        link.send(b"c")
        assert not link.owes_an_answer(ears)
        theirs.send(b"d")
        done_with.join(20)
        link.close()
