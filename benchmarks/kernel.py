"""A kernel of Jupyter's, whose cells are run one after another as a notebook does, and what it has open."""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Self

from jupyter_client.manager import start_new_kernel

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 600
"""Seconds after which a kernel that says nothing is given up."""


class CellFailed(Exception):  # noqa: N818 - as our own errors are called
    """A cell ended with an error; it says which."""


class Kernel:
    """One kernel that has the extension and a deployment."""

    def __init__(self, folder: Path, deployment: str) -> None:
        """Begin in a folder; the deployment is named as it is there."""
        self._manager, self._client = start_new_kernel(cwd=str(folder))
        self.process = int(self._manager.provisioner.pid)
        self.run(f"%load_ext nixhive_nb\n%hive load {deployment}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, source: str) -> None:
        """Run a cell to its end. Raises `CellFailed`."""
        sent, failed = self._client.execute(source), ""
        while True:
            try:
                told = self._client.get_iopub_msg(timeout=_LONGEST)
            except Empty:
                raise CellFailed(f"{source}: the kernel says nothing any more") from None
            if told["parent_header"].get("msg_id") != sent:
                continue
            if told["msg_type"] == "error":
                failed = f"{told['content']['ename']}: {told['content']['evalue']}"
            if told["content"].get("execution_state") == "idle":
                break
        self._client.get_shell_msg(timeout=_LONGEST)  # the reply to it, else they would pile up here
        if failed:
            raise CellFailed(f"{source}: {failed}")
