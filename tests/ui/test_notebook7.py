"""Notebook 7: a page for each notebook, of the same parts as JupyterLab."""

from __future__ import annotations

import contextlib
import os

import nbformat
import pytest
from playwright.sync_api import expect

from tests.ui.conftest import LACKING
from tests.ui.gates import go_on
from tests.ui.notebook import KNOWN, PAGE, PATIENCE, kept
from tests.ui.test_pages import KERNELS, PICKER, SHOWN, VIEW, whole

pytestmark = pytest.mark.ui

OWN = "Cannot read properties of undefined (reading 'schema')"
"""What Notebook says of settings of JupyterLab's that it has not."""
READY = "() => window.jupyterapp?.shell.currentWidget?.context"
PANEL = "window.jupyterapp.shell.currentWidget"


class Page:
    """A notebook in Notebook 7, all of whose cells are run. Its cells are counted from 0."""

    def __init__(self, browser, server, tmp_path, *cells, kernel="python3"):
        server.kernels.warm(kernel)
        self.page, self.errors = browser.new_page(), []
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack}"))
        self.page.add_init_script(path=PAGE)
        self.file = tmp_path / "seven.ipynb"
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
        nbformat.write(made, self.file)
        self.page.goto(f"{server.url}/notebooks/{self.file.relative_to(server.root)}?token={server.token}")
        self.page.wait_for_function(READY, polling=50)
        kept(self.page, f"{PANEL}.context.ready")
        kept(self.page, f"{PANEL}.sessionContext.ready")
        kept(self.page, f"tests.answers({PANEL}.sessionContext.session.kernel)")
        self.page.evaluate("() => { window.done = window.jupyterapp.commands.execute('notebook:run-all-cells') }")

    def output(self, cell):
        """Return the output of a cell."""
        return self.page.locator(".jp-Cell-outputArea").nth(cell)

    def saved(self):
        """Save it, and give what is in the file."""
        kept(self.page, "window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
        return nbformat.read(self.file, as_version=4)


@contextlib.contextmanager
def opened(*args, known=(), **more):
    """Open one, and close it with its kernel; the page may have no other errors than those that are known."""
    one = Page(*args, **more)
    try:
        yield one
    finally:
        kept(one.page, f"{PANEL}.sessionContext.shutdown()")
        one.page.close()
    assert [error for error in one.errors if not error.startswith((*KNOWN, OWN, *known))] == []


@KERNELS
def test_the_picker_and_the_tracker_are_seen_and_what_is_saved_needs_no_kernel(browser, server, tmp_path, kernel):
    """F2."""
    os.mkfifo(tmp_path / "pipe")
    cells = (SHOWN, PICKER, "deploy_many(20, seconds=2.0, until='pipe')")
    with opened(browser, server, tmp_path, *cells, kernel=kernel) as book:
        book.page.locator(".hive-tracker").wait_for()
        book.page.get_by_role("option", name="www-4,").click()
        go_on(tmp_path / "pipe")
        expect(book.output(2)).to_contain_text("19 of 20 deployed")
        expect(book.output(1)).to_contain_text("1 selected: www-4")
        whole(book.output(1))
        whole(book.output(2))
        assert all(VIEW not in output.get("data", {}) for cell in book.saved().cells for output in cell.outputs)
        book.page.screenshot(path="build/ui/notebook7.png")


def test_a_server_without_the_extensions_shows_html_and_says_what_to_install(browser, server, lacking, tmp_path):
    """F2."""
    first = SHOWN + "from nixhive_nb.notebook import pages\npages.PATIENCE = 0.0"
    os.mkfifo(tmp_path / "pipe")
    cells = (first, PICKER, "picker.value = ['www-2']", "deploy_many(20, seconds=2.0, until='pipe')")
    with opened(browser, server, tmp_path, *cells, known=LACKING) as book:
        expect(book.output(3)).to_contain_text("Deploying")
        go_on(tmp_path / "pipe")
        expect(book.output(3)).to_contain_text("19 of 20 deployed")
        expect(book.output(1)).to_contain_text("1 selected: www-2")
        assert "pip install anywidget" in whole(book.output(1))
        whole(book.output(3))
        book.page.screenshot(path="build/ui/notebook7-lacking.png")
