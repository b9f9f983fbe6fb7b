"""The socket under a connection: what is read from it, and how often."""

from __future__ import annotations

import socket

import pytest

from nixhive_nb.ssh.transport import Link


@pytest.fixture
def pair():
    """A link, the socket at its other end, and how many bytes it asked for each time."""
    ours, theirs = socket.socketpair()
    asked = []

    class Counted:
        def recv(self, size):
            asked.append(size)
            return ours.recv(size)

        def __getattr__(self, name):
            return getattr(ours, name)

    link = Link()
    link.adopt(Counted(), lambda: "")
    yield link, theirs, asked
    link.close()
    theirs.close()


def test_what_has_come_is_read_at_once_however_little_is_asked_for(pair):
    """paramiko reads each packet in parts, and each read is two calls of the system and a change of threads."""
    link, theirs, asked = pair
    theirs.sendall(bytes(range(256)) * 100)
    assert b"".join(link.recv(16) for _ in range(1600)) == bytes(range(256)) * 100
    assert len(asked) == 1


def test_what_was_read_ahead_is_there_before_the_end(pair):
    link, theirs, _ = pair
    theirs.sendall(b"abc")
    theirs.shutdown(socket.SHUT_WR)
    assert [link.recv(2), link.recv(2), link.recv(2)] == [b"ab", b"c", b""]
