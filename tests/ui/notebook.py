"""JupyterLab as a person sees it: notebooks that are opened, run, looked at, saved and closed in a browser."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from playwright.sync_api import Error

from tests.ui.kernels import NEWEST

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.ui.server import Server

PAGE = Path(__file__).with_name("page.js")
"""What is put into every page."""
_LOADED_ANEW = ("Resulting promise was garbage collected", "Execution context was destroyed")
"""How Playwright says that a page was loaded anew under what was asked of it."""
PATIENCE = 60_000
"""Milliseconds that anything may take."""
WINDOW = {"width": 1120, "height": 900}
"""What pages have for themselves, in pixels."""
KNOWN = (  # a kernel was ended while the page was asking it
    "Could not restore the debugger state",
    "Error: Canceled future for create_subshell_request",
    "Canceled future for kernel_info_request",
)
"""How complaints of the page begin that are JupyterLab's own."""
_WORKSPACES = itertools.count()
"""Two pages with one workspace would have one of them load anew in another."""
_KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_BUTTON = '.jp-NotebookPanel-toolbar jp-button[data-command="{}"]'


def kept(page: Page, expression: str, *arguments: object) -> Any:
    """Return the value of a JavaScript expression in a page, once its promise is kept; its arguments are in `a`.

    Playwright waits for a promise for ever. This raises its error when it took too long, with the expression in it.
    """
    what = f"{expression} with {[*arguments]}"
    return page.evaluate(f"([what, a]) => tests.within({PATIENCE}, what, {expression})", [what, [*arguments]])


class JupyterLab:
    """A page with JupyterLab."""

    def __init__(self, page: Page, server: Server, *, known: tuple[str, ...] = KNOWN) -> None:
        self.page = page
        self.server = server
        self._known = known
        self.errors: list[str] = []
        """What the page complained about: a test in which it did has failed."""
        self._open: list[Notebook] = []
        self._made = 0
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self._heard("error", f"{error}\n{error.stack}"))
        page.on("console", lambda said: self._heard(said.type, said.text, said.location["url"]))
        page.on("request", lambda asked: self._outside(asked.url))
        page.add_init_script(path=PAGE)
        self._address = f"{server.url}/lab/workspaces/{next(_WORKSPACES)}?reset&token={server.token}"
        page.goto(self._address)
        self.wait_until_ready()
        self.command("application:toggle-left-area")

    def wait_until_ready(self) -> None:
        """Wait until the page takes commands, also where it is loaded anew while it is asked."""
        for left in reversed(range(3)):
            try:
                self.page.wait_for_function("() => window.jupyterapp", polling=50)
                self.ask("window.jupyterapp.restored")
                break
            except Error as error:
                if not left or not any(words in str(error) for words in _LOADED_ANEW):
                    raise
        # One that is shown anew before it is gone is taken away twice by JupyterLab, which is an error of the page.
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def ask(self, expression: str, *arguments: object) -> Any:
        """Return the value of a JavaScript expression, once its promise is kept; its arguments are in `a`."""
        return kept(self.page, expression, *arguments)

    def command(self, name: str, **arguments: object) -> None:
        """Return JupyterLab a command."""
        self.ask("window.jupyterapp.commands.execute(a[0], a[1]).then(() => null)", name, arguments)

    def notebook(self, folder: Path, *cells: str, kernel: str = NEWEST) -> Notebook:
        """Make a notebook of these cells in a folder, and open it with a kernel of its own."""
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        made.metadata.kernelspec = {**_KERNEL, "name": kernel}
        self._made += 1
        file = folder / f"notebook-{self._made}.ipynb"
        nbformat.write(made, file)
        return self.open(file, kernel)

    def open(self, file: Path, kernel: str = NEWEST) -> Notebook:
        """Open a notebook that is there."""
        self.server.kernels.warm(kernel)
        one = Notebook(self, file)
        self._open.append(one)
        return one

    def theme(self, name: str) -> None:
        """Change the theme: `Light` or `Dark`."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name}")
        light = "true" if name == "Light" else "false"
        self.page.locator(f'body[data-jp-theme-light="{light}"]').wait_for(state="attached")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def reload(self) -> None:
        """Load the page anew. Notebooks do not come back by themselves, which they do whenever they like."""
        self.page.goto(self._address)
        self.wait_until_ready()
        self.command("application:toggle-left-area")

    def leave(self) -> None:
        """Close what is open, with the kernels."""
        for one in self._open:
            if one.is_open:
                one.close()
        self._open.clear()

    def _heard(self, kind: str, text: str, where: str = "") -> None:
        if kind == "error" and not text.startswith(self._known):
            self.errors.append(f"{text} {where.partition('?')[0]}".strip())

    def _outside(self, url: str) -> None:
        if url.startswith("http") and not url.startswith(self.server.url):
            self.errors.append(f"it went to another machine: {url}")


class Notebook:
    """A notebook in a page. Its cells are counted from 0."""

    def __init__(self, lab: JupyterLab, file: Path) -> None:
        self.lab = lab
        self.page = lab.page
        self.file = file
        self.path = str(file.relative_to(lab.server.root))
        self.attach()

    def attach(self, *, is_busy: bool = False) -> None:
        """Open it, or take it up in a page that was loaded anew; a kernel that is busy is not waited for."""
        self._panel = self.page.locator(f"#{self.lab.ask('tests.open(...a)', self.path, is_busy)}")
        self.is_open = True

    def begin(self, cell: int) -> None:
        """Run a cell, and do not wait for it."""
        self.page.evaluate("(a) => tests.begin(...a)", [self.path, "notebook:run-cell", cell])

    def begin_all(self) -> None:
        """Run all cells, and do not wait for them."""
        self.page.evaluate("(a) => tests.begin(...a)", [self.path, "notebook:run-all-cells", None])

    def ended(self) -> bool:
        """Wait until what was begun last has ended; tell whether all of it went well."""
        return self.lab.ask("tests.ended(a[0])", self.path)

    def run(self, *cells: int) -> None:
        """Run cells that must go well, all of them where none is named."""
        if not cells:
            self.begin_all()
            assert self.ended(), self.saved()
        for cell in cells:
            self.begin(cell)
            assert self.ended(), self.cell(cell).inner_text()

    def cell(self, number: int) -> Locator:
        """Return a cell."""
        return self._panel.locator(".jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        """Return what stands below a cell."""
        return self.cell(number).locator(".jp-Cell-outputArea")

    def prompt(self, number: int) -> str:
        """Return what stands beside a cell: `[1]:`, `[*]:` while it runs or waits, `[ ]:` where it was not run."""
        return self.cell(number).locator(".jp-InputPrompt").inner_text()

    def focus(self, number: int) -> None:
        """Put the cursor into a cell, without the mouse."""
        self.page.evaluate("(a) => { tests.panels[a[0]].content.activeCellIndex = a[1] }", [self.path, number])
        self.lab.command("notebook:enter-edit-mode")

    def write(self, number: int, source: str) -> None:
        """Put other words into a cell."""
        self.page.evaluate(
            "(a) => tests.panels[a[0]].content.model.cells.get(a[1]).sharedModel.setSource(a[2])",
            [self.path, number, source],
        )

    def interrupt(self) -> None:
        """Press the button of the toolbar."""
        self._panel.locator(_BUTTON.format("notebook:interrupt-kernel")).click()

    def told(self) -> list[dict[str, str]]:
        """Return what the kernel told this page: id, type, parent and channel of each message."""
        return self.page.evaluate("(path) => tests.told[path]", self.path)

    def saved(self) -> nbformat.NotebookNode:
        """Save it, and give what is in the file."""
        self.lab.ask("tests.save(a[0])", self.path)
        return nbformat.read(self.file, as_version=4)

    def close(self, *, keep_kernel: bool = False) -> None:
        """Close it, and end its kernel unless that is to be kept."""
        self.is_open = False
        self.lab.ask("tests.close(...a)", self.path, keep_kernel)

    def restart(self) -> None:
        """Restart its kernel."""
        self.lab.ask("tests.panels[a[0]].sessionContext.session.kernel.restart()", self.path)

    def reopen(self) -> None:
        """Save it, close it, and open what was saved, with a new kernel."""
        self.saved()
        self.close()
        self.attach()


def assert_harmless(shown: Locator) -> None:
    """Say that what is shown is text alone: nothing that was made of it, nothing that was run."""
    assert shown.locator("script, img").count() == 0
    assert not set("\x1b\x07\u202e") & set(shown.inner_text())
    assert shown.page.evaluate("window.harmed") is None
