"""Run the quick-start notebook on a practice fleet of its own: what `make demo` calls.

It works on a copy of the example, so that neither the checkout nor a practice fleet that is up already is touched. The
executed notebook is kept as build/quickstart.ipynb and .html. However the notebook ends, the fleet is taken down.

The notebook runs in a thread, since only Python's main thread hears signals: here it always does, until the fleet is
gone. Exit status: 0 done, 1 a cell failed, 2 this machine cannot run a practice fleet, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from jupyter_core.utils import ensure_async
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from traitlets.config import Config

from nixhive_nb.lab import Lab, LabError

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = Path("notebooks/01-quickstart.ipynb")
RESULT = Path("build/quickstart.ipynb")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 15.0
"""Seconds between two interrupts of a cell that does not end."""
INTERRUPTS = 2
"""The first lets a running activation come to its end, the second does not; then the kernel is ended."""
CELL_TIMEOUT = 300
LINES_SHOWN = 24

FAILED, UNABLE, INTERRUPTED = 1, 2, 130


def main() -> int:
    """Check this machine, run the notebook, tell how it went."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only check that this machine can run a practice fleet")
    only_check = parser.parse_args().check
    try:
        Lab.check()
    except LabError as error:
        print(error, file=sys.stderr)
        return UNABLE
    return 0 if only_check else demo()


def demo() -> int:
    """Run the notebook in a scratch folder, and leave nothing but its result."""
    started = time.monotonic()
    signals = Signals()
    scratch = Path(tempfile.mkdtemp(prefix="nixhive-demo-", dir="/tmp"))  # the names of sockets have to be short
    try:
        prepare(scratch)
        notebook = nbformat.read(ROOT / NOTEBOOK, as_version=4)
        status = execute(notebook, scratch / NOTEBOOK.parent, signals)
        save(notebook)
    finally:
        signals.ignore()
        take_down()
        shutil.rmtree(scratch, ignore_errors=True)
    page = RESULT.with_suffix(".html")
    how = {0: "Done", INTERRUPTED: "Interrupted"}.get(status, "Failed")
    print(f"\n{how} after {time.monotonic() - started:.0f} s. The practice fleet is down. The notebook as it ran:")
    print(f"  {ROOT / page}\n  {ROOT / RESULT}", flush=True)
    return status


class Signals:
    """What to do when somebody wants this to stop: interrupt the cell, and do not wait for ever."""

    def __init__(self) -> None:
        self._count = 0
        self._run: Run | None = None
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def attach(self, run: Run) -> None:
        """Say what is to be stopped."""
        self._run = run
        if self._count:
            run.stop()

    @property
    def came(self) -> bool:
        """Whether somebody wants this to stop."""
        return self._count > 0

    def ignore(self) -> None:
        """Nothing interrupts the cleaning up."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, *_: object) -> None:
        self._count += 1
        if self._count == 1:
            print("\nInterrupted: the cell is asked to end. Then the practice fleet is taken down.", flush=True)
        if self._run is not None:
            self._run.stop()


class Run(threading.Thread):
    """One execution of the notebook, in a thread with an event loop of its own."""

    def __init__(self, client: NotebookClient) -> None:
        super().__init__(name="notebook", daemon=True)
        self.error: BaseException | None = None
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Any] | None = None
        self._interrupting: asyncio.Task[None] | None = None
        self._asked = 0

    def run(self) -> None:
        """Execute the notebook; what it raised is kept in `error`."""
        self._task = task = self._loop.create_task(self._client.async_execute())
        try:
            self._loop.run_until_complete(task)
        except BaseException as error:  # noqa: BLE001 - it is looked at by the main thread
            self.error = error
        finally:
            self._loop.close()

    def stop(self) -> None:
        """Interrupt the running cell; a second time after a while; at last, give up on the kernel."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended by itself
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        manager, self._asked = self._client.km, self._asked + 1
        if self._asked <= INTERRUPTS and manager is not None and manager.has_kernel:
            self._interrupting = self._loop.create_task(ensure_async(manager.interrupt_kernel()))
            self._loop.call_later(PATIENCE, self._stop)
        elif self._task is not None:
            self._task.cancel()
            self._task = None  # once: what follows is the kernel's end


def prepare(scratch: Path) -> None:
    """Copy what the notebook works on, and have its kernel be this very Python, with no settings of the user's own."""
    shutil.copytree(ROOT / "example", scratch / "example", ignore=shutil.ignore_patterns("lab.nix", ".hive*"))
    (scratch / NOTEBOOK.parent).mkdir()
    kernel = scratch / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    os.environ.update(
        JUPYTER_PATH=str(scratch / "jupyter"),
        JUPYTER_RUNTIME_DIR=str(scratch / "jupyter"),
        IPYTHONDIR=str(scratch / "ipython"),
        XDG_RUNTIME_DIR=str(scratch),
        XDG_STATE_HOME=str(scratch / "state"),  # where the fleet lives
        PATH=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
    )


def execute(notebook: NotebookNode, folder: Path, signals: Signals) -> int:
    """Run all cells and show each as it ends. The outputs go into `notebook`."""
    progress = Progress(notebook)
    run = Run(
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=CELL_TIMEOUT,
            # Sockets in our own folder: no port that others on this machine could reach, and no warning about one.
            config=Config({"KernelManager": {"transport": "ipc", "ip": str(folder / ".kernel")}}),
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=progress.begin,
            on_cell_executed=progress.end,
        )
    )
    run.start()
    signals.attach(run)
    run.join()
    match run.error:
        case None:
            return 0
        case CellExecutionError() | CellTimeoutError() | DeadKernelError() | asyncio.CancelledError() as error:
            # An error's own text was shown as the output of its cell.
            if not isinstance(error, CellExecutionError):
                print(f"\n{progress.where}: {str(error) or 'given up'}", file=sys.stderr)
            how = "was interrupted" if signals.came else "failed"
            print(f"\n{progress.where} {how}. The cells after it were not run.", file=sys.stderr)
            return INTERRUPTED if signals.came else FAILED
        case error:
            raise error


class Progress:
    """What a person sees: each cell, and its result as text."""

    def __init__(self, notebook: NotebookNode) -> None:
        self._total = sum(1 for cell in notebook.cells if cell.cell_type == "code")
        self._number = 0
        self._started = 0.0

    @property
    def where(self) -> str:
        """Which cell is at work."""
        return f"Cell {self._number} of {self._total}"

    def begin(self, cell: NotebookNode, cell_index: int) -> None:  # noqa: ARG002 - nbclient gives it by name
        """Show what comes: a heading, or the cell's code."""
        if cell.cell_type == "code":
            self._number += 1
            self._started = time.monotonic()
            mark = f"[{self._number}/{self._total}] "
            print("\n" + mark + cell.source.strip().replace("\n", "\n" + " " * len(mark)), flush=True)
        elif heading := re.match(r"#+ (.*)", cell.source):
            print(f"\n== {heading[1]} ==", flush=True)

    def end(self, cell: NotebookNode, **_: object) -> None:
        """Show the cell's result."""
        for output in cell.outputs:
            if text := shortened(output_text(output)):
                print(text)
        print(f"({time.monotonic() - self._started:.1f} s)", flush=True)


def output_text(output: NotebookNode) -> str:
    """Return one output as plain text, without colours."""
    match output.output_type:
        case "stream":
            text = output.text
        case "error":
            text = "\n".join(output.traceback)
        case _:
            text = output.data.get("text/plain", "")
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).rstrip()


def shortened(text: str) -> str:
    """Leave out the middle of a long text."""
    lines = text.splitlines()
    if len(lines) <= LINES_SHOWN:
        return text
    half = LINES_SHOWN // 2
    return "\n".join([*lines[:half], f"… {len(lines) - 2 * half} more lines …", *lines[-half:]])


def save(notebook: NotebookNode) -> None:
    """Keep the notebook as it ran, whether it came to its end or not."""
    result = ROOT / RESULT
    result.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, result)
    page, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": "nixhive_nb: quickstart"}})
    result.with_suffix(".html").write_text(page, encoding="utf-8")


def take_down() -> None:
    """Take the fleet down, unless the notebook did."""
    try:
        fleet = Lab.open()
    except LabError:
        return
    fleet.down()


if __name__ == "__main__":
    sys.exit(main())
