"""Fleets that are not there, in a real JupyterLab: very large ones, and ones that mean no good."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import expect

import nixhive_nb.notebook
from tests.ui.gates import go_on
from tests.ui.notebook import assert_harmless
from tests.ui.pictures import take

pytestmark = pytest.mark.ui

VIEW = "application/vnd.jupyter.widget-view+json"
WIDGETS = Path(nixhive_nb.notebook.__file__).parent / "widgets"

SHOWN = """
from nixhive_nb.notebook.picker import picker_for
from tests.notebook.shows import deploy_many
from tests.ui.shown import *
"""
COUNT = """
import json, time
kinds = {"display_data", "update_display_data", "comm_open", "comm_msg", "comm_close", "stream", "error"}
session, sent = get_ipython().kernel.session, []
send = session.send
def counted(*words, **more):
    message = send(*words, **more)
    if message and message["header"]["msg_type"] in kinds:
        sent.append((message["header"]["msg_type"], message["header"]["msg_id"]))
    return message
session.send = counted
"""
DONE = """(picker) => {
  const box = picker.querySelector("[type=search]");
  let looks = 0;
  const counted = (of, name) => {
    const own = of[name];
    of[name] = function (...given) { looks += 1; return own.apply(this, given); };
    return () => { of[name] = own; };
  };
  const filter = (words) => {
    const observer = new MutationObserver(() => {});
    observer.observe(picker, { childList: true, subtree: true, attributes: true, characterData: true });
    looks = 0;
    box.value = words;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    return [words, looks, observer.takeRecords().length];
  };
  const given_back = [counted(String.prototype, "includes"), counted(RegExp.prototype, "test")];
  const words = ["web", "www-99", "rack-7 portico-3", "nothing has this", "*-1?0", "system:system-4"];
  const done = words.map((one) => { filter(""); return filter(one); });
  for (const give_back of given_back) give_back();
  return done;
}"""
"""What a filter costs, however busy the machine: how often a text is looked at, and changes of the page."""


def test_a_thousand_instances_are_told_seldom_and_nothing_is_lost(lab, tmp_path):
    book = lab.notebook(
        tmp_path,
        SHOWN,
        COUNT,
        "sent.clear(); began = time.monotonic(); deploy_many(1000, seconds=5.0); seconds = time.monotonic() - began",
        "print(json.dumps([seconds, sent]))",
    )
    book.run()
    seconds, sent = json.loads(book.output(3).inner_text())
    heard = {message["id"]: message["type"] for message in book.told()}
    assert [one for one in sent if one[1] not in heard] == []
    assert not [line for line in lab.server.log if "rate exceeded" in line]
    kinds = Counter(kind for kind, _ in sent)
    # One output, for which a widget with a layout stands in. All cells were begun at once, so that the kernel has not
    # heard yet that the page shows it, and renews the HTML as well: once a second.
    told, renewed = kinds.pop("comm_msg"), kinds.pop("update_display_data")
    assert kinds == {"display_data": 1, "comm_open": 2}
    assert 2 < told < 5 * seconds
    assert renewed <= seconds + 3
    assert "980 of 1000 deployed, 20 failed" in book.output(2).inner_text()


def test_bytes_are_seen_as_they_come_and_one_may_leave_at_once(lab, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    book = lab.notebook(tmp_path, SHOWN, "deploy_some('pipe')")
    book.run(0)
    book.begin(1)
    output = book.output(1)
    fetching = output.locator(".hive-row").filter(has_text="www-2")
    expect(fetching).to_contain_text("30.0 of at most 60.0 MB")
    expect(output.locator(".hive-row").first).to_contain_text("✕ fetch failed")
    take(lab, output.locator(".hive-tracker"), "tracker")
    go_on(tmp_path / "pipe")
    expect(fetching).to_contain_text("45.0 of at most 60.0 MB")
    await_activation(output)
    cancel(output, "Cancel…", "Cancel it")
    output.locator(".hive-head b", has_text="Stopping…").wait_for()
    cancel(output, "Leave at once…", "Leave at once")
    assert not book.ended()
    assert re.search(r"^www-1\s+\? unknown", output.inner_text(), re.MULTILINE), output.inner_text()
    assert re.search(r"^www-2\s+⊘ cancelled", output.inner_text(), re.MULTILINE), output.inner_text()


def await_activation(output):
    """Wait until the run has something that an end has to wait for: only then is it seen to stop."""
    expect(output.locator(".hive-row").filter(has_text="www-1")).to_contain_text("activating")


def cancel(output, asks, agrees):
    output.get_by_role("button", name=asks).click()
    output.get_by_role("button", name=agrees, exact=True).click()


def test_ten_thousand_instances_are_filtered_at_once(lab, tmp_path):
    book = lab.notebook(
        tmp_path, SHOWN, "picker = picker_for(rows(10_000))\npicker", "print(len(picker.value), picker.value[:3])"
    )
    book.run(0, 1)
    picker = book.output(1).locator(".hive-picker")
    picker.wait_for()
    for words, looks, changes in picker.evaluate(DONE):
        assert looks <= 10_000 * len(words.split()) + 100, words
        assert changes < 1_000, words
    picker.get_by_role("searchbox").fill("rack-7")
    expect(picker.locator(".hp-count")).to_have_text("200 of 10,000 shown")
    assert picker.get_by_role("option").count() < 50
    picker.get_by_role("button", name="Select shown").click()
    book.run(2)
    assert "200 ('www-7', 'www-57', 'www-107')" in book.output(2).inner_text()


def test_a_picker_that_is_done_is_kept_as_a_table(lab, tmp_path):
    book = lab.notebook(
        tmp_path, SHOWN, "picker = picker_for(rows(40))\npicker", "input()", "print(picker.value)\npicker"
    )
    book.run(0, 1)
    picker = book.output(1).locator(".hive-picker")
    book.begin(2)
    answer = book.output(2).get_by_role("textbox")
    answer.wait_for()
    for name in ("www-4", "www-0", "www-2"):
        picker.get_by_role("option", name=f"{name},").click()
    # The kernel waits for an answer, and hears the button after it. Then all that was selected has come as well.
    picker.get_by_role("button", name="Done").focus()
    lab.page.keyboard.press("Enter")
    expect(picker.get_by_role("button", name="Done…")).to_be_visible()
    answer.press("Enter")
    expect(picker).to_have_count(0)
    expect(book.output(1)).to_contain_text("3 selected, in this order: www-4, www-0, www-2")
    book.run(3)
    assert "('www-4', 'www-0', 'www-2')" in book.output(3).inner_text()
    assert_kept(book, 1, 3)


def test_a_command_has_all_that_was_selected_before_it_was_run(lab, tmp_path):
    """Also where the kernel was busy all the time: a page holds states back then, and sends the cell before them."""
    os.mkfifo(tmp_path / "gate")
    shown = "picker = picker_for(rows(40))\npicker"
    book = lab.notebook(tmp_path, SHOWN, shown, "open('gate').readline()", "print(picker.take())")
    book.run(0, 1)
    picker = book.output(1).locator(".hive-picker")
    book.begin(2)
    for name in ("www-4", "www-0", "www-2", "www-0", "www-3"):
        picker.get_by_role("option", name=f"{name},").click()
    expect(picker).to_contain_text("3 selected, in this order: www-4, www-2, www-3")
    book.begin(3)
    go_on(tmp_path / "gate")
    expect(book.output(3)).to_have_text("('www-4', 'www-2', 'www-3')")
    expect(picker).to_contain_text("3 selected, in this order: www-4, www-2, www-3")


HELD_UP = """
import threading
from nixhive_nb.notebook.picker import widget
from nixhive_nb.notebook.picker.widget import OwnPicker
widget._PATIENCE = 3600
asked, settle = threading.Event(), OwnPicker.settle
def held(hear):
    def later(picker, content):
        if threading.current_thread() is not threading.main_thread():
            assert asked.wait(60)
        hear(picker, content)
    return later
OwnPicker.told, OwnPicker.set_state = held(OwnPicker.told), held(OwnPicker.set_state)
OwnPicker.settle = lambda picker: (asked.set(), settle(picker), asked.clear())
"""
"""A thread that hears a page beside the one that runs cells comes to it only when a command has begun."""


def test_a_command_has_what_another_thread_of_the_kernel_has_yet_to_hear(lab, tmp_path):
    """A newer kernel hears widgets in a thread of their own, while cells wait or run."""
    os.mkfifo(tmp_path / "gate")
    shown = f"{HELD_UP}\npicker = picker_for(rows(40))\npicker"
    cells = ("open('gate').readline()", "print(picker.take())", "picker.widget.settle()")
    book = lab.notebook(tmp_path, SHOWN, shown, *cells)
    book.run(0, 1)
    picker = book.output(1).locator(".hive-picker")
    # What the kernel answers to goes by that thread from then on: also when nothing else is on its way.
    picker.get_by_role("option", name="www-4,").click()
    book.run(4, 4)
    book.begin(2)
    for name in ("www-0", "www-2", "www-0", "www-3"):
        picker.get_by_role("option", name=f"{name},").click()
    book.begin(3)
    go_on(tmp_path / "gate")
    expect(book.output(3)).to_have_text("('www-4', 'www-2', 'www-3')")


def test_a_picker_that_a_page_found_again_is_kept_as_a_table(lab, tmp_path):
    """Such a page knows no display ids, by which Python replaces what a cell shows."""
    book = lab.notebook(tmp_path, SHOWN, "picker = picker_for(rows(40))\npicker", "picker")
    book.run()
    book.output(2).locator(".hive-picker").wait_for()
    book.saved()
    lab.reload()
    book.attach()
    picker = book.output(1).locator(".hive-picker")
    # anywidget complains of a model that is closed while the page loads it.
    book.output(2).locator(".hive-picker").wait_for()
    picker.get_by_role("option", name="www-4,").click()
    picker.get_by_role("button", name="Done").click()
    for cell in (1, 2):
        expect(book.output(cell)).to_contain_text("1 selected: www-4")
        expect(book.output(cell).locator(".hive-picker")).to_have_count(0)
    assert_kept(book, 1, 2)


def assert_kept(book, *cells):
    """Say that what cells show is the same when the notebook is opened again, and needs no kernel."""
    seen = [book.output(cell).inner_text() for cell in cells]
    book.reopen()
    assert [book.output(cell).inner_text() for cell in cells] == seen
    assert book.page.locator(".jp-OutputArea").get_by_text("Error displaying widget").count() == 0
    for cell in cells:
        assert [one for one in book.saved().cells[cell].outputs if VIEW in one.get("data", {})] == []


def test_names_in_the_picker_are_only_text(lab, tmp_path):
    book = lab.notebook(tmp_path, SHOWN, "picker = picker_for(nasty_rows())\npicker")
    book.run(0, 1)
    picker = book.output(1)
    picker.get_by_role("option").first.click()
    expect(picker).to_contain_text("1 selected: a<script>")
    assert_harmless(picker)


def test_names_and_lines_of_a_run_are_only_text(lab, tmp_path):
    book = lab.notebook(tmp_path, SHOWN, "deploy_to_the_nasty()")
    book.run(0)
    book.begin(1)
    output = book.output(1)
    output.locator(".hive-row").first.wait_for()
    for button in output.locator(".hive-name").all():
        button.click()
    expect(output.locator("pre").first).to_contain_text("<script>")
    assert_harmless(output)
    book.interrupt()
    assert not book.ended()
    expect(output.locator(".hive-tracker")).to_have_count(0)
    seen = output.inner_text()
    assert "<script>" in seen
    assert_harmless(output)
    book.reopen()
    assert book.output(1).inner_text() == seen
    assert_harmless(book.output(1))


def test_every_text_can_be_read_in_both_themes(lab, tmp_path):
    book = lab.notebook(tmp_path, SHOWN, "picker = picker_for(rows(30), picked=['www-1'])\npicker", "deploy_some()")
    book.run(0, 1)
    book.begin(2)
    output = book.output(2)
    expect(output.locator(".hive-row").first).to_contain_text("✕ fetch failed")
    await_activation(output)
    cancel(output, "Cancel…", "Cancel it")
    output.locator(".hive-head b", has_text="Stopping…").wait_for()
    output.get_by_role("button", name="Leave at once…").click()
    picker = book.output(1)
    assert_read(lab, picker)
    # The kernel is busy, so that it stays as it is.
    picker.get_by_role("button", name="Done").click()
    assert_read(lab, picker, output)
    output.get_by_role("button", name="Leave at once", exact=True).click()
    assert not book.ended()
    expect(picker).to_contain_text("1 selected: www-1")
    expect(picker.locator(".hive-picker")).to_have_count(0)
    assert_read(lab, picker, output.locator(".jp-OutputArea-output").first)


def assert_read(lab, *shown):
    """Say that all texts stand out, in both themes."""
    for theme in ("Dark", "Light"):
        lab.theme(theme)
        assert [faint_in(one) for one in shown] == [[] for _ in shown]


def faint_in(shown):
    """Get what does not stand out from what is behind it: by WCAG 2, words want a contrast of 4.5, signs one of 3."""
    shown.locator("*").first.wait_for()
    return shown.evaluate("(element) => tests.faint(element, 4.5, 3)")


def test_keys_on_a_button_of_the_tracker_do_not_reach_the_notebook(lab, tmp_path):
    book = lab.notebook(tmp_path, SHOWN, "deploy_some()", "1")
    book.run(0)
    book.begin(1)
    output = book.output(1)
    output.get_by_role("button", name="www-2").focus()
    # In the notebook they insert, delete, cut and turn cells, or go on to the next.
    for key in ("a", "d", "d", "x", "m", "ArrowDown"):
        lab.page.keyboard.press(key)
    expect(output.get_by_role("button", name="www-2")).to_be_focused()
    assert lab.ask("[...tests.panels[a[0]].content.model.cells].map((cell) => cell.type)", book.path) == ["code"] * 3
    await_activation(output)
    cancel(output, "Cancel…", "Cancel it")
    cancel(output, "Leave at once…", "Leave at once")
    assert not book.ended()


@pytest.mark.parametrize("script", sorted(WIDGETS.glob("*.js")), ids=lambda path: path.name)
def test_the_script_of_a_widget_is_small(script):
    # It is sent anew for each widget.
    assert script.stat().st_size < 50_000
