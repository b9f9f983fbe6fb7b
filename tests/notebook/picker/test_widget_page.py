"""The picker in a real browser, without a notebook around it: keyboard, filter, order, windowing, themes.

The page holds a model that keeps state as the one of Jupyter does; what it would send to the kernel is in `sent`,
and its messages in `told`.
"""

from __future__ import annotations

import json

import pytest

from nixhive_nb.notebook.picker import PickerRow, compact, picker_for, widget
from tests.notebook import browser
from tests.notebook.browser import answers, chromium

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = chromium()
pytestmark = [pytest.mark.ui, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]

ARGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
LIGHT = {
    "--jp-layout-color0": "rgb(255, 255, 255)",
    "--jp-content-font-color1": "rgb(0, 0, 0)",
    "--jp-brand-color1": "rgb(25, 118, 210)",
    "--jp-ui-inverse-font-color0": "rgb(255, 255, 255)",
}
DARK = {
    "--jp-layout-color0": "rgb(17, 17, 17)",
    "--jp-content-font-color1": "rgb(250, 250, 250)",
    "--jp-brand-color1": "rgb(33, 150, 243)",
    "--jp-ui-inverse-font-color0": "rgb(0, 0, 0)",
}
PAGE = """
<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/picker.css">
<script>
  window.heard = [];
  // As Notebook 7 does: on the way down, before any element of the page.
  document.addEventListener("keydown", (event) => heard.push(event.key), true);
</script>
<button id="before">before</button>
<div id="one"><div></div></div><div id="two"><div></div></div>
<button id="after">after</button>
<script type="module">
  import picker from "/picker.js";
  class Model {
    constructor(state) {
      this.state = { ...state, slot: "one", gone: "The kernel is gone." };
      const statusChanged = { connect: (call) => { this.onStatus = call; }, disconnect: () => {} };
      this.widget_manager = { kernel: { statusChanged } };
      this.calls = [];
      this.sent = [];
      this.told = [];
    }
    get(name) { return this.state[name]; }
    set(name, value) {
      if (JSON.stringify(value) === JSON.stringify(this.state[name])) return;
      this.state[name] = value;
      for (const [event, call] of [...this.calls]) if (event === `change:${name}`) call();
    }
    send(said) { this.told.push(said); }
    save_changes() { this.sent.push(this.state.value); }
    on(event, call) { this.calls.push([event, call]); }
    off(event, call) { this.calls = this.calls.filter(([one, other]) => one !== event || other !== call); }
  }
  window.python = (id, html) => { document.querySelector(`#${id} > div`).innerHTML = html; };
  window.start = (state, places) => {
    window.model = new Model(state);
    for (const id of places) python(id, '<div class="hive-slot-one">the table</div>');
    window.end = picker.initialize({ model });
  };
  window.ready = true;
</script>
"""


def fleet(count=40):
    """`count` instances www-1, db-2, www-3 …, the odd ones web servers in the east."""
    return [
        PickerRow(
            instance=f"{'www' if at % 2 else 'db'}-{at}",
            system="server" if at % 2 else "database",
            tags=("east", "web") if at % 2 else ("west",),
            via="portico",
            runs={3: "outdated", 4: "unreachable"}.get(at, "in sync"),
        )
        for at in range(1, count + 1)
    ]


@pytest.fixture(scope="module")
def window():
    """One page of one browser for all tests, and the errors of its scripts."""
    serve = answers(widget, PAGE)
    with playwright.sync_playwright() as started, browser.window(started, CHROMIUM, ARGS, serve) as (one, errors):
        yield one, errors


@pytest.fixture
def page(window):
    one, errors = window
    one.goto("http://picker.test/")
    one.wait_for_function("window.ready")
    yield one
    assert not errors


def show(page, rows=None, *, picked=(), views=("one",)):
    state = {"table": compact(fleet() if rows is None else rows), "value": list(picked), "at": 0, "done": False}
    page.evaluate("([state, views]) => start(state, views)", [json.loads(json.dumps(state)), list(views)])


def value(page):
    return page.evaluate("model.get('value')")


def options(page, place="one"):
    """The names of the rows that are drawn, from top to bottom."""
    return page.locator(f"#{place} .hp-row .hp-name").all_text_contents()


def active(page):
    """The name of the row that the keyboard is on, as a screen reader finds it."""
    holder = page.get_by_role("listbox").get_attribute("aria-activedescendant")
    return page.locator(f"[id='{holder}'] .hp-name").text_content()


def line(page):
    return page.locator("#one .hp-line").text_content()


class TestFilter:
    @pytest.mark.parametrize(
        ("words", "names"),
        [
            ("www-3", ["www-3", "www-31", "www-33", "www-35", "www-37", "www-39"]),
            ("WEB 7", ["www-7", "www-17", "www-27", "www-37"]),
            ("database portico 1", ["db-10", "db-12", "db-14", "db-16", "db-18"]),
            ("www-?", ["www-1", "www-3", "www-5", "www-7", "www-9"]),
            ("*-4", ["db-4"]),
            ("tag:west name:3", ["db-30", "db-32", "db-34", "db-36", "db-38"]),
            ("name:portico", []),
            ("via:portico system:data db-4", ["db-4", "db-40"]),
            ("(.*", []),
        ],
    )
    def test_all_words_must_fit(self, page, words, names):
        show(page)
        page.get_by_role("searchbox").fill(words)
        assert options(page) == names
        assert page.locator(".hp-count").text_content() == f"{len(names)} of 40 shown"
        assert page.get_by_text("No instance matches.").is_visible() == (not names)

    def test_chips_narrow_down_and_count_what_would_be_shown(self, page):
        show(page)
        chip = {name: page.get_by_role("button", name=name) for name in ("tag web", "tag west", "state", "system data")}
        assert chip["tag web"].text_content() == "web 20"
        chip["tag web"].click()
        assert chip["tag web"].get_attribute("aria-pressed") == "true"
        assert chip["tag west"].text_content() == "west 0"
        assert page.locator(".hp-count").text_content() == "20 of 40 shown"
        chip["tag web"].click()
        assert page.locator(".hp-count").text_content() == "40 instances"
        page.get_by_role("searchbox").fill("www")
        assert chip["system data"].text_content() == "database 0"

    def test_states_but_those_that_are_well_have_chips(self, page):
        show(page)
        texts = page.get_by_role("group", name="runs").get_by_role("button").all_text_contents()
        assert texts == ["outdated 1", "unreachable 1"]
        page.get_by_role("button", name="state unreachable").click()
        assert options(page) == ["db-4"]
        page.get_by_role("button", name="state outdated").click()
        assert options(page) == ["www-3", "db-4"]
        page.get_by_role("button", name="Show all").click()
        assert page.locator(".hp-count").text_content() == "40 instances"

    def test_what_is_not_known_is_not_shown(self, page):
        rows = [PickerRow(instance=f"www-{n}", system="www", tags=(), via="") for n in range(3)]
        show(page, rows)
        assert page.locator(".hp-header span").all_text_contents() == ["", "instance", "system"]
        assert page.locator(".hp-chip").count() == 0

    def test_many_chips_stand_behind_a_button(self, page):
        rows = [PickerRow(instance=f"n{at}", system="one", tags=(f"rack-{at:02}",), via="") for at in range(30)]
        show(page, rows)
        chips = page.get_by_role("group", name="tags").get_by_role("button")
        assert chips.count() == 13
        page.get_by_role("button", name="18 more").click()
        assert chips.count() == 31
        page.get_by_role("button", name="tag rack-29").click()
        page.get_by_role("button", name="fewer").click()
        assert chips.count() == 14
        assert options(page) == ["n29"]


class TestSelection:
    def test_it_keeps_the_order_of_the_clicks(self, page):
        show(page)
        for name in ("www-5", "db-2", "www-1"):
            page.get_by_role("option", name=f"{name},").click()
        assert value(page) == ["www-5", "db-2", "www-1"]
        assert line(page) == "3 selected, in this order: www-5, db-2, www-1 → %hive deploy @picked"
        page.get_by_role("option", name="db-2,").click()
        assert value(page) == ["www-5", "www-1"]
        assert page.evaluate("model.sent.at(-1)") == ["www-5", "www-1"]

    def test_python_is_told_each_change_at_once(self, page):
        """The state itself may be held back."""
        rows = fleet()
        show(page, rows, picked=["www-9", "db-4"])
        there = picker_for(rows, picked=["www-9", "db-4"], widgets="own")
        for name, keys in (("www-5", []), ("www-9", []), ("db-8", ["Shift"]), ("www-1", ["Shift"])):
            page.get_by_role("option", name=f"{name},").click(modifiers=keys)
            *_, said = page.evaluate("model.told.splice(0)")
            there.widget.told(said)
            assert list(there.value) == value(page)
        there.close()

    def test_the_page_answers_behind_all_that_it_has_told(self, page):
        show(page)
        page.get_by_role("option", name="www-5,").click()
        page.evaluate("for (const [event, call] of model.calls) if (event === 'msg:custom') call({ asks: 3 })")
        assert page.evaluate("model.told.slice(-2)") == [
            {"picked": ["www-5"], "at": 1},
            {"picked": ["www-5"], "at": 1, "answers": 3},
        ]

    def test_all_or_none_of_what_is_shown(self, page):
        show(page, picked=["db-4"])
        page.get_by_role("searchbox").fill("www-1")
        page.get_by_role("button", name="Select shown").click()
        assert value(page) == ["db-4", "www-1", "www-11", "www-13", "www-15", "www-17", "www-19"]
        assert line(page).startswith("7 selected (1 not shown), in this order: db-4, www-1, ")
        page.get_by_role("button", name="Clear shown").click()
        assert value(page) == ["db-4"]
        page.get_by_role("button", name="Show all").click()
        page.get_by_role("button", name="Clear", exact=True).click()
        assert value(page) == []
        assert line(page) == "Nothing is selected."

    def test_a_long_one_is_cut_with_a_count(self, page):
        show(page)
        page.get_by_role("button", name="Select shown").click()
        assert len(value(page)) == 40
        assert line(page).endswith(", www-7, db-8 and 32 more → %hive deploy @picked")

    def test_two_views_and_python_stay_in_step(self, page):
        show(page, views=("one", "two"))
        page.locator("#one").get_by_role("option", name="www-1,").click()
        assert page.locator("#two [aria-selected=true] .hp-name").all_text_contents() == ["www-1"]
        page.evaluate("model.set('value', ['db-2', 'www-1'])")
        for place in ("#one", "#two"):
            assert "2 selected, in this order: db-2, www-1" in page.locator(f"{place} .hp-line").text_content()

    def test_a_view_that_is_closed_leaves_nothing_behind(self, page):
        show(page, views=("one", "two"))
        of_slot = page.evaluate("model.calls.filter(([event]) => event === 'change:stays').length")
        heard = page.evaluate("model.calls.length")
        page.evaluate("python('one', 'the table')")
        assert page.locator(".hive-picker").count() == 1
        assert page.locator("#one").inner_text() == "the table"
        assert page.evaluate("model.calls.length") == of_slot + (heard - of_slot) / 2
        page.locator("#two").get_by_role("option", name="www-1,").click()
        assert value(page) == ["www-1"]


class TestDone:
    def test_the_page_asks_python_and_waits(self, page):
        show(page, picked=["db-4"], views=("one", "two"))
        one = page.locator("#one")
        one.get_by_role("option", name="www-1,").click()
        one.get_by_role("button", name="Done").click()
        assert page.evaluate("[model.get('value'), model.get('done')]") == [["db-4", "www-1"], True]
        for place in ("#one", "#two"):
            button = page.locator(place).get_by_role("button", name="Done…")
            assert button.get_attribute("aria-disabled") == "true"

    def test_nothing_can_be_selected_while_it_waits(self, page):
        show(page, picked=["db-4"])
        done = page.get_by_role("button", name="Done")
        done.click()
        sent = page.evaluate("model.sent.length")
        page.get_by_role("option", name="www-1,").click()
        page.get_by_role("button", name="Select shown").click()
        page.get_by_role("button", name="Clear", exact=True).click()
        done.focus()
        page.keyboard.press("Enter")
        assert value(page) == ["db-4"]
        assert page.evaluate("model.sent.length") == sent

    def test_the_keyboard_goes_on_from_the_cell(self, page):
        show(page)
        page.evaluate("document.getElementById('one').parentElement.tabIndex = -1")
        page.get_by_role("button", name="Done").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("model.get('done')")
        assert page.evaluate("document.activeElement === document.getElementById('one').parentElement")

    def test_a_page_that_has_no_notebook_gets_what_stays_as_text(self, page):
        show(page)
        page.evaluate("model.set('stays', {'text/plain': '1 selected: www-1'}); end()")
        assert "1 selected: www-1" in page.locator("#one").inner_text()
        assert page.locator(".hive-picker").count() == 0

    def test_when_the_kernel_is_gone_nothing_can_be_picked_and_it_says_so(self, page):
        """F5."""
        show(page, picked=["www-1"])
        page.evaluate("model.onStatus(null, 'dead')")
        assert "The kernel is gone." in page.locator("#one").inner_text()
        page.get_by_role("option", name="www-3,", include_hidden=True).click(force=True)
        assert value(page) == ["www-1"]


class TestKeyboard:
    def test_tab_goes_through_in_the_order_of_the_page(self, page):
        show(page)
        page.locator("#before").focus()
        seen = []
        for _ in range(7):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.className || document.activeElement.id"))
        assert seen == ["hp-filter", "hp-button", "hp-button", "hp-chip", "hp-list", "hp-button", "after"]

    def test_arrows_go_and_space_selects(self, page):
        show(page)
        page.get_by_role("searchbox").focus()
        page.keyboard.press("ArrowDown")
        assert active(page) == "www-1"
        for key in ("Space", "ArrowDown", "ArrowDown", "Space", "ArrowUp", "ArrowUp", "ArrowUp", "Space"):
            page.keyboard.press(key)
        assert value(page) == ["www-3"]
        for key, name in (("End", "db-40"), ("PageUp", "www-29"), ("Home", "www-1"), ("PageDown", "db-12")):
            page.keyboard.press(key)
            assert active(page) == name
            assert page.locator(".hp-active").is_visible()

    def test_shift_selects_a_range_that_can_shrink(self, page):
        show(page, picked=["db-40"])
        page.get_by_role("listbox").focus()
        page.keyboard.press("ArrowDown")
        for key in ("Shift+ArrowDown", "Shift+ArrowDown"):
            page.keyboard.press(key)
        assert value(page) == ["db-40", "db-2", "www-3", "db-4"]
        page.keyboard.press("Shift+ArrowUp")
        assert value(page) == ["db-40", "db-2", "www-3"]
        page.keyboard.press("Shift+Home")
        assert value(page) == ["db-40", "db-2", "www-1"]
        page.get_by_role("option", name="www-5,").click(modifiers=["Shift"])
        assert value(page) == ["db-40", "db-2", "www-3", "db-4", "www-5"]

    def test_control_a_selects_what_is_shown_and_takes_it_back(self, page):
        show(page)
        page.get_by_role("searchbox").fill("www-3")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Control+a")
        assert value(page) == ["www-3", "www-31", "www-33", "www-35", "www-37", "www-39"]
        page.keyboard.press("Control+a")
        assert value(page) == []

    def test_arrows_go_from_chip_to_chip(self, page):
        show(page)
        page.get_by_role("button", name="tag web").focus()
        page.keyboard.press("End")
        page.keyboard.press("Space")
        assert options(page) == ["db-4"]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.textContent") == "unreachable 1"
        assert page.get_by_role("toolbar").locator("[tabindex='0']").count() == 1

    def test_the_notebook_around_it_does_not_hear_what_is_meant_for_it(self, page):
        """In command mode A inserts a cell, D D deletes one, and arrows go to another."""
        show(page)
        page.get_by_role("listbox").focus()
        for key in ("a", "d", "ArrowDown", "Space", "Control+a", "Control+s"):
            page.keyboard.press(key)
        page.get_by_role("button", name="Clear").focus()
        for key in ("d", "Enter"):
            page.keyboard.press(key)
        assert page.evaluate("heard") == ["Control", "Control", "s"]
        page.keyboard.press("Shift+Enter")
        assert page.evaluate("heard.slice(-2)") == ["Shift", "Enter"]

    def test_the_keyboard_stays_on_its_instance_when_the_filter_changes(self, page):
        show(page)
        page.get_by_role("listbox").focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowUp")
        page.get_by_role("searchbox").fill("www-3")
        assert active(page) == "www-39"
        page.get_by_role("searchbox").fill("db")
        assert active(page) == "db-2"


class TestManyInstances:
    def test_only_what_is_seen_is_drawn(self, page):
        show(page, fleet(10_000))
        assert page.locator(".hp-count").text_content() == "10,000 instances"
        assert len(options(page)) < 40
        page.get_by_role("listbox").focus()
        page.keyboard.press("End")
        assert active(page) == "db-10000"
        assert len(options(page)) < 40
        last = page.get_by_role("option", name="db-10000,")
        assert (last.get_attribute("aria-posinset"), last.get_attribute("aria-setsize")) == ("10000", "10000")
        page.locator(".hp-list").evaluate("list => { list.scrollTop = 130_000; }")
        page.wait_for_function("document.querySelector('.hp-row').dataset.place > 4900")
        drawn = options(page)
        assert len(drawn) < 40
        assert drawn[-1] == "db-10000", "the row of the keyboard is always there"
        page.get_by_role("searchbox").fill("www 999")
        assert page.locator(".hp-list").evaluate("list => list.scrollTop") == 0
        assert options(page)[0] == "www-999"

    def test_all_of_them_can_be_selected(self, page):
        show(page, fleet(10_000))
        page.get_by_role("button", name="Select shown").click()
        assert len(value(page)) == 10_000
        assert page.evaluate("model.sent.length") == 1
        assert "10,000 selected, in this order: www-1," in line(page)


class TestScreenReader:
    def test_every_control_has_a_role_and_a_name(self, page):
        show(page, picked=["www-1"])
        tree = page.locator("#one").aria_snapshot()
        for said in (
            'group "Choose targets"',
            'searchbox "Filter instances by name, system, tag or via"',
            'button "Select shown"',
            'button "tag web: 20 match"',
            'listbox "Instances"',
            'button "Done"',
            'option "www-1, system server, tags east web, via portico, runs ✓ in sync" [selected]',
        ):
            assert said in tree
        assert page.get_by_role("listbox").get_attribute("aria-multiselectable") == "true"

    def test_it_is_told_what_is_shown_and_selected_when_that_rests(self, page):
        # Long pauses end when this test says so; the short ones are Playwright's own.
        page.evaluate(
            "window.timers = []; const start = setTimeout;"
            "window.setTimeout = (call, pause) => (pause > 500 ? timers.push(call) : start(call, pause))"
        )
        show(page)
        page.get_by_role("searchbox").press_sequentially("www-1")
        page.get_by_role("button", name="Select shown").click()
        assert page.locator(".hp-spoken").text_content() == ""
        assert page.evaluate("timers.length") == 1
        page.evaluate("timers.pop()()")
        assert page.locator(".hp-spoken").text_content() == "6 of 40 shown, 6 selected"
        page.get_by_role("button", name="Clear shown").click()
        page.get_by_role("button", name="Done").click()
        assert page.evaluate("timers.length") == 1
        page.evaluate("timers.pop()()")
        assert page.locator(".hp-spoken").text_content() == "Done. The kernel hears it when it is free."


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_those_of_the_page_and_follow_them(page, theme):
    show(page)
    page.evaluate(
        "theme => Object.entries(theme).forEach(([name, value]) => document.body.style.setProperty(name, value))", theme
    )
    page.get_by_role("button", name="tag web").click()
    look = "element => { const look = getComputedStyle(element); return [look.backgroundColor, look.color]; }"
    ground, ink, brand, inverse = theme.values()
    assert page.locator(".hive-picker").evaluate(look) == [ground, ink]
    assert page.get_by_role("button", name="tag web").evaluate(look) == [brand, inverse]


def test_text_from_a_deployment_is_harmless(page):
    nasty = "\x1b[31m<img src=x onerror=alert(1)><script>alert(2)</script>\u202e"
    rows = [PickerRow(instance=f"{n}{nasty}", system=nasty, tags=(nasty,), via=nasty, runs=nasty) for n in range(2)]
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    show(page, rows)
    page.get_by_role("option").first.click()
    assert value(page) == [f"0{nasty}"]
    assert page.locator(".hive-picker").locator("img, script").count() == 0
    shown = page.locator(".hive-picker").text_content()
    assert "0<img src=x onerror=alert(1)><script>" in shown
    assert not set(shown) & {"\x1b", "\u202e"}


def test_an_empty_deployment_says_so(page):
    show(page, [])
    assert page.get_by_text("There are no instances.").is_visible()
    page.get_by_role("listbox").focus()
    for key in ("ArrowDown", "Shift+End", "Space", "Shift+Space", "Control+a"):
        page.keyboard.press(key)
    assert value(page) == []
