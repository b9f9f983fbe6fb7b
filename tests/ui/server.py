"""A JupyterLab of its own: own home, own settings, own port, and nothing left of it at the end."""

from __future__ import annotations

import contextlib
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

from tests.ui.kernels import ROOT, Kernels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MARK = "NIXHIVE_UI_RUN"
"""In the environment of all that is started here: who has it was started by us, whoever its parent is now."""
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/lab")
_PATIENCE = 20.0
"""Seconds that something may take to end by itself."""
_STARTS = 60.0
"""Seconds that a start may take."""
_NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}
"""It asks for news from the network, in a box that stands before what is to be seen."""


class Server:
    """A JupyterLab for whoever has its token: it serves what is below `root`."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.log: list[str] = []
        self._log = home / "jupyterlab.log"  # is kept when a test fails: see `tests/evidence.py`
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
            # The kernels of a virtual environment would come before those of the user.
            "JUPYTER_PATH": str(home / "jupyter-path"),
            # Anybody on this machine can knock at a port.
            "JUPYTER_TOKEN": self.token,
            MARK: self.mark,
            "PYTHONFAULTHANDLER": "1",
        }
        settings = home / "jupyter-config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(_NO_NEWS))
        (home / "jupyter-config" / "labconfig").mkdir()
        self._pages = home / "jupyter-config" / "labconfig" / "page_config.json"
        self._has(lacking=())
        self.kernels = Kernels(home, self.environment)
        self.kernels.write(home / "jupyter-path" / "kernels")
        argv = [
            # Should this process be killed, the server ends in order, with its kernels.
            *("setpriv", "--pdeathsig", "TERM"),
            *(sys.executable, "-m", "jupyterlab"),
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
        late = threading.Timer(_STARTS, self._process.kill)
        late.start()
        for line in self._process.stderr or ():
            self.log.append(line)
            if found := _ADDRESS.search(line):
                late.cancel()
                return found[0].removesuffix("/lab")
        late.cancel()
        self.stop()
        raise AssertionError(f"JupyterLab did not start:\n{''.join(self.log)}")

    def _read_rest(self) -> None:
        # Whoever does not read a pipe brings the other end to a halt.
        with self._log.open("w", buffering=1) as log:
            log.writelines(self.log)
            for line in self._process.stderr or ():
                self.log.append(line)
                log.write(line)

    @contextlib.contextmanager
    def lacking(self, extensions: Collection[str]) -> Iterator[None]:
        """Have pages that are loaded meanwhile do without extensions, as if their packages were not installed."""
        self._has(lacking=extensions)
        try:
            yield
        finally:
            self._has(lacking=())

    def _has(self, lacking: Collection[str]) -> None:
        # Each page asks whether JupyterLab is to be built anew, which starts Node three times.
        words = {"disabledExtensions": dict.fromkeys(lacking, True), "buildCheck": False}
        self._pages.write_text(json.dumps(words))

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
            self.kernels.stop()

    def left(self) -> list[str]:
        """Return what was started with our mark and did not end, though it had the time to; it is ended now."""
        return [_ended_by_force(pid) for pid in _marked(self.mark) if not _ends(pid)]


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
