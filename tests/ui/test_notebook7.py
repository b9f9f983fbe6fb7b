"""Notebook 7: a page for each notebook, of the same parts as JupyterLab."""

from __future__ import annotations

import nbformat
import pytest
from playwright.sync_api import expect

from tests.ui.notebook import KNOWN, PATIENCE
from tests.ui.test_pages import PICKER, SHOWN, VIEW, whole

pytestmark = pytest.mark.ui

OWN = "Cannot read properties of undefined (reading 'schema')"
"""What Notebook says of settings of JupyterLab's that it has not."""
READY = "() => window.jupyterapp?.shell.currentWidget?.context"
KERNEL = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
}"""


@pytest.fixture
def opened(browser, server, tmp_path):
    """Open a notebook of some cells in Notebook 7."""
    page, errors = browser.new_page(viewport={"width": 1120, "height": 900}), []
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open_it(*cells):
        file = tmp_path / "seven.ipynb"
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, file)
        page.goto(f"{server.url}/notebooks/{file.relative_to(server.root)}?token={server.token}")
        page.wait_for_function(READY)
        page.evaluate(KERNEL)
        page.evaluate("() => { window.done = window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        return page, file

    yield open_it
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
    assert [error for error in errors if not error.startswith((*KNOWN, OWN))] == []


def test_the_picker_and_the_tracker_are_seen_and_what_is_saved_needs_no_kernel(opened):
    page, file = opened(SHOWN, PICKER, "deploy_many(20, seconds=4.0)")
    page.locator(".hive-tracker").wait_for()
    page.get_by_role("option", name="www-4,").click()
    outputs = page.locator(".jp-Cell-outputArea")
    expect(outputs.last).to_contain_text("19 of 20 deployed")
    expect(outputs.nth(1)).to_contain_text("1 selected: www-4")
    whole(outputs.nth(1))
    whole(outputs.last)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    saved = nbformat.read(file, as_version=4)
    assert all(VIEW not in output.get("data", {}) for cell in saved.cells for output in cell.outputs)
    page.screenshot(path="build/ui/notebook7.png")
