"""What a cell shows on pages of all kinds: never a broken picture, and a widget wherever there can be one."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import expect

from tests.ui.conftest import LACKING
from tests.ui.gates import go_on
from tests.ui.kernels import NEWEST, OTHERS, ROOT
from tests.ui.notebook import KNOWN, WINDOW, JupyterLab

pytestmark = pytest.mark.ui

SHOWN = """
%load_ext nixhive_nb
from nixhive_nb.notebook.picker import picker_for
from tests.notebook.shows import deploy_many
from tests.ui.shown import *
"""
PICKER = "picker = picker_for(rows(40))\npicker"
SAYS = "from nixhive_nb.notebook import pages\nprint(pages.pages.shows(pages.here()))"
VIEW = "application/vnd.jupyter.widget-view+json"
KERNELS = pytest.mark.parametrize("kernel", [NEWEST, *OTHERS])
BROKEN = ("Error displaying widget", "Loading widget", "javascript error")
GONE = "The kernel is gone"
PICTURES = ROOT / "build" / "ui"


def whole(shown):
    """Say that nothing of it is broken; give its text."""
    # A cell that was just put into a page is laid out in its next frame.
    expect(shown).to_have_text(re.compile(r"\S"), use_inner_text=True)
    text = shown.inner_text()
    assert [words for words in BROKEN if words in text] == []
    return text


def leave(book, output):
    """Cancel a run, and have it left at once."""
    for asks, agrees in (("Cancel…", "Cancel it"), ("Leave at once…", "Leave at once")):
        output.get_by_role("button", name=asks).click()
        output.get_by_role("button", name=agrees, exact=True).click()
    assert not book.ended()


def heard(output, words):
    """Wait until the kernel has heard what was picked: it says so in the HTML, behind the widget."""
    expect(output.locator(".jp-OutputArea-output").first).to_contain_text(words)


@KERNELS
def test_run_all_has_the_picker_and_the_tracker_from_the_first_cell_on(lab, tmp_path, kernel):
    """F2: such a kernel may hear of the page when all cells have ended. It need not have."""
    book = lab.notebook(tmp_path, SHOWN, PICKER, "deploy_some()", kernel=kernel)
    book.begin_all()
    output = book.output(2)
    book.output(1).locator(".hive-picker").wait_for()
    expect(output.locator(".hive-row").filter(has_text="www-1")).to_contain_text("activating")
    leave(book, output)
    expect(output.locator(".hive-tracker")).to_have_count(0)
    assert "1 of 4 deployed" in whole(output)
    assert all(VIEW not in one.get("data", {}) for cell in book.saved().cells for one in cell.outputs)


@pytest.fixture(scope="module")
def second(browser, server):
    """Another page of the same browser."""
    one = JupyterLab(browser.new_page(), server)
    yield one
    one.page.close()


@KERNELS
def test_two_pages_on_one_kernel_show_what_each_of_them_asked_for(lab, second, tmp_path, kernel):
    book = lab.notebook(tmp_path, SHOWN, PICKER, "print(picker.value)", kernel=kernel)
    book.run(0, 1)
    other = second.open(book.file, kernel)
    other.run(1)
    for one in (book, other):
        one.output(1).get_by_role("option", name="www-4,").wait_for()
    other.output(1).get_by_role("option", name="www-7,").click()
    heard(other.output(1), "1 selected: www-7")
    other.run(2)
    assert "('www-7',)" in other.output(2).inner_text()
    whole(book.output(1))
    other.close(keep_kernel=True)
    assert second.errors == []


@KERNELS
def test_a_page_is_remembered_and_told_nothing_and_has_the_picker_again_when_it_is_loaded_anew(lab, tmp_path, kernel):
    book = lab.notebook(
        tmp_path,
        SHOWN + "from nixhive_nb.notebook import pages\npages.PATIENCE = 0.0",
        SAYS,
        PICKER,
        "picker",
        "deploy_many(20, seconds=2.0)",
        "import asyncio\nwhile len(picker.value) < 2: await asyncio.sleep(0.01)",
        "print(picker.value)",
        kernel=kernel,
    )
    book.run(0)
    await_hello(book)
    book.run(2, 3, 4)
    assert "pip install" not in book.output(3).inner_text() + book.output(4).inner_text()
    assert {one["type"] for one in book.told()} >= {"comm_open", "comm_msg"}
    book.output(2).get_by_role("option", name="www-4,").click()
    heard(book.output(2), "1 selected: www-4")
    book.saved()
    lab.reload()
    book.attach()
    for cell in (2, 3):
        option = book.output(cell).get_by_role("option", name="www-4,")
        expect(option).to_have_attribute("aria-selected", "true")
    book.output(2).get_by_role("option", name="www-7,").click()
    expect(book.output(2)).to_contain_text("2 selected, in this order: www-4, www-7")
    book.run(5, 6)
    assert "('www-4', 'www-7')" in book.output(6).inner_text()


@KERNELS
def test_a_page_says_hello_when_the_extension_is_loaded_and_when_it_is_loaded_anew(lab, tmp_path, kernel):
    """F2: from a model without a view."""
    book = lab.notebook(tmp_path, SHOWN, SAYS, kernel=kernel)
    book.run(0)
    await_hello(book)
    book.saved()
    lab.reload()
    book.attach()
    await_hello(book)
    assert "hive-slot" not in str(book.saved().cells)


def await_hello(book):
    """Run what tells whether the page is known, until it is: it says so when it has the model."""
    for _ in range(100):
        book.run(1)
        if "True" in book.output(1).inner_text():
            return
    raise AssertionError


def test_a_page_that_is_loaded_anew_while_the_cell_waits_has_the_html_and_then_the_record(lab, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    book = lab.notebook(tmp_path, SHOWN, "deploy_many(20, seconds=2.0, until='pipe')")
    book.run(0)
    book.begin(1)
    book.output(1).locator(".hive-tracker").wait_for()
    book.saved()
    lab.reload()
    book.attach(is_busy=True)
    expect(book.output(1)).to_contain_text("Deploying")
    whole(book.output(1))
    go_on(tmp_path / "pipe")
    expect(book.output(1)).to_contain_text("19 of 20 deployed")
    whole(book.output(1))
    assert "19 of 20 deployed" in book.saved().cells[1].outputs[0].data["text/html"]


def test_a_server_without_the_extensions_shows_html_and_one_line_says_once_what_to_install(
    browser, server, lacking, tmp_path
):
    """F2."""
    os.mkfifo(tmp_path / "pipe")
    page = JupyterLab(browser.new_page(), server, known=(*KNOWN, *LACKING))
    book = page.notebook(
        tmp_path,
        SHOWN + "from nixhive_nb.notebook import pages\npages.PATIENCE = 0.0",
        PICKER,
        "picker",
        "picker",
        "picker.value = ['www-2']",
        "deploy_many(20, seconds=2.0, until='pipe')",
    )
    try:
        book.run(0, 1, 2, 3, 4)
        told = [whole(book.output(cell)) for cell in (1, 2, 3)]
        assert ["pip install anywidget" in text for text in told] == [True, False, False]
        assert all("www-4" in text for text in told)
        assert all("1 selected: www-2" in book.output(cell).inner_text() for cell in (1, 2, 3))
        book.begin(5)
        expect(book.output(5)).to_contain_text("Deploying")
        go_on(tmp_path / "pipe")
        assert book.ended()
        assert "19 of 20 deployed" in whole(book.output(5))
    finally:
        book.close()
        page.page.close()
    assert page.errors == []


@pytest.mark.parametrize("way", ["restarted", "killed"])
def test_when_the_kernel_is_gone_tracker_and_picker_say_so(lab, tmp_path, way):
    """F5, F6."""
    book = lab.notebook(tmp_path, SHOWN + "import os\nprint('kernel', os.getpid())", PICKER, "deploy_some()")
    book.run(0, 1)
    pid = int(book.output(0).inner_text().split()[-1])
    book.begin(2)
    picker, tracker = book.output(1), book.output(2)
    tracker.locator(".hive-row").first.wait_for()
    if way == "restarted":
        book.restart()
    else:
        os.kill(pid, signal.SIGKILL)
        lab.page.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
    for shown in (picker, tracker):
        expect(shown).to_contain_text(GONE)
    expect(tracker.get_by_role("button", name="Cancel")).to_have_count(0)
    # The notebook says so as well, also where there is no widget any more.
    for cell in (1, 2):
        expect(book.output(cell)).to_contain_text(GONE)
        lab.page.wait_for_function(
            "(a) => String(tests.panels[a[0]].content.model.cells.get(a[1]).outputs.get(0).data['text/html'])"
            ".includes(a[2])",
            arg=[book.path, cell, GONE],
        )
    book.reopen()
    for cell in (1, 2):
        assert GONE in whole(book.output(cell))


def test_in_a_small_window_nothing_is_cut_off_and_all_can_be_read_in_both_themes(lab, tmp_path):
    lab.page.set_viewport_size({"width": 800, "height": 900})
    book = lab.notebook(tmp_path, SHOWN, "picker_for(rows(8), picked=['www-1', 'www-2'])", "deploy_some()")
    try:
        book.run(0, 1)
        book.begin(2)
        expect(book.output(2).locator(".hive-row").filter(has_text="www-1")).to_contain_text("activating")
        assert_fits(book, "small")
        book.restart()
        expect(book.output(2)).to_contain_text(GONE)
        assert_fits(book, "small-gone")
    finally:
        lab.page.set_viewport_size(WINDOW)


def assert_fits(book, name):
    """Say that nothing is cut off, and that all can be read, in both themes; keep a picture of each."""
    for theme in ("Dark", "Light"):
        book.lab.theme(theme)
        book.page.screenshot(path=PICTURES / f"{name}-{theme.lower()}.png")
        for cell in (1, 2):
            shown = book.output(cell).locator(".hive-widget")
            assert shown.evaluate("(element) => element.scrollWidth - element.clientWidth") <= 0
        assert book.output(2).locator(".hive-tracker").evaluate("(element) => tests.faint(element, 4.5, 3)") == []


@pytest.mark.parametrize("keep_kernel", [True, False], ids=["kernel-stays", "kernel-ends"])
def test_a_notebook_that_is_closed_in_the_middle_is_read_when_it_is_opened_again(lab, tmp_path, keep_kernel):
    """F6."""
    os.mkfifo(tmp_path / "pipe")
    book = lab.notebook(tmp_path, SHOWN, PICKER, "deploy_many(20, seconds=2.0, until='pipe')", "print('heard')")
    book.run(0, 1)
    book.output(1).get_by_role("option", name="www-4,").click()
    book.begin(2)
    book.output(2).locator(".hive-row").first.wait_for()
    book.saved()
    book.close(keep_kernel=keep_kernel)
    book.attach(is_busy=keep_kernel)
    assert "www-4" in whole(book.output(1))
    assert "Deploying" in whole(book.output(2))
    if keep_kernel:
        go_on(tmp_path / "pipe")
        book.run(3)
        expect(book.output(2)).to_contain_text("19 of 20 deployed")
        book.output(1).locator(".hive-picker").wait_for()
