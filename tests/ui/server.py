"""A JupyterLab of its own: own home, own settings, own port, and nothing left of it at the end."""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ROOT = Path(__file__).parents[2]
MARK = "NIXHIVE_UI_RUN"
"""In the environment of all that is started here: who has it was started by us, whoever its parent is now."""
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/lab")
_PATIENCE = 20.0
"""Seconds that something may take to end by itself."""
_NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}
"""It asks for news from the network, in a box that stands before what is to be seen."""


class Server:
    """A JupyterLab for whoever has its token: it serves what is below `root`.

    Its pages are without the extensions `lacking`, as if their packages were not installed for it. `kernels` are the
    kernels that it has beside the one of the tests: a name, and a folder of Python packages that go first there.
    """

    def __init__(
        self, root: Path, home: Path, *, lacking: Collection[str] = (), kernels: Mapping[str, Path] | None = None
    ) -> None:
        self.root = root
        self.log: list[str] = []
        self.mark = str(home)
        self.token = secrets.token_hex(16)
        folders = {"HOME": ".", "IPYTHONDIR": "ipython", "XDG_CONFIG_HOME": "xdg", "XDG_CACHE_HOME": "cache"}
        folders |= {f"JUPYTER_{name}_DIR": f"jupyter-{name.lower()}" for name in ("CONFIG", "DATA", "RUNTIME")}
        for folder in folders.values():
            (home / folder).mkdir(exist_ok=True)
        others = {name: text for name, text in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST"))}
        programs = Path(sys.executable).parent
        self.environment = {
            **others,
            **{name: str(home / folder) for name, folder in folders.items()},
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
            # Kernels show what stands in the tests as well.
            "PYTHONPATH": str(ROOT),
            # Anybody on this machine can knock at a port.
            "JUPYTER_TOKEN": self.token,
            MARK: self.mark,
            "PYTHONFAULTHANDLER": "1",
        }
        settings = home / "jupyter-config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(_NO_NEWS))
        (home / "jupyter-config" / "labconfig").mkdir()
        without = {"disabledExtensions": dict.fromkeys(lacking, True)}
        (home / "jupyter-config" / "labconfig" / "page_config.json").write_text(json.dumps(without))
        for name, packages in (kernels or {}).items():
            _add_kernel(home / "jupyter-data" / "kernels" / name, name, packages)
        argv = [
            # Should this process be killed, the server ends in order, with its kernels.
            *("setpriv", "--pdeathsig", "TERM"),
            *(sys.executable, "-m", "jupyter", "lab"),
            *("--no-browser", "--expose-app-in-browser", "--ip=127.0.0.1", "--port=0"),
            *(["--allow-root"] if os.getuid() == 0 else []),
            f"--ServerApp.root_dir={root}",
            "--ServerApp.terminals_enabled=False",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ]
        self._process = subprocess.Popen(
            argv,
            cwd=root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # An interrupt of the tests is for us: we end it.
            start_new_session=True,
        )
        self.url = self._read_address()
        self._reader = threading.Thread(target=self._read_rest, name="ui-server-log", daemon=True)
        self._reader.start()

    def _read_address(self) -> str:
        for line in self._process.stderr or ():
            self.log.append(line)
            if found := _ADDRESS.search(line):
                return found[0].removesuffix("/lab")
        self.stop()
        raise AssertionError(f"JupyterLab did not start:\n{''.join(self.log)}")

    def _read_rest(self) -> None:
        # Whoever does not read a pipe brings the other end to a halt.
        self.log.extend(self._process.stderr or ())

    def stop(self) -> None:
        """End it and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # it says what it is at
            self._process.wait(_PATIENCE)
            self._reader.join(_PATIENCE)
            said = "".join(self.log[-150:])
            # Seen with anyio 4.16: all has ended but a thread of anyio's that waits for work, and Python for that.
            if "in _shutdown" not in said or "anyio/_backends/_asyncio.py" not in said:
                raise AssertionError(f"It did not end:\n{said}") from None
        finally:
            self._process.kill()
            self._process.wait()

    def left(self) -> list[str]:
        """Return what was started with our mark and did not end, though it had the time to; it is ended now."""
        return [_ended_by_force(pid) for pid in _marked(self.mark) if not _ends(pid)]


def _add_kernel(folder: Path, name: str, packages: Path) -> None:
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    env = {"PYTHONPATH": f"{packages}:{ROOT}"}
    spec = {"argv": argv, "display_name": name, "language": "python", "env": env}
    (folder / "kernel.json").write_text(json.dumps(spec))


def _marked(mark: str) -> list[int]:
    """Return the processes that were started with a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended, or it is none of ours
            continue
        if f"{MARK}={mark}".encode() in words:
            found.append(int(path.parent.name))
    return found


def _ends(pid: int) -> bool:
    """Wait until a process has ended, for a while; tell whether it has."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], _PATIENCE)[0])
    finally:
        os.close(handle)


def _ended_by_force(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    os.kill(pid, 9)
    return f"{pid}: {words}"
