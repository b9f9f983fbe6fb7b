"""F8: a record looks the same wherever it is read: in JupyterLab, in an export, and in the documentation site."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from nbconvert import HTMLExporter

from nixhive_nb.notebook.display import Record
from tests.notebook.values import deployed
from tests.ui.notebook import PAGE, WINDOW

pytestmark = pytest.mark.ui

SITE = """
project = "looks"
extensions = ["myst_nb"]
html_theme = "furo"
nb_execution_mode = "off"
"""
LOOKS = """(shown) => {
  const one = (element) => {
    const looks = getComputedStyle(element);
    const above = getComputedStyle(element.parentElement);
    return {
      tag: element.tagName,
      text: element.textContent.slice(0, 40),
      font: looks.fontFamily.includes("monospace") ? "monospace" : "words",
      size: Math.round(100 * parseFloat(looks.fontSize) / parseFloat(above.fontSize)),
      weight: looks.fontWeight,
      align: looks.textAlign.replace("start", "left"),
      space: looks.whiteSpaceCollapse + " " + looks.textWrapMode,
      padding: looks.padding,
    };
  };
  const lines = [...shown.querySelectorAll("tr")].map((row) => getComputedStyle(row).borderBottomWidth);
  return [...[...shown.querySelectorAll("pre, td, th, summary, span")].map(one), lines];
}"""
SMALL = {"width": 800, "height": 900}
WIDE = "(shown) => shown.scrollWidth - shown.clientWidth"


@pytest.fixture(scope="module")
def notebook():
    """A notebook with a record: some hosts are done, one failed with a long line, and the log says more."""
    report = deployed({"fetch:www-2": "The disk is full."})
    views = [Record(report), report.timeline()]
    bundles = [DisplayFormatter().format(view)[0] for view in views]
    outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in bundles]
    cells = [nbformat.v4.new_code_cell("%hive deploy", outputs=[output]) for output in outputs]
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A record"), *cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )


@pytest.fixture
def plain(browser):
    """A page that is no JupyterLab, as wide as a small window."""
    one = browser.new_page()
    one.set_viewport_size(SMALL)
    yield one
    one.close()


@pytest.fixture
def in_lab(lab, tmp_path, notebook):
    file = tmp_path / "record.ipynb"
    nbformat.write(notebook, file)
    book = lab.open(file)
    lab.page.set_viewport_size(SMALL)
    yield book.output(1).locator(".jp-RenderedHTMLCommon")
    lab.page.set_viewport_size(WINDOW)


def exported(page, notebook, theme="light"):
    body, _ = HTMLExporter(theme=theme).from_notebook_node(notebook)
    page.set_content(body)
    return page.locator(".jp-RenderedHTMLCommon.jp-OutputArea-output").first


@pytest.fixture(scope="module")
def site(notebook, tmp_path_factory):
    """The documentation site that has the notebook as its page: an address."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "conf.py").write_text(SITE)
    nbformat.write(notebook, folder / "index.ipynb")
    argv = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(folder), str(folder / "site")]
    subprocess.run(argv, check=True, timeout=120)
    return (folder / "site" / "index.html").as_uri()


def in_site(page, site):
    page.goto(site)
    return page.locator(".cell_output .output").first


def assert_readable(shown):
    shown.page.add_script_tag(content=f"if (!window.tests) {{ {PAGE.read_text()} }}")
    assert shown.evaluate("(element) => tests.faint(element, 4.5, 3)") == []


def test_its_fonts_and_lines_are_those_of_an_export_and_of_the_documentation(in_lab, plain, notebook, site):
    looks = in_lab.evaluate(LOOKS)
    assert [one["font"] for one in looks[:-1] if one["tag"] == "PRE"] == ["monospace"]
    assert looks == exported(plain, notebook).evaluate(LOOKS)
    assert looks == in_site(plain, site).evaluate(LOOKS)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_export_can_be_read_in_a_small_window(plain, notebook, theme):
    shown = exported(plain, notebook, theme)
    assert_readable(shown)
    assert shown.evaluate(WIDE) <= 0


def test_the_documentation_can_be_read_in_a_small_window(plain, site):
    shown = in_site(plain, site)
    assert_readable(shown)
    assert shown.evaluate(WIDE) <= 0


def test_a_notebook_of_somebody_else_can_be_read_in_a_small_window(in_lab):
    assert_readable(in_lab)
    assert in_lab.evaluate(WIDE) <= 0


def test_on_the_web_where_no_looks_are_left_the_log_is_still_a_log(plain, notebook):
    """GitHub drops every `style`."""
    plain.set_content(notebook.cells[1].outputs[0].data["text/html"])
    plain.evaluate("document.querySelectorAll('[style]').forEach((one) => one.removeAttribute('style'))")
    assert plain.locator("pre").evaluate("(one) => getComputedStyle(one).fontFamily") == "monospace"
    assert plain.locator("table").count() == 1
