"""A practice fleet, deployed from JupyterLab by a person with a mouse or a keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.ui.gates import AT_THE_GATE, open_gate
from tests.ui.notebook import assert_harmless
from tests.ui.pictures import take

pytestmark = [pytest.mark.ui, pytest.mark.fleet]

AT_THE_GATE_OR_LATER = re.compile(f"{AT_THE_GATE}|switch-to-configuration has run for")
LOAD = "%load_ext nixhive_nb"
SCRIPT = rf"""%%hive run web
printf '\033]0;title\007\033[31m<script>window.harmed = 1</script>\033[0m\n'
echo {AT_THE_GATE}
read line < /var/gate
"""


def waits(output, host):
    """Wait until the tracker says that an activation has come to its gate, or that it waits there for ten seconds."""
    row = output.get_by_role("row", name=re.compile(f"^{host} ")).filter(has_text=AT_THE_GATE_OR_LATER)
    row.wait_for()
    return row


def option(picker, instance):
    """Return the row of an instance; what it runs and where it is reached stands in its name as well."""
    return picker.get_by_role("option", name=re.compile(f"^{instance},"))


def tab_to(wanted, key="Tab"):
    """Press Tab until the keyboard is there."""
    for _ in range(20):
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
        wanted.page.keyboard.press(key)
    raise AssertionError(wanted.page.evaluate("document.activeElement.outerHTML"))


def share_done(output):
    """Return how full the bar of the whole run is."""
    return output.locator(".hive-head progress").evaluate("(bar) => bar.value")


def test_targets_are_picked_with_the_mouse_and_deployed(lab, fleet, gates):
    gates.change("www")
    (depot,) = [host.address for host in fleet.lab.status() if host.instance == "depot"]
    fleet.lab.exec("portico", ["ip", "route", "add", "unreachable", depot])
    book = lab.notebook(
        fleet.folder,
        LOAD,
        "asked = %hive status -c example\npicker = %hive targets\npicker",
        "%hive deploy @picked",
        "print(picker.value)\n%hive deploy $picker",
    )
    book.run(0, 1)
    fleet.lab.exec("portico", ["ip", "route", "del", "unreachable", depot])
    picker = book.output(1).locator(".hive-picker")
    option(picker, "portico").click()
    picker.get_by_role("searchbox").fill("www")
    expect(option(picker, "portico")).to_have_count(0)
    option(picker, "www-2").click()
    picker.get_by_role("button", name="Show all").click()
    expect(option(picker, "depot")).to_contain_text("unreachable")
    expect(option(picker, "www-1")).to_contain_text("outdated")
    expect(picker).to_contain_text("2 selected, in this order: portico, www-2")
    take(lab, picker, "picker")
    book.run(2, 3)
    assert "2 of 2 deployed" in book.output(2).inner_text()
    assert "('portico', 'www-2')" in book.output(3).inner_text()
    assert "2 of 2 deployed, all unchanged" in book.output(3).inner_text()
    assert fleet.runs("www-2") != fleet.runs("www-1")


def test_the_tracker_moves_and_leaves_the_record(lab, fleet, gates):
    gates.shut("www", "www-1", "www-2")
    gates.change("portico")
    gates.change("depot", "echo 'mount.nfs: /srv/depot: no such device' >&2; exit 1")
    book = lab.notebook(fleet.folder, LOAD, "%hive deploy -c example portico '*'")
    book.run(0)
    book.begin(1)
    output = book.output(1)
    waits(output, "www-1")
    waits(output, "www-2")
    output.get_by_role("row", name=re.compile("^depot ")).filter(has_text="rolled back").wait_for()
    expect(output.locator(".hive-rest")).to_contain_text("1 done · 1 failed · 2 running")
    # The last lines are there on demand, though the kernel is busy.
    output.get_by_role("button", name="depot").click()
    expect(output.locator("pre").filter(has_text="no such device")).to_be_visible()
    output.get_by_role("button", name="depot").click()
    share = share_done(output)
    gates.open("www-1")
    expect(output.locator(".hive-rest")).to_contain_text("2 done · 1 failed · 1 running")
    assert share_done(output) > share
    gates.open("www-2")
    assert not book.ended()
    expect(output.locator(".hive-tracker")).to_have_count(0)
    assert "3 of 4 deployed, 1 rolled back" in output.inner_text()
    take(lab, output.locator(".jp-OutputArea-output").first, "record")
    # Saved, closed and opened again, it is the same, and it is all that there is.
    seen = output.inner_text()
    book.reopen()
    assert book.output(1).inner_text() == seen
    # A look at the hosts that took more than a second leaves a line of its own.
    *looked, record, error = book.saved().cells[1].outputs
    assert all(one.data["text/plain"].startswith("Looked at what is wanted") for one in looked)
    assert set(record.data) == {"text/html", "text/plain"}
    assert error.ename == "RunFailed"


def test_a_keyboard_is_enough(lab, fleet, gates):
    gates.change("portico")
    before = fleet.runs("portico"), fleet.runs("www-1")
    book = lab.notebook(fleet.folder, LOAD, "", "")
    press, write = lab.page.keyboard.press, lab.page.keyboard.type
    press("Shift+Enter")
    press("Enter")
    write("%hive targets -c example")
    press("Shift+Enter")
    picker = book.output(1).locator(".hive-picker")
    picker.wait_for()
    # Up from the next cell, into the picker, and back again.
    press("ArrowUp")
    tab_to(picker.get_by_role("searchbox"))
    write("name:portico")
    press("ArrowDown")
    press("Space")
    expect(picker).to_contain_text("1 selected: portico")
    tab_to(book.cell(1), "Shift+Tab")
    press("ArrowDown")
    press("Enter")
    write("%hive deploy @picked")
    press("Control+Enter")
    expect(book.output(2)).to_contain_text("1 of 1 deployed")
    assert fleet.runs("portico") != before[0]
    assert fleet.runs("www-1") == before[1]


def test_the_toolbar_interrupts_a_deploy_and_what_is_queued_does_not_run(lab, fleet, gates):
    gates.shut("portico", "portico")
    gates.change("www")
    book = lab.notebook(fleet.folder, LOAD, "%hive deploy -c example portico '*'", "print('it went on')")
    book.begin_all()
    output = book.output(1)
    waits(output, "portico")
    assert book.prompt(2) == "[*]:"
    book.interrupt()
    output.locator(".hive-head b", has_text="Stopping…").wait_for()
    gates.open("portico")
    assert not book.ended()
    record = output.inner_text()
    assert re.search(r"^portico\s+✓ done", record, re.MULTILINE), record
    assert re.search(r"^www-1\s+⊘ cancelled", record, re.MULTILINE), record
    assert "Interrupted" in record
    assert book.prompt(2) == "[ ]:"


def test_cancel_asks_first_and_then_interrupts_the_cell_that_waits(lab, fleet, gates):
    gates.shut("portico", "portico")
    gates.change("www")
    book = lab.notebook(fleet.folder, LOAD, "%hive deploy -c example portico '*'", "print('it went on')")
    book.begin_all()
    output = book.output(1)
    waits(output, "portico")
    cancel = output.get_by_role("button", name="Cancel…")
    cancel.click()
    expect(output.get_by_role("button", name="Go on")).to_be_focused()
    expect(output.get_by_role("group", name="Cancel?")).to_contain_text("activations in progress are finished")
    lab.page.keyboard.press("Escape")
    expect(output.get_by_role("button", name="Cancel it")).to_be_hidden()
    cancel.click()
    output.get_by_role("button", name="Cancel it").click()
    output.locator(".hive-head b", has_text="Stopping…").wait_for()
    gates.open("portico")
    assert not book.ended()
    assert re.search(r"^portico\s+✓ done", output.inner_text(), re.MULTILINE), output.inner_text()
    assert re.search(r"^www-1\s+⊘ cancelled", output.inner_text(), re.MULTILINE), output.inner_text()
    assert book.prompt(2) == "[ ]:"


def test_two_runs_in_the_background_do_not_mix_and_one_is_cancelled_by_the_page(lab, fleet, gates):
    gates.shut("www", "www-1", "www-2")
    gates.shut("portico", "portico")
    book = lab.notebook(
        fleet.folder,
        LOAD,
        "webs = %hive deploy -c example www-1 www-2 --background",
        "gateway = %hive deploy portico --background",
        "print('other things')\n%hive runs",
        "import contextlib\nfor run in (webs, gateway):\n    with contextlib.suppress(Exception):\n        run.wait()",
        "print(webs.report.counts(), gateway.report.counts())",
    )
    book.run(0, 1, 2, 3)
    webs, gateway = book.output(1), book.output(2)
    waits(webs, "www-1")
    waits(gateway, "portico")
    assert "other things" in book.output(3).inner_text()
    webs.get_by_role("button", name="Cancel…").click()
    webs.get_by_role("button", name="Cancel it").click()
    webs.locator(".hive-head b", has_text="Stopping…").wait_for()
    expect(gateway.locator(".hive-head b", has_text="Stopping…")).to_have_count(0)
    gates.open("www-1")
    gates.open("portico")
    book.run(4, 5)
    assert "{'done': 1, 'cancelled': 1} {'done': 1}" in book.output(5).inner_text()
    assert "1 of 2 deployed, 1 cancelled" in webs.inner_text()
    assert "1 of 1 deployed" in gateway.inner_text()
    assert "portico" not in webs.inner_text()
    assert "www" not in gateway.inner_text()


def test_a_page_that_is_loaded_anew_shows_how_it_goes_and_how_it_ended(lab, fleet, gates):
    gates.shut("www", "www-1")
    book = lab.notebook(fleet.folder, LOAD, "run = %hive deploy -c example www-1 --background")
    book.run(0, 1)
    waits(book.output(1), "www-1")
    book.saved()
    lab.reload()
    book.attach()
    output = book.output(1)
    waits(output, "www-1")
    gates.open("www-1")
    expect(output).to_contain_text("1 of 1 deployed")
    expect(output.locator(".hive-tracker")).to_have_count(0)
    # And so it is in the notebook, though Python could not put it there.
    # (Before it stands what was looked at, where that took a while.)
    assert "1 of 1 deployed" in book.saved().cells[1].outputs[-1].data["text/html"]


def test_a_page_that_is_loaded_anew_while_the_cell_waits_shows_how_it_ended(lab, fleet, gates):
    gates.shut("www", "www-1")
    book = lab.notebook(
        fleet.folder, LOAD, "%hive deploy -c example www-1", "runs = %hive history\nruns.iloc[0]['state']"
    )
    book.run(0)
    book.begin(1)
    waits(book.output(1), "www-1")
    book.saved()
    lab.reload()
    book.attach(is_busy=True)
    output = book.output(1)
    gates.open("www-1")
    book.run(2)
    assert "'ended'" in book.output(2).inner_text()
    expect(output).to_contain_text("1 of 1 deployed")
    expect(output.locator(".hive-tracker")).to_have_count(0)
    # And so it is in the notebook, though Python could not put it there.
    # (Before it stands what was looked at, where that took a while.)
    assert "1 of 1 deployed" in book.saved().cells[1].outputs[-1].data["text/html"]


def test_what_a_script_says_on_hosts_is_seen_while_it_runs_and_is_only_text(lab, fleet):
    for host in ("www-1", "www-2"):
        fleet.lab.exec(host, ["sh", "-c", "rm -f /var/gate; mkfifo /var/gate"])
    book = lab.notebook(fleet.folder, LOAD, "%hive load -c example", SCRIPT)
    book.run(0, 1)
    book.begin(2)
    output = book.output(2)
    waits(output, "www-1")
    waits(output, "www-2")
    output.get_by_role("button", name="www-1").click()
    expect(output.locator("pre:visible")).to_contain_text("<script>")
    assert_harmless(output)
    for host in ("www-1", "www-2"):
        open_gate(fleet, host)
    assert book.ended()
    expect(output.locator(".hive-tracker")).to_have_count(0)
    assert "2 hosts said" in output.inner_text()
    assert "<script>" in output.inner_text()
    assert_harmless(output)


def test_a_handle_of_a_run_in_the_background_shows_how_it_goes_and_ends_as_its_record(lab, fleet, gates):
    gates.shut("www", "www-1")
    book = lab.notebook(fleet.folder, LOAD, "run = %hive deploy -c example www-1 --background", "run", "run")
    book.run(0, 1, 2)
    for cell in (1, 2):
        waits(book.output(cell), "www-1")
    gates.open("www-1")
    for cell in (1, 2):
        expect(book.output(cell)).to_contain_text("1 of 1 deployed")
        expect(book.output(cell).locator(".hive-tracker")).to_have_count(0)
    book.run(3)
    expect(book.output(3)).to_contain_text("1 of 1 deployed")
    assert "RunHandle(" not in book.output(2).inner_text()


def test_a_kernel_that_is_restarted_leaves_the_word_that_tells_how_the_run_ended(lab, fleet, gates):
    """F5."""
    gates.shut("www", "www-1")
    book = lab.notebook(fleet.folder, LOAD, "run = %hive deploy -c example www-1 --background", "%hive report")
    book.run(0, 1)
    output = book.output(1)
    waits(output, "www-1")
    book.restart()
    expect(output).to_contain_text("The kernel is gone")
    expect(output.get_by_role("button", name="Cancel")).to_have_count(0)
    command = re.search(r"%hive report \S+ -c \S+", output.inner_text())[0]
    gates.open("www-1")
    book.run(0)
    book.write(2, command)
    book.run(2)
    assert "www-1" in book.output(2).inner_text()
