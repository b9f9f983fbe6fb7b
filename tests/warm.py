"""`nix-hive` as a program of its own, without its start: forked from one that has imported everything.

The tests start it more than a thousand times, and a start takes up to half a second of a processor: a quarter of all
that such a test takes. A server (one for each worker of the tests) imports once. For each program it forks; that has
arguments, a folder, an environment, descriptors and a status of its own, and ends as Python does; it gets the signals
that who stands for it gets. What tests of the start itself and of its processes start is `python -m nixhive_nb`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.warm_client import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator

COLD = [sys.executable, "-m", "nixhive_nb"]
_CLIENT = str(Path(__file__).with_name("warm_client.py"))
_BESIDE = ("fabric", "pandas", "rich.live", "rich.progress", "rich.table", "rich.text")
"""What commands import when they need it."""
_OTHER = ("nixhive_nb.__main__", "nixhive_nb.notebook", "nixhive_nb.testing")
_servers: dict[str, subprocess.Popen[bytes]] = {}


@contextlib.contextmanager
def programs(place: Path) -> Iterator[None]:
    """Have a server at a place, from the first program on until the end."""
    os.environ[PLACE] = str(place)
    yield
    del os.environ[PLACE]
    if str(place) in _servers:
        with _servers.pop(str(place)) as server:
            server.terminate()


def command() -> list[str]:
    """Return the words that stand for `nix-hive`; the server runs from here on."""
    place = os.environ.get(PLACE)
    if place is None:  # where these fixtures are not
        return COLD
    if place not in _servers:
        argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.warm", place]
        server = subprocess.Popen(argv, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline(), "the server of warm programs did not start"
        _servers[place] = server
    return [sys.executable, "-IS", _CLIENT]


def put_shim(folder: Path) -> None:
    """Put a `nix-hive` into a folder, for a PATH, as a shell starts it."""
    file = folder / "nix-hive"
    file.write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
    file.chmod(0o755)


def serve(place: str) -> list[str]:
    """Serve until this process is ended. Returns the words of a program in a process that is one."""
    for module in pkgutil.walk_packages(importlib.import_module("nixhive_nb").__path__, "nixhive_nb."):
        if not module.name.startswith(_OTHER):
            importlib.import_module(module.name)
    for name in _BESIDE:
        importlib.import_module(name)
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
                    words = _begun(client)
                    if words is not None:
                        return words
            _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _begun(client: socket.socket) -> list[str]:
    """Begin a program, and tell the client its status at its end. Returns in the program alone."""
    _, fds, _, _ = socket.recv_fds(client, 1, 3)
    asked = json.loads(client.makefile().readline())
    program = os.fork()
    if program:
        for fd in (0, 1, 2, *fds):
            os.close(fd)
        _attend(client, program)
        os._exit(0)
    client.close()
    for fd, number in zip(fds, range(3), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["nix-hive", *asked["words"]]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as Python opens them
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    return asked["words"]


def _attend(client: socket.socket, program: int) -> None:
    """Say which process the program is, and its status at its end. It is killed when who stands for it is gone."""
    with contextlib.suppress(OSError):  # nobody waits any more
        client.sendall(f"{program}\n".encode())
    ended = os.pidfd_open(program)
    select.select([ended, client], [], [])
    if not select.select([ended], [], [], 0)[0]:
        signal.pidfd_send_signal(ended, signal.SIGKILL)
    _, status = os.waitpid(program, 0)
    with contextlib.suppress(OSError):
        client.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def run(words: list[str]) -> NoReturn:
    """Be `nix-hive`, and end as Python does, but for taking itself to pieces."""
    from nixhive_nb.cli.main import main

    status: object = 1
    try:
        main(words)
    except SystemExit as leaving:
        status = leaving.code
    except BaseException:  # noqa: BLE001 - as Python shows what nobody caught
        sys.excepthook(*sys.exc_info())
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(int(status or 0) if isinstance(status, int | None) else 1)


if __name__ == "__main__":
    run(serve(sys.argv[1]))
