"""Programs that are forked from a process that has imported what they need, in place of being started.

A client stands for each (tests/warm_client.py): it is what was started, has the arguments, the folder, the environment
and the descriptors, and hands on the signals that it gets. What is forked is killed when its client is gone, and its
status is the client's.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import selectors
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def serve(place: str, *, set_by_imports: Mapping[str, str], as_leader: bool) -> list[str]:
    """Serve until this process is ended. Returns the words of a program in a process that is one.

    A leader has a session of its own, and signals are for all of it.
    """
    assert threading.active_count() == 1, "what has threads cannot fork"
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening, selectors.EpollSelector() as ready:
        listening.bind(place)
        listening.listen(64)
        ready.register(listening, selectors.EVENT_READ)
        os.write(1, b"ready\n")
        forked: dict[int, _Forked] = {}
        while True:
            for key, _ in ready.select():
                if key.fileobj is not listening:
                    # What ended before in this turn may have left its number to another one.
                    if forked.get(key.fd) is key.data:
                        _attend(key.fd, key.data, forked, ready, os.killpg if as_leader else os.kill)
                    continue
                client, _ = listening.accept()
                length, fds, _, _ = socket.recv_fds(client, 4, 3)
                data = client.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL) if length else b""
                if not data:  # it is gone already
                    client.close()
                    continue
                asked = marshal.loads(data)
                program = os.fork()
                if program == 0:
                    # What is another's would not end for that one as long as this program has it.
                    others = {one.program: one for one in forked.values()}.values()
                    for known in (listening, client, *(one.client for one in others)):
                        os.close(known.detach())
                    for one in others:
                        os.close(one.ended)
                    ready.close()
                    return _begun(asked, fds, set_by_imports, as_leader=as_leader)
                for fd in fds:
                    os.close(fd)
                one = _Forked(client, program, os.pidfd_open(program))
                for fd in (client.fileno(), one.ended):
                    forked[fd] = one
                    ready.register(fd, selectors.EVENT_READ, one)


class _Forked(NamedTuple):
    """A program, and the client that stands for it."""

    client: socket.socket
    program: int
    ended: int
    """What tells that the program has ended."""


def _attend(
    fd: int,
    one: _Forked,
    forked: dict[int, _Forked],
    ready: selectors.BaseSelector,
    kill: Callable[[int, int], None],
) -> None:
    """Hand on what a client was signalled, or tell it how its program has ended."""
    if fd != one.ended:
        numbers = b""
        with contextlib.suppress(ConnectionResetError):
            numbers = one.client.recv(16)
        for number in numbers or bytes([signal.SIGKILL]):
            with contextlib.suppress(ProcessLookupError):
                kill(one.program, number)
        if not numbers:
            ready.unregister(fd)
        return
    _, status = os.waitpid(one.program, 0)
    with contextlib.suppress(OSError):  # nobody waits any more
        one.client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    for known in (one.client.fileno(), one.ended):
        with contextlib.suppress(KeyError):
            ready.unregister(known)
        del forked[known]
    os.close(one.ended)
    one.client.close()


def _begun(asked: Any, fds: Sequence[int], set_by_imports: Mapping[str, str], *, as_leader: bool) -> list[str]:
    """Be the program that a client asks for: its words are returned."""
    if as_leader:
        os.setsid()
    for fd, number in zip(fds, range(3), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update({os.fsdecode(name): os.fsdecode(text) for name, text in asked["env"].items()})
    os.environ.update(set_by_imports)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as Python opens them
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    words: list[str] = asked["words"]
    return words
