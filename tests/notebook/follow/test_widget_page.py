"""The tracker in a real browser, without a notebook around it: what it draws, opens, asks and says.

The page holds a model as Jupyter has one: `tell` is a message of the kernel, `snapshot` its state; what the page would
send is in `sent`. The time of the page is that of the tests.
"""

from __future__ import annotations

import pytest

from nixhive_nb.notebook.follow import widget
from nixhive_nb.notebook.follow.widget import delta_of, state_of
from tests.notebook import browser
from tests.notebook.browser import answers, chromium
from tests.notebook.follow.test_widget import NASTY, row, view, wave

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = chromium()
pytestmark = [pytest.mark.ui, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]

ARGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
PAGE = """
<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/tracker.css">
<div><div class="jp-OutputArea-output"><div class="hive-slot-one">so far</div></div></div>
<script type="module">
  import tracker from "/tracker.js";
  class Model {
    constructor(snapshot, kernel) {
      this.state = { snapshot, slot: "one", stays: {}, gone: "The kernel is gone." };
      this.calls = [];
      this.sent = [];
      this.interrupts = this.hellos = 0;
      const statusChanged = { connect: (call) => { this.onStatus = call; }, disconnect: () => {} };
      if (kernel) this.widget_manager = { kernel: { interrupt: () => this.interrupt(kernel), statusChanged } };
    }
    interrupt(kernel) {
      this.interrupts += 1;
      return kernel === "broken" ? Promise.reject(new Error("no")) : Promise.resolve();
    }
    get(name) { return this.state[name]; }
    send(content) { if (content.hello) this.hellos += 1; else this.sent.push(content); }
    on(event, call) { this.calls.push([event, call]); }
    off(event, call) { this.calls = this.calls.filter(([one, other]) => one !== event || other !== call); }
    fire(event, told) { for (const [one, call] of [...this.calls]) if (one === event) call(told); }
  }
  window.start = (snapshot, kernel) => {
    window.model = new Model(snapshot, kernel);
    window.end = tracker.initialize({ model });
  };
  window.tell = (delta) => model.fire("msg:custom", delta);
  window.snapshot = (told) => { model.state.snapshot = told; model.fire("change:snapshot"); };
  window.kernelIs = (status) => model.onStatus(null, status);
  window.stays = (told) => { model.state.stays = told; model.fire("change:stays"); };
  window.python = (html) => { document.querySelector(".jp-OutputArea-output").innerHTML = html; };
  window.ready = true;
</script>
"""
FACTS = "26 of 40 steps · 00:07 · 39.2 of 61.4 MB · 21.0 MB/s, about 4 s to move"


@pytest.fixture(scope="module")
def window():
    """One page of one browser for all tests, and the errors of its scripts."""
    serve = answers(widget, PAGE)
    with playwright.sync_playwright() as started, browser.window(started, CHROMIUM, ARGS, serve) as (one, errors):
        one.clock.install()
        yield one, errors


class Told:
    """A page, and the kernel's side of it."""

    def __init__(self, page):
        self.page = page
        self.n = 0

    def start(self, first, *, blocking=True, kernel="", tails=None):
        self.blocking = blocking
        self.state = state_of(first, blocking=blocking)
        self.page.evaluate("([told, kernel]) => start(told, kernel)", [self.whole(tails), kernel])

    def whole(self, tails=None, **more):
        return {"n": self.n, **self.state, "tails": tails or {}, **more}

    def tell(self, shown, *, heard=0, lost=False):
        """Tell a view as a delta; one that is `lost` never gets there."""
        state = state_of(shown, blocking=self.blocking, heard=heard)
        delta, self.state = delta_of(self.state, state), state
        self.n += 1
        if not lost:
            self.page.evaluate("(told) => tell(told)", {"n": self.n, **delta})
            self.page.clock.run_for(50)

    def snapshot(self, **more):
        self.page.evaluate("(told) => snapshot(told)", self.whole(**more))
        self.page.clock.run_for(50)

    def lines(self):
        """What stands in the rows that can be seen."""
        return [
            " | ".join(filter(None, (cell.strip() for cell in one.locator("th,td").all_inner_texts())))
            for one in self.page.locator("tbody tr:visible").all()
        ]

    def text(self, where):
        return self.page.locator(where).inner_text()

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)


@pytest.fixture
def told(window):
    page, errors = window
    page.goto("http://tracker.test/")
    page.wait_for_function("window.ready")
    # From here on it goes on only when a test says so.
    page.clock.pause_at((page.evaluate("Date.now()") + 60_000) / 1000)
    yield Told(page)
    page.clock.resume()
    assert not errors


class TestDrawing:
    def test_the_head_the_waves_the_rows_and_the_rest(self, told):
        told.start(
            view(
                row("www-3", state="✕ fetch failed", tone="bad", seconds=2.1, line="host key"),
                row("www-1", fraction=0.45, amount="27.1 of 60.2 MB", seconds=75.2, line="copying"),
                facts=FACTS,
                fraction=0.64,
                waves=(wave(1, done=1), wave(2, done=3, failed=1, total=9)),
                rest="instances: 1 done",
            )
        )
        assert told.text(".hive-head b") == "Deploying"
        assert FACTS in told.text(".hive-head")
        assert told.page.locator(".hive-head progress").get_attribute("value") == "0.64"
        assert told.page.locator(".hive-waves li").all_inner_texts() == [
            "✓ wave 1: 1 of 1 done",
            "✕ wave 2: 3 of 9 done, 1 failed",
        ]
        assert told.lines() == [
            "www-3 | ✕ fetch failed | 2.1 s | host key",
            "www-1 | ● fetching | 27.1 of 60.2 MB | 1 min 15 s | copying",
        ]
        assert told.text(".hive-rest") == "instances: 1 done"
        assert told.page.locator("tbody progress:visible").count() == 1

    def test_deltas_change_add_move_and_take_away_rows(self, told):
        told.start(view(row("a"), row("b"), row("c")))
        told.tell(view(row("c", tone="bad", state="✕ failed"), row("b", line="news"), row("d")))
        assert [line.split(" | ")[0] for line in told.lines()] == ["c", "b", "d"]
        assert "✕ failed" in told.lines()[0]
        assert "news" in told.lines()[1]

    def test_a_missed_message_is_healed_by_the_next_snapshot(self, told):
        told.start(view(row("a")))
        told.tell(view(row("a"), row("b"), facts="lost"), lost=True)
        told.tell(view(row("a"), row("b", line="x"), facts="later"))
        assert told.lines() == ["a | ● fetching | 0 s"]
        assert "00:00" in told.text(".hive-head")
        told.snapshot()
        told.tell(view(row("a"), row("b", line="y"), facts="goes on"))
        assert told.lines() == ["a | ● fetching | 0 s", "b | ● fetching | 0 s | y"]
        assert "goes on" in told.text(".hive-head")

    def test_an_older_snapshot_changes_nothing(self, told):
        told.start(view(row("a")))
        old = told.whole()
        told.tell(view(row("a", line="news")))
        told.page.evaluate("(told) => snapshot(told)", old)
        assert "news" in told.lines()[0]

    def test_the_time_of_what_runs_goes_on_by_itself(self, told):
        told.start(view(row("runs", seconds=7.0), row("failed", tone="bad", seconds=2.1)))
        told.page.clock.run_for(3000)
        assert "10 s" in told.lines()[0]
        assert "2.1 s" in told.lines()[1]

    def test_text_from_elsewhere_is_text(self, told):
        told.start(view(row("a", line=NASTY, name=NASTY), title=NASTY), tails={"a": ["<img src=x onerror=alert(1)>"]})
        told.page.locator("tbody button").click()
        assert told.page.locator(".hive-widget script, .hive-widget img").count() == 0
        assert "<script>alert('x')</script>" in told.text(".hive-head b")
        assert "<img" in told.text("tbody pre")

    def test_a_screen_reader_finds_a_table_and_is_not_told_all(self, told):
        told.start(view(row("a"), fraction=0.5, facts="first"))
        said = told.page.locator("[aria-live=polite]")
        assert "first" in said.text_content()
        assert told.page.get_by_role("columnheader", name="last line").count() == 1
        assert told.page.get_by_role("rowheader", name="a").count() == 1
        assert told.page.get_by_role("progressbar", name="The whole run").count() == 1
        told.tell(view(row("a"), facts="second"))
        assert "first" in said.text_content()
        told.page.clock.run_for(10_000)
        told.tell(view(row("a"), facts="third"))
        assert "third" in said.text_content()
        told.tell(view(row("a"), facts="fourth", stopping=True))
        assert "Stopping… fourth" in said.text_content()


class TestLastLines:
    def test_a_row_is_opened_by_a_click_and_by_the_keyboard_without_the_kernel(self, told):
        told.start(view(row("a"), row("b")), tails={"a": ["one", "two"]})
        told.page.locator("tbody tr", has_text="● fetching").first.click()
        assert told.text("tbody pre:visible") == "one\ntwo"
        told.button("a").focus()
        told.page.keyboard.press("Enter")
        assert told.page.locator("tbody pre:visible").count() == 0
        told.button("b").focus()
        told.page.keyboard.press("Enter")
        assert told.text("tbody pre:visible") == "It said nothing so far."
        assert told.button("b").get_attribute("aria-expanded") == "true"
        assert told.page.evaluate("model.sent") == []

    def test_what_is_open_stays_open_keeps_the_focus_and_is_renewed(self, told):
        told.start(view(row("a"), row("b")), tails={"b": ["old"]})
        told.button("b").click()
        told.tell(view(row("b", line="new"), row("a")))
        told.snapshot(tails={"b": ["old", "new"]})
        assert told.text("tbody pre:visible") == "old\nnew"
        assert told.page.evaluate("document.activeElement.textContent") == "b"


class TestCancelling:
    def test_it_asks_first_and_may_go_on(self, told):
        told.start(view(row("a")), kernel="there")
        told.button("Cancel…").click()
        assert "Nothing more is started; activations in progress are finished." in told.text(".hive-question")
        assert told.page.evaluate("document.activeElement.textContent") == "Go on"
        told.page.keyboard.press("Enter")
        told.button("Cancel…").click()
        told.page.keyboard.press("Escape")
        assert told.page.locator(".hive-question").is_hidden()
        assert told.page.evaluate("[model.interrupts, model.sent]") == [0, []]

    def test_where_the_cell_waits_it_interrupts_the_kernel(self, told):
        told.start(view(row("a")), kernel="there")
        told.button("Cancel…").click()
        told.button("Cancel it").click()
        assert told.page.evaluate("[model.interrupts, model.sent]") == [1, []]
        told.tell(view(row("a"), stopping=True))
        assert told.text(".hive-head b") == "Stopping…"
        assert told.page.locator(".hive-note").text_content() == ""
        told.button("Leave at once…").click()
        assert "how they end will not be known" in told.text(".hive-question")
        told.button("Leave at once").click()
        assert told.page.evaluate("[model.interrupts, model.sent]") == [2, []]

    @pytest.mark.parametrize("kernel", ["", "broken"])
    def test_where_the_page_cannot_interrupt_it_says_who_can(self, told, kernel):
        told.start(view(row("a")), kernel=kernel)
        told.button("Cancel…").click()
        told.button("Cancel it").click()
        told.page.wait_for_function("document.querySelector('.hive-note').textContent.includes('toolbar')")
        assert told.page.evaluate("model.sent") == ([] if kernel else [{"cancel": True}])

    def test_in_the_background_it_tells_the_kernel_and_says_when_that_is_busy(self, told):
        told.start(view(row("a")), blocking=False, kernel="there")
        told.button("Cancel…").click()
        told.button("Cancel it").click()
        assert told.page.evaluate("[model.interrupts, model.sent]") == [0, [{"cancel": True}]]
        assert told.text(".hive-tracker").count("busy") == 0
        told.page.clock.run_for(2_500)
        assert "busy with another cell" in told.text(".hive-note")
        told.tell(view(row("a"), stopping=True), heard=1)
        assert told.page.locator(".hive-note").text_content() == ""

    def test_a_kernel_that_answers_is_not_called_busy(self, told):
        told.start(view(row("a")), blocking=False)
        told.button("Cancel…").click()
        told.button("Cancel it").click()
        told.tell(view(row("a"), stopping=True), heard=1)
        told.page.clock.run_for(2_500)
        assert told.page.locator(".hive-note").text_content() == ""

    def test_a_question_that_no_longer_fits_is_taken_back(self, told):
        told.start(view(row("a")), kernel="there")
        told.button("Cancel…").click()
        told.tell(view(row("a"), stopping=True))
        assert told.page.locator(".hive-question").is_hidden()


class TestSlot:
    """The widget stands in for HTML that the cell has, and is seen where that would be."""

    def seen(self, told):
        return told.page.locator("body").inner_text()

    def test_it_is_seen_in_place_of_the_html_and_says_hello(self, told):
        told.start(view(row("a")))
        assert "so far" not in self.seen(told)
        assert told.page.evaluate("model.hellos") == 1

    def test_html_that_is_written_anew_neither_shows_nor_disturbs_it(self, told):
        told.start(view(row("a")))
        told.button("a").click()
        told.page.evaluate("python('<div class=\"hive-slot-one\">later</div>')")
        assert "later" not in self.seen(told)
        assert told.button("a").get_attribute("aria-expanded") == "true"

    def test_it_goes_when_python_puts_something_else_in_its_place(self, told):
        told.start(view(row("a")))
        told.page.evaluate("python('the record')")
        assert self.seen(told).strip() == "the record"

    def test_it_is_seen_as_soon_as_the_html_is_there(self, told):
        told.page.evaluate("python('')")
        told.start(view(row("a")))
        told.page.evaluate("python('<div class=\"hive-slot-one\">so far</div>')")
        assert "Deploying" in self.seen(told)

    def test_two_models_of_one_widget_show_it_once(self, told):
        """Two notebooks of one page may have the same kernel."""
        told.start(view(row("a")))
        told.start(view(row("a")))
        assert told.page.locator(".hive-tracker").count() == 1

    def test_a_page_that_was_loaded_anew_gets_the_record_as_text_and_keeps_it(self, told):
        told.start(view(row("a")))
        told.page.evaluate("stays({ 'text/plain': '3 of 4 deployed <b>' })")
        assert "3 of 4" not in self.seen(told)
        told.page.clock.run_for(1_000)
        for _ in range(2):
            assert "loaded anew" in self.seen(told)
            assert "3 of 4 deployed <b>" in self.seen(told)
            assert told.page.get_by_role("table").count() == 0
            told.page.evaluate("end()")

    def test_a_page_that_shows_the_record_keeps_nothing_else(self, told):
        told.start(view(row("a")))
        told.page.evaluate("python('the record'); stays({ 'text/plain': '3 of 4 deployed' }); end()")
        told.page.clock.run_for(2_000)
        assert self.seen(told).strip() == "the record"


class TestKernelGone:
    """F5: nothing is told any more, and nobody hears a word."""

    @pytest.mark.parametrize("how", ["restarting", "autorestarting", "dead"])
    def test_it_says_so_stops_its_clock_and_offers_no_cancel(self, told, how):
        told.start(view(row("a", seconds=7.0)), kernel="there")
        told.button("Cancel…").click()
        told.page.evaluate("(how) => kernelIs(how)", how)
        told.page.clock.run_for(5_000)
        assert "7 s" in told.lines()[0]
        told.button("a").click()
        assert "7 s" in told.lines()[0]
        assert told.text(".hive-note") == "The kernel is gone."
        assert told.page.get_by_role("button", name="Cancel").count() == 0
        assert told.page.locator(".hive-question").count() == 0

    def test_a_kernel_that_is_busy_or_idle_is_there(self, told):
        told.start(view(row("a")), kernel="there")
        told.page.evaluate("kernelIs('busy'); kernelIs('idle')")
        assert told.button("Cancel…").is_visible()

    def test_what_is_drawn_later_says_so_as_well(self, told):
        told.start(view(row("a")), kernel="there")
        told.page.evaluate("kernelIs('dead'); python('')")
        told.page.evaluate("python('<div class=\"hive-slot-one\">so far</div>')")
        assert told.text(".hive-note") == "The kernel is gone."
        assert told.page.get_by_role("button", name="Cancel").count() == 0


@pytest.mark.parametrize("ground", ["rgb(17, 17, 17)", "rgb(255, 255, 255)"])
def test_it_wears_the_colours_of_the_theme(told, ground):
    told.start(view(row("a", tone="bad")))
    light = 250 if "17" in ground else 20
    ink = f"rgb({light}, {light}, {light})"
    told.page.evaluate(
        "([ground, ink]) => document.body.setAttribute('style', `--jp-layout-color0: ${ground};"
        " --jp-content-font-color1: ${ink}; --jp-error-color1: rgb(200, 1, 2)`)",
        [ground, ink],
    )
    colour = "(one) => getComputedStyle(one).color"
    assert told.page.locator(".hive-name").evaluate(colour) == ink
    # Words in a colour have some of the ink.
    shares = told.page.locator(".hive-bad").evaluate(
        "(one) => getComputedStyle(one).color.match(/[\\d.]+/g).map(Number)"
    )
    assert shares == pytest.approx([(0.7 * part + 0.3 * light) / 255 for part in (200, 1, 2)], abs=0.001)
