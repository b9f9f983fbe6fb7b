"""Kernels without their start: forked from a process that has imported what all of them import.

The tests open seventy notebooks, and a kernel takes about a second of a processor to start, most of it for imports.
What is forked runs ipykernel as it is, with the arguments, the folder, the environment and the descriptors that Jupyter
gave it, as the leader of a session, as Jupyter's own kernels are. It hears the signals that Jupyter sends, is killed
when what stands for it is, and its status is told. Widgets are imported by each kernel, which they look for meanwhile.
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
import signal
import socket
import sys
import threading
from typing import NoReturn

_BEFORE = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "jedi",
    "pandas",
    "fabric",
    "psygnal",
    "rich.live",
    "rich.table",
)
_LATER = ("nixhive_nb.__main__", "nixhive_nb.notebook")
"""What imports widgets, or is a program."""


def serve(place: str) -> list[str]:
    """Serve until this process is ended. Returns the words of a kernel in a process that is one."""
    before = dict(os.environ)
    for name in _BEFORE:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(importlib.import_module("nixhive_nb").__path__, "nixhive_nb."):
        if not module.name.startswith(_LATER):
            importlib.import_module(module.name)
    set_by_imports = {name: text for name, text in os.environ.items() if before.get(name) != text}
    assert "ipywidgets" not in sys.modules
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
                    return _begun(client, set_by_imports)
            _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _begun(client: socket.socket, set_by_imports: dict[str, str]) -> list[str]:
    """Begin a kernel, and stand between it and who asked for it until it ends. Returns in the kernel alone."""
    length, fds, _, _ = socket.recv_fds(client, 4, 3)
    asked = json.loads(client.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    kernel = os.fork()
    if kernel:
        for fd in (0, 1, 2, *fds):
            os.close(fd)
        _stand_between(client, kernel)
    os.setsid()
    client.close()
    for fd, number in zip(fds, range(3), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update({**asked["env"], **set_by_imports})
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as Python opens them
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    return asked["words"]


def _stand_between(client: socket.socket, kernel: int) -> NoReturn:
    ended = os.pidfd_open(kernel)
    while ended not in select.select([client, ended], [], [])[0]:
        numbers = client.recv(16) or bytes([signal.SIGKILL])
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(kernel, number)
        if signal.SIGKILL in numbers:
            break
    _, status = os.waitpid(kernel, 0)
    with contextlib.suppress(OSError):  # nobody waits any more
        client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    sys.path.remove(os.getcwd())  # noqa: PTH109 - as it stands there
    sys.argv = ["ipykernel_launcher.py", *serve(sys.argv[1])]
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
    # As Python ends, but for taking itself to pieces.
    threading._shutdown()
    atexit._run_exitfuncs()
    os._exit(0)
