"""Where widgets cannot be, in a real JupyterLab: tables, and HTML that is renewed."""

from __future__ import annotations

import os
import re
from collections import Counter

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import expect

from nixhive_nb.notebook.display import Record
from nixhive_nb.notebook.picker import picker_for
from tests.notebook.conftest import EVAL_CONFIG, write_hive
from tests.notebook.values import deployed
from tests.ui.gates import go_on
from tests.ui.kernels import COLD
from tests.ui.shown import rows

pytestmark = pytest.mark.ui

OWN_STORE = """
import os
os.environ |= {"NIX_STORE_DIR": os.path.abspath("store"), "NIX_STATE_DIR": os.path.abspath("var")}
os.environ |= {"NIX_REMOTE": "local", "NIX_CONFIG": "build-users-group ="}
"""
LOAD = "%load_ext nixhive_nb\n"
DEPLOY = """
import time
began = time.monotonic()
deploy_many(50, seconds=1.0)
seconds = time.monotonic() - began
"""
TARGETS = "picker = %hive targets\npicker"
SHOWN = "from tests.notebook.shows import deploy_many\nfrom tests.ui.shown import *\n"
GROUNDS = "(elements) => elements.map((element) => getComputedStyle(element).backgroundColor)"
PYTHON = {"name": "python3", "display_name": "Python 3"}
WIDGETS = ".jupyter-widgets"


def having(widgets):
    return LOAD + f"%config Hive.widgets = '{widgets}'\n"


def without(*packages):
    return f"import sys\nsys.modules |= dict.fromkeys({packages})  # as if they were not installed\n" + LOAD


@pytest.fixture
def folder(tmp_path):
    """A folder with a deployment that Nix evaluates without nixpkgs: db-1, www-1 and www-2."""
    file = tmp_path / "nixpkgs" / "nixos" / "lib" / "eval-config.nix"
    file.parent.mkdir(parents=True)
    file.write_text(EVAL_CONFIG)
    write_hive(tmp_path)
    return tmp_path


def begin(*words):
    """Return patterns for texts that begin so."""
    return [re.compile(f"^{word}") for word in words]


def kinds(book):
    """Count what the kernel told the page, by kind."""
    return Counter(message["type"] for message in book.told())


def moves(folder, output):
    """See how a run goes on, which a pipe gives another 15 MB."""
    expect(output).to_contain_text("30.0 of at most 60.0 MB")
    go_on(folder / "pipe")
    expect(output).to_contain_text("45.0 of at most 60.0 MB")
    expect(output.locator("tr").nth(1)).to_contain_text("✕ fetch failed")
    expect(output.locator("tr").filter(has_text="www-1")).to_contain_text("activating")
    expect(output.locator(WIDGETS)).to_have_count(0)


def interrupt(book, output):
    """Stop a run, and leave it: one of its activations would go on for ever."""
    book.interrupt()
    expect(output).to_contain_text("Stopping…")
    book.interrupt()
    assert not book.ended()
    assert re.search(r"^www-1\s+\? unknown", output.inner_text(), re.MULTILINE), output.inner_text()


def test_without_widgets_one_picks_in_python_and_sees_it_in_a_table(lab, folder):
    book = lab.notebook(
        folder,
        OWN_STORE + having("none"),
        TARGETS,
        "picker.value = ['www-2', 'db-1']\npicker",
        "%hive instances @picked",
    )
    book.run()
    assert "Pick some in Python: picker.value = ['NAME', …]" in book.output(1).inner_text()
    shown = book.output(2)
    expect(shown.locator("tr:has(td)")).to_have_text(begin("☑www-2", "☑db-1", "☐www-1"))
    assert "2 selected, in this order: www-2, db-1" in shown.inner_text()
    expect(book.output(3).locator("tr td:first-child")).to_have_text(["db-1", "www-2"])
    expect(lab.page.locator(WIDGETS)).to_have_count(0)


@pytest.mark.parametrize("missing", [("anywidget",), ("anywidget", "ipywidgets")], ids=["anywidget", "ipywidgets"])
def test_where_a_package_is_not_installed_for_the_kernel_there_is_html(lab, folder, missing):
    book = lab.notebook(folder, OWN_STORE + without(*missing) + SHOWN, TARGETS, DEPLOY, "print(seconds)", kernel=COLD)
    book.run(0, 1)
    expect(book.output(1).locator("select, table")).to_have_count(1)
    expect(book.output(1).locator("table")).to_contain_text("www-2")
    before = kinds(book)
    book.run(2)
    told = kinds(book) - before
    assert "49 of 50 deployed, 1 failed" in book.output(2).inner_text()
    # HTML that is renewed at once and then each half second at most, and last the record.
    book.run(3)
    assert told["display_data"] == 1
    assert 1 < told["update_display_data"] <= 2 * float(book.output(3).inner_text()) + 2
    assert not {"comm_open", "comm_msg"} & set(told)
    outputs = [output for cell in book.saved().cells for output in cell.outputs]
    assert "error" not in [output.output_type for output in outputs]


def test_a_run_without_widgets_moves_and_its_record_is_the_same_when_it_is_opened_again(lab, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    book = lab.notebook(tmp_path, having("none") + SHOWN, "deploy_some('pipe')", "print('it went on')")
    book.begin_all()
    output = book.output(1)
    moves(tmp_path, output)
    interrupt(book, output)
    assert book.prompt(2) == "[ ]:"
    seen = output.inner_text()
    assert "1 of 4 deployed" in seen
    book.reopen()
    assert book.output(1).inner_text() == seen
    record, error = book.saved().cells[1].outputs
    assert set(record.data) == {"text/html", "text/plain"}
    assert error.ename == "KeyboardInterrupt"


def test_in_a_notebook_from_somebody_else_the_record_and_the_table_of_a_picker_are_read(lab, tmp_path):
    report = deployed({"fetch:www-2": "The disk is full."})
    picker = picker_for(rows(3), picked=["www-1"], widgets="own")
    shown = [DisplayFormatter().format(view) for view in (Record(report), report.timeline(), picker)]
    outputs = [nbformat.v4.new_output("display_data", data) for data, _ in shown]
    picker.close()
    cells = [nbformat.v4.new_code_cell("…", outputs=[output]) for output in outputs]
    file = tmp_path / "from-somebody-else.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": PYTHON}), file)
    book = lab.open(file)
    trusted = lab.ask("[...tests.panels[a[0]].content.model.cells].map((cell) => cell.trusted)", book.path)
    assert trusted == [False, False, False]
    record, timeline, table = map(book.output, range(3))
    for words in (
        "3 of 4 deployed, 1 failed",
        "✕ failed at fetch",
        "www-2: The disk is full.",
        "last line of fetch:www-2",
    ):
        expect(record).to_contain_text(words)
    expect(timeline).to_contain_text("wait 1.0 s, fetch 1.0 s ✕")
    for shown in (record, timeline):
        spans = shown.locator("div[title^=fetch]")
        expect(spans).to_have_count(4)
        assert all(colour != "rgba(0, 0, 0, 0)" for colour in spans.evaluate_all(GROUNDS))
    expect(table.locator("tr:has(td)")).to_have_text(begin("☑www-1", "☐www-0", "☐www-2"))
    expect(table).to_contain_text("1 selected: www-1")
    expect(lab.page.locator(WIDGETS)).to_have_count(0)


def test_a_notebook_that_ran_by_itself_keeps_no_widget_and_its_export_is_read_without_javascript(
    browser, server, tmp_path
):
    cells = [nbformat.v4.new_code_cell(source) for source in (LOAD + SHOWN, "deploy_many(50, seconds=1.0)")]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": PYTHON})
    NotebookClient(made, timeout=60).execute(cwd=str(tmp_path), env=server.environment)
    # It would also keep those that were closed, and have their scripts fetched from the network.
    assert "widgets" not in made.metadata
    body, _ = HTMLExporter().from_notebook_node(made)
    page = browser.new_page()
    browser.new_cdp_session(page).send("Emulation.setScriptExecutionDisabled", {"value": True})
    page.set_content(body)
    expect(page.locator(".jp-OutputArea-output")).to_contain_text("49 of 50 deployed, 1 failed")
    page.close()
