"""Someone who follows a page of the docs on a practice fleet, from top to bottom, as it says."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from nixhive_nb.hive import Hive
from nixhive_nb.util.text import strip_control
from tests.pages import ROOT, notebooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.pages import Block, Page
    from tests.practice import Practice

STAND_INS = {
    "github:NixOS/nixpkgs/nixos-24.11": ROOT / "nixhive_nb" / "lab" / "nixpkgs",
    "github:serokell/deploy-rs": ROOT / "tests" / "stand_ins" / "deploy-rs",
}
"""What flakes of others are here: there is no way to them."""
RUN = ("console", "ipython", "python")


class Follower:
    """Follows pages, each in a folder like a checkout; what stands for the reader's own fleet is the practice fleet."""

    def __init__(self, practice: Practice, chdir: Callable[[Path], None]) -> None:
        self._practice = practice
        self._chdir = chdir
        self._folders: dict[str, Path] = {}
        self._theirs = own_fleet(practice)

    def follow(self, page: Page) -> None:
        """Do what a page says, and compare what it says comes of it."""
        folder = self._folder(page)
        self._chdir(folder)
        with contextlib.closing(Notebook()) as notebook:
            for block in page.blocks():
                if "not run" not in block.marks:
                    self._do(page, block, folder, notebook)
        self._folders[page.name] = folder

    @contextlib.contextmanager
    def at_the_end(self, page: Page) -> Iterator[tuple[Path, Notebook]]:
        """Return the folder of a page as it is at its end (a notebook is not followed here), and a notebook there."""
        if page.name not in self._folders and page not in notebooks():
            self.follow(page)
        folder = self._folders.get(page.name) or self._folder(page)
        self._chdir(folder)
        with contextlib.closing(Notebook()) as notebook:
            yield folder, notebook

    def _folder(self, page: Page) -> Path:
        if page.before is None:
            folder = self._practice.folder / page.path.stem
            shutil.rmtree(folder, ignore_errors=True)  # of a walk that did not come to its end
            folder.mkdir()
            for name in ("example", "notebooks"):
                shutil.copytree(self._practice.folder / name, folder / name)
            if not any(block.marks.get("file") == "flake.nix" for block in page.blocks()):
                (folder / "hive.nix").write_text("import ./example")
            return folder
        if page.before.name not in self._folders:
            self.follow(page.before)
        return self._folders[page.before.name]

    def _do(self, page: Page, block: Block, folder: Path, notebook: Notebook) -> None:
        if "file" in block.marks:
            (folder / block.marks["file"]).write_text(in_their_place(block.text) + "\n")
        elif block.language in RUN:
            run = terminal if block.language == "console" else notebook.run
            said = ""
            for number, cell in enumerate(block.cells, start=1):
                wrong = "fails" in block.marks and number == len(block.cells)
                text, failed = run(cell, attended="nobody is there" not in block.marks)
                assert failed == wrong, f"{page.name}:{block.line}: {cell}\n{text}"
                said += text
            assert shows(said, block.output), f"{page.name}:{block.line} says\n{block.output}\nand not\n{said}"
        for name, content in self._theirs.items():
            if (folder / name).exists():
                (folder / name).write_text(content)


class Notebook:
    """A notebook in which `%hive` is loaded, with a person before it."""

    def __init__(self) -> None:
        self._ip = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        self._ip.run_line_magic("load_ext", "nixhive_nb")
        self._session = self._ip.magics_manager.registry["HiveMagics"].session

    def run(self, cell: str, *, attended: bool = True) -> tuple[str, bool]:
        """Run a cell. Give what it shows, and whether it ended with an error."""
        self._session.attended = lambda: attended
        with capture_output() as caught, contextlib.redirect_stdout(io.StringIO()) as printed:
            ended = self._ip.run_cell(cell, store_history=False)
        error = ended.error_in_exec or ended.error_before_exec
        shown = [output.data.get("text/plain", "") for output in caught.outputs]
        return strip_control(
            "\n".join([printed.getvalue(), caught.stdout, caught.stderr, *shown, str(error or "")])
        ), bool(error)

    def wait(self) -> None:
        """Wait for what runs in the background."""
        for run in self._session.background:
            run.wait()

    def pick(self, *names: str) -> None:
        """Pick instances in the picker that was shown last."""
        picker = self._session.picked.__self__
        picker.value = names

    def hive(self) -> Hive:
        """Return the deployment in use."""
        return self._session.hive({})

    def digest(self) -> str:
        """Return the digest of the plan that was shown last."""
        return self._session.plan.digest

    def close(self) -> None:
        """Close the connections, also those of what cells have loaded, which would go with the kernel."""
        self._ip.run_line_magic("unload_ext", "nixhive_nb")
        for value in self._ip.user_ns.values():
            if isinstance(value, Hive):
                value.close()


def terminal(command: str, *, attended: bool) -> tuple[str, bool]:
    """Run a command of a shell, at a terminal if somebody is there. Give what it prints, and whether it failed."""
    ours, theirs = pty.openpty()
    try:
        ended = subprocess.run(
            command,
            shell=True,
            stdin=theirs if attended else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return strip_control(ended.stdout), ended.returncode != 0


def shows(said: str, wanted: str) -> bool:
    """Return whether a text has these lines in their order; `…` in a line is anything, and so is blank space."""
    parts = [re.escape(part).replace(r"\ ", r"\s+") for part in re.split(r"\s*…\s*|\n", wanted) if part]
    return re.search(".*?".join(parts), said, re.DOTALL) is not None


def in_their_place(text: str) -> str:
    """Return the content of a file with what stands here for flakes that are elsewhere."""
    for url, folder in STAND_INS.items():
        text = text.replace(f'"{url}"', f'"path:{folder}"')
    return text


def own_fleet(practice: Practice) -> dict[str, str]:
    """Return the files that a reader writes about their own fleet, for the practice fleet."""
    expression = f"import {practice.example / 'lab.nix'}"
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    lab = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    hosts = {
        name: one["ssh"] | ({} if name == "portico" else {"ProxyJump": "portico"})
        for name, one in lab["instances"].items()
    }
    of_terraform = {
        name: {"role": "portico", "tags": ["jump"]} | theirs
        if name == "portico"
        else {"role": "www", "tags": ["web"]} | theirs
        for name in ("portico", "www-1", "www-2")
        for theirs in [{"ssh": hosts[name], "hostKeys": lab["instances"][name]["hostKeys"]}]
    }
    return {
        "terraform.json": json.dumps({"hosts": {"sensitive": False, "type": ["object", {}], "value": of_terraform}}),
        "hosts.json": json.dumps(hosts),
        "host-keys.json": json.dumps({name: one["hostKeys"] for name, one in lab["instances"].items()}),
        "hive.secret": practice.lab.signing_key.read_text(),
        "hive.public": lab["publicKey"],
    }
