"""Kernels of the tests: of some versions of ipykernel, forked from processes that have imported what they need.

When a kernel hears a page has changed between versions more than once, so that some tests run on several.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests import warm_client

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
OTHERS = ("ipykernel-6.30.1", "ipykernel-7.3.0")
"""One of those that hear nothing while a cell runs, as the newest does, and one that hears on another thread."""
NEWEST = "python3"
COLD = "cold"
"""The newest, started as Jupyter starts it: for who looks at what a kernel imports."""
FORKED = "{}, forked"
"""What Jupyter shows of those that are forked."""
_SECONDS = 60.0


class Kernels:
    """The kernels that a server has, and the processes that they are forked from."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._warm: dict[str, subprocess.Popen[bytes]] = {}

    def write(self, data: Path) -> None:
        """Write what Jupyter reads of them, to a folder."""
        installed = json.loads(
            (Path(sys.prefix) / "share" / "jupyter" / "kernels" / "python3" / "kernel.json").read_text()
        )
        for name in (NEWEST, *OTHERS):
            argv = [sys.executable, "-IS", warm_client.__file__, self._place(name), "-f", "{connection_file}"]
            _write(data / name, {**installed, "argv": argv, "display_name": FORKED.format(name)})
        _write(data / COLD, {**installed, "display_name": COLD})

    def warm(self, name: str) -> None:
        """Have the process that kernels of this name are forked from, from the first of them on."""
        if name in self._warm or name == COLD:
            return
        packages = [str(_packages(name))] if name in OTHERS else []
        warm = self._warm[name] = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.ui.warm", self._place(name)],
            cwd=ROOT,
            env={**self._environment, "PYTHONPATH": ":".join([*packages, str(ROOT)])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert warm.stdout is not None
        assert select.select([warm.stdout], [], [], _SECONDS)[0], f"what {name} is forked from did not start"
        assert warm.stdout.readline(), f"what {name} is forked from has ended"

    def stop(self) -> None:
        """End these processes."""
        for warm in self._warm.values():
            with warm:
                warm.terminate()
        self._warm.clear()

    def _place(self, name: str) -> str:
        return str(self._folder / name)


def _write(folder: Path, spec: object) -> None:
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))


def _packages(name: str) -> Path:
    """Return the folder of one of the others, which `make test` has made: here is no network."""
    folder = Path(sys.prefix) / "kernels" / name
    assert folder.is_dir(), f"to make it: make .venv/kernels/{name}"
    return folder
