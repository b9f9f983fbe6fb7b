"""Do one thing on a practice fleet of its own, and write as JSON which code of ours ran: what `measures.py` starts.

usage: traced.py TREE terminal|notebook|probe RESULT.json

TREE is a checkout, of this version or an older one; it stands first in PYTHONPATH. What an import runs does not count:
only what is called. Threads that began before the tracing, as a kernel's own, are not seen.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

DEPLOY = ("deploy", "--yes", "-c", "example", "portico", "*")
ASKED = "portico"
PROBES = ("probe", "look")
"""The kind of the step that asks one host, here and in trees of before (`measures.py` counts those too)."""
NOT_CODE = {".py", ".pyc", ""}
NOT_CALLED = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
START = "Run.start"
"""Where the way of a deploy leaves the caller's thread for the engine's."""
HOST_STEP = "Activation.run"
"""The function of the step `activate`: where the way of a deploy ends on this side."""
CELLS = """
import sys
sys.path.insert(0, {tools!r})
from traced import Tracer
tracer = Tracer({package!r})
tracer.start()
"""
LAST_CELL = """
tracer.stop()
tracer.save({result!r})
"""


class Tracer:
    """Notes which functions below one folder are called, on this thread and on those that begin from now on."""

    def __init__(self, package: str) -> None:
        """Note nothing yet."""
        self.package = package.rstrip("/") + "/"
        self.going = False
        self.functions: set[tuple[str, str, int]] = set()
        self.data: set[str] = set()
        self.hops: list[str] = []
        self._begun: list[str] = []
        self._importing = threading.local()
        sys.addaudithook(self._audit)

    def start(self) -> None:
        """Begin."""
        self.going = True
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def stop(self) -> None:
        """End."""
        self.going = False
        threading.setprofile(None)
        sys.setprofile(None)

    def seen(self) -> set[tuple[str, str, int]]:
        """Return what was called until now; another thread may be at a last one."""
        return self.functions.copy()

    def save(self, path: str) -> None:
        """Write what was seen."""
        functions = sorted(f"{file}:{name}:{line}" for file, name, line in self.seen())
        files = sorted({file for file, _, _ in self.seen()} | self.data)
        Path(path).write_text(json.dumps({"files": files, "functions": functions, "hops": self.hops}))

    def _ours(self, code: CodeType) -> str:
        name = code.co_filename
        return name[len(self.package) :] if name.startswith(self.package) else ""

    def _profile(self, frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        if not self.going or event not in ("call", "return") or not code.co_filename.startswith(self.package):
            return
        if code.co_name == "<module>":
            deep = getattr(self._importing, "deep", 0)
            self._importing.deep = deep + (1 if event == "call" else -1)
        elif event == "call" and not getattr(self._importing, "deep", 0) and code.co_name not in NOT_CALLED:
            self._note(frame)

    def _note(self, frame: FrameType) -> None:
        code = frame.f_code
        self.functions.add((self._ours(code), code.co_qualname, code.co_firstlineno))
        if code.co_qualname == START:  # the last of them: a survey is a run as well
            self._begun = self._stack(frame)
        elif code.co_qualname == HOST_STEP and not self.hops:
            self.hops = [*self._begun, *self._stack(frame)]

    def _stack(self, frame: FrameType | None) -> list[str]:
        """Return the functions of ours that led here, the outermost first."""
        found: list[str] = []
        while frame is not None:
            if self._ours(frame.f_code):
                found.append(f"{self._ours(frame.f_code)}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        return found[::-1]

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Note the files of ours that are no Python: those that are read, and those that a program is given."""
        if not self.going or event not in ("open", "subprocess.Popen"):
            return
        words = [args[0]] if event == "open" else [args[0], *(args[1] or ())]
        for word in words:
            if isinstance(word, (str, os.PathLike)) and self.package in (text := os.fspath(word)):
                file = Path(text.partition(self.package)[2].split()[0].rstrip("\"';"))
                if file.suffix not in NOT_CODE:
                    self.data.add(str(file))


@contextlib.contextmanager
def fleet(tree: Path) -> Iterator[Path]:
    """Bring up a practice fleet of that tree's, with a copy of its example; go to the folder of both."""
    lab = importlib.import_module("nixhive_nb.lab")
    folder = Path(tempfile.mkdtemp(prefix="nixhive-measures-", dir="/tmp"))  # the names of sockets have to be short
    try:
        ignore = shutil.ignore_patterns("lab.nix", ".hive*")
        shutil.copytree(tree / "example", folder / "example", ignore=ignore)
        with lab.Lab.up(folder / "lab", deployment=folder / "example"):
            os.chdir(folder)
            yield folder
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


def terminal(tree: Path, result: str) -> None:
    """Deploy as `nix-hive` does."""
    scripts = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["nix-hive"].partition(":")
    main = getattr(importlib.import_module(module), name)
    tracer = Tracer(str(tree / "nixhive_nb"))
    sys.argv = ["nix-hive", *DEPLOY]
    tracer.start()
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
    finally:
        tracer.stop()
    tracer.save(result)


def notebook(tree: Path, result: str) -> None:
    """Deploy by a line of `%hive`, in a kernel of its own, with no page that could show a widget."""
    import nbformat  # noqa: PLC0415 - the kernel's parent alone needs it
    from nbclient import NotebookClient  # noqa: PLC0415

    words = " ".join(word if word.isalnum() else f"'{word}'" for word in DEPLOY if not word.startswith("-"))
    line = f"%hive deploy --yes -c example {words.removeprefix('deploy example ')}"
    begin = CELLS.format(tools=str(Path(__file__).parent), package=str(tree / "nixhive_nb"))
    cells = ["%load_ext nixhive_nb", begin, line, LAST_CELL.format(result=result)]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=300, kernel_name="python3").execute()


def probe(tree: Path, result: str) -> None:
    """Ask one host how it is, twice: what the engine and the backend run for that one step.

    The second time a connection is there already.
    """
    hive_class = importlib.import_module("nixhive_nb").Hive
    tracer = Tracer(str(tree / "nixhive_nb"))
    found: list[dict[str, int]] = []
    backend = _backend_class()
    perform = backend.perform

    async def traced(self: object, step: Any, tell: Any) -> object:  # noqa: ANN401 - of whatever version
        if step.kind not in PROBES:
            return await perform(self, step, tell)
        tracer.functions.clear()
        tracer.going = True
        sys.setprofile(tracer._profile)  # noqa: SLF001 - the thread was there before
        try:
            return await perform(self, step, tell)
        finally:
            tracer.stop()
            seen = tracer.seen()
            found.append({"files": len({file for file, _, _ in seen}), "functions": len(seen)})

    backend.perform = traced
    with hive_class.load("example") as hive:
        for _ in range(2):
            threading.setprofile(tracer._profile)  # noqa: SLF001 - noted from the first word on
            hive.plan("reboot", ASKED)
    Path(result).write_text(json.dumps({"cold": found[0], "warm": found[1]}))


def _backend_class() -> Any:  # noqa: ANN401 - of whatever version
    for name in ("nixhive_nb.backend", "nixhive_nb.backend.nix_ssh"):
        with contextlib.suppress(ImportError, AttributeError):
            return importlib.import_module(name).NixSsh
    raise SystemExit("This tree has no NixSsh: say in tools/traced.py where it stands.")


def main() -> None:
    """Do what the words of the command say."""
    tree, what, result = Path(sys.argv[1]).resolve(), sys.argv[2], str(Path(sys.argv[3]).resolve())
    with fleet(tree):
        {"terminal": terminal, "notebook": notebook, "probe": probe}[what](tree, result)


if __name__ == "__main__":
    main()
