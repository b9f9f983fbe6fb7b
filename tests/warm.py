"""`nix-hive` as a program of its own, without its start: forked from one that has imported everything.

The tests start it more than a thousand times, and a start takes up to half a second of a processor: a quarter of all
that such a test takes. A server (one for each worker of the tests) imports once. For each program it forks; that has
arguments, a folder, an environment, descriptors and a status of its own, and ends as Python does; it gets the signals
that who stands for it gets. What tests of the start itself and of its processes start is `python -m nixhive_nb`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pkgutil
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests import forks, warm_client

if TYPE_CHECKING:
    from collections.abc import Iterator

COLD = [sys.executable, "-m", "nixhive_nb"]
PLACE = "NIXHIVE_TEST_WARM"
"""The variable that names the socket of the server."""
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
    return [sys.executable, "-IS", warm_client.__file__, place]


def put_shim(folder: Path) -> None:
    """Put a `nix-hive` into a folder, for a PATH, as a shell starts it."""
    file = folder / "nix-hive"
    file.write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
    file.chmod(0o755)


def serve(place: str) -> list[str]:
    """Import what programs need, and serve. Returns the words of a program in a process that is one."""
    for module in pkgutil.walk_packages(importlib.import_module("nixhive_nb").__path__, "nixhive_nb."):
        if not module.name.startswith(_OTHER):
            importlib.import_module(module.name)
    for name in _BESIDE:
        importlib.import_module(name)
    words = forks.serve(place, set_by_imports={}, as_leader=False)
    sys.argv = ["nix-hive", *words]
    return words


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
