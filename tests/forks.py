"""Programs that are forked from a process that has imported what they need, in place of being started.

A client stands for each (tests/warm_client.py): it is what was started, has the arguments, the folder, the environment
and the descriptors, and hands on the signals that it gets. What is forked is killed when its client is gone, and its
status is the client's.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping


def serve(place: str, *, set_by_imports: Mapping[str, str], as_leader: bool) -> list[str]:
    """Serve until this process is ended. Returns the words of a program in a process that is one.

    A leader has a session of its own, and signals are for all of it.
    """
    assert threading.active_count() == 1, "what has threads cannot fork"
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(64)
        os.write(1, b"ready\n")
        while True:
            client, _ = listening.accept()
            with client:
                if os.fork() == 0:
                    listening.close()
                    return _begun(client, set_by_imports, as_leader=as_leader)
            _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _begun(client: socket.socket, set_by_imports: Mapping[str, str], *, as_leader: bool) -> list[str]:
    """Begin a program, and stand between it and its client until it ends. Returns in the program alone."""
    length, fds, _, _ = socket.recv_fds(client, 4, 3)
    asked = json.loads(client.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    program = os.fork()
    if program:
        for fd in (0, 1, 2, *fds):
            os.close(fd)
        _stand_between(client, program, os.killpg if as_leader else os.kill)
    if as_leader:
        os.setsid()
    client.close()
    for fd, number in zip(fds, range(3), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update({**asked["env"], **set_by_imports})
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as Python opens them
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    return asked["words"]


def _stand_between(client: socket.socket, program: int, kill) -> NoReturn:
    ended = os.pidfd_open(program)
    while ended not in select.select([client, ended], [], [])[0]:
        numbers = client.recv(16) or bytes([signal.SIGKILL])
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                kill(program, number)
        if signal.SIGKILL in numbers:
            break
    _, status = os.waitpid(program, 0)
    with contextlib.suppress(OSError):  # nobody waits any more
        client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)
