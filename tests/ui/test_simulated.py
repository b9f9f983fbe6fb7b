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
from tests.ui.notebook import assert_harmless
from tests.ui.pictures import take

pytestmark = pytest.mark.ui

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
MEASURE = """(picker) => {
  const box = picker.querySelector("[type=search]");
  return ["web", "www-99", "rack-7 portico-3", "nothing has this", "*-1?0", "system:system-4"].map((words) => {
    box.value = words;
    const began = performance.now();
    box.dispatchEvent(new Event("input", { bubbles: true }));
    picker.getBoundingClientRect();  // with the layout
    return performance.now() - began;
  });
}"""


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
    # One output, at first without a widget, then with one that has a layout, in the end the record.
    told = kinds.pop("comm_msg")
    assert kinds == {"display_data": 1, "update_display_data": 2, "comm_open": 2}
    assert 2 < told < 5 * seconds
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
    (tmp_path / "pipe").write_text("more")
    expect(fetching).to_contain_text("45.0 of at most 60.0 MB")
    cancel(output, "Cancel…", "Cancel it")
    output.get_by_text("Stopping…", exact=True).wait_for()
    cancel(output, "Leave at once…", "Leave at once")
    assert not book.ended()
    assert re.search(r"^www-1\s+\? unknown", output.inner_text(), re.MULTILINE), output.inner_text()
    assert re.search(r"^www-2\s+⊘ cancelled", output.inner_text(), re.MULTILINE), output.inner_text()


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
    times = picker.evaluate(MEASURE)
    assert min(times) < 100
    picker.get_by_role("searchbox").fill("rack-7")
    expect(picker.locator(".hp-count")).to_have_text("200 of 10,000 shown")
    assert picker.get_by_role("option").count() < 50
    picker.get_by_role("button", name="Select shown").click()
    book.run(2)
    assert "200 ('www-7', 'www-57', 'www-107')" in book.output(2).inner_text()


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


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_text_can_be_read(lab, tmp_path, theme):
    lab.theme(theme)
    book = lab.notebook(tmp_path, SHOWN, "picker = picker_for(rows(30), picked=['www-1'])\npicker", "deploy_some()")
    book.run(0, 1)
    book.begin(2)
    output = book.output(2)
    expect(output.locator(".hive-row").first).to_contain_text("✕ fetch failed")
    cancel(output, "Cancel…", "Cancel it")
    output.get_by_text("Stopping…", exact=True).wait_for()
    output.get_by_role("button", name="Leave at once…").click()
    assert faint_in(book.output(1)) == []
    assert faint_in(output) == []
    output.get_by_role("button", name="Leave at once", exact=True).click()
    assert not book.ended()
    assert faint_in(output.locator(".jp-OutputArea-output").first) == []


def faint_in(shown):
    """Give the texts that hardly stand out from what is behind them: a contrast below 3, by WCAG 2."""
    shown.locator("*").first.wait_for()
    return shown.evaluate("(element) => tests.faint(element, 3)")


@pytest.mark.parametrize("script", sorted(WIDGETS.glob("*.js")), ids=lambda path: path.name)
def test_the_script_of_a_widget_is_small(script):
    # It is sent anew for each widget.
    assert script.stat().st_size < 50_000
