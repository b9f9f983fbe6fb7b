"""What a cell shows: whole, short, harmless, and without what JupyterLab drops."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from nixhive_nb.frames import run_frame
from nixhive_nb.notebook.display import ListingView, Notice, PlanView, Record
from nixhive_nb.notebook.follow.run import ProgressView
from nixhive_nb.notebook.run_output import RunOutput, failure_of
from nixhive_nb.plan.facts import HostFacts, Seen, Wanted
from nixhive_nb.plan.plan import Survey, Target
from nixhive_nb.util import html
from nixhive_nb.view.progress import progress_of
from nixhive_nb.view.record import ROWS
from nixhive_nb.view.status import status_table
from tests.notebook.values import Story, build_plan, deploy_plan, deployed, inventory

NASTY = "\x1b[31m<script>alert('x')</script>\x1b]0;title\x07\u202e & \"quoted\""
KEPT = {"b", "br", "details", "div", "img", "pre", "progress", "span", "summary", "table", "td", "th", "tr"}
KEPT_ATTRIBUTES = {"alt", "max", "open", "scope", "src", "style", "title", "value"}
UNCLOSED = {"br", "img"}


class Reader(HTMLParser):
    """Reads HTML: its words, its tags, its attributes; every tag must be closed."""

    def __init__(self, text):
        super().__init__()
        self.words, self.tags, self.attributes, self.open = [], set(), set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in UNCLOSED:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(" +", " ", " ".join(self.words))


def bundle(view):
    return view._repr_mimebundle_()


def read(view):
    """Read a view, and hold it to what every view promises."""
    found = bundle(view)
    assert set(found) == {"text/plain", "text/html"}
    reader = Reader(found["text/html"])
    assert reader.tags <= KEPT
    assert reader.attributes <= KEPT_ATTRIBUTES
    for text in found.values():
        assert "\x1b" not in text
        assert "\u202e" not in text
    return reader


def nasty_survey():
    facts = HostFacts(current=NASTY, profile="b", holder=NASTY, failed_units=(NASTY,))
    return Survey(
        targets=tuple(Target(instance=f"{n}{NASTY}", system=NASTY, store="", wave=1) for n in range(2)),
        wanted=(Wanted(system=NASTY, path=NASTY, error=NASTY),),
        seen=(Seen(instance=f"0{NASTY}", facts=facts), Seen(instance=f"1{NASTY}", error=NASTY)),
    )


def nasty_views():
    one = inventory(("www-1",))
    story = Story(deploy_plan(one))
    story.end("fetch:www-1", "failed", NASTY, [NASTY])
    story.end("activate:portico", "done", NASTY, how=NASTY)
    warned = deploy_plan(inventory((NASTY,)))
    live = Story(deploy_plan(one))
    live.begin("fetch:www-1", line=NASTY)
    builds = Story(build_plan(one))
    builds.end("register:www", how=NASTY, path=NASTY)
    row = {"instance": NASTY, "exit_code": 3, "seconds": 1.0, "stdout": NASTY, "stderr": NASTY, "error": NASTY}
    return [
        Record(story.rest()),
        Record(builds.rest({"instantiate:portico+www": NASTY})),
        Record(Story(warned).rest()),
        PlanView(warned),
        ListingView(status_table(nasty_survey())),
        ProgressView(progress_of(live.tally.report())),
        RunOutput([row], 1),
        Notice(NASTY),
    ]


@pytest.mark.parametrize("view", nasty_views(), ids=lambda view: type(view).__name__)
def test_styles_are_those_that_jupyterlab_keeps(view):
    """The sanitizer of JupyterLab 4.6 drops a `var(…)` without `rgb(…)` in it, and in a shorthand."""
    styles = re.findall(r'style="([^"]*)"', bundle(view)["text/html"])
    for name, _, value in (one.partition(":") for style in styles for one in style.split(";")):
        assert name not in ("background", "border-bottom", "accent-color")
        if "var(" in value:
            assert name in ("color", "background-color", "border-bottom-color")
            assert ",rgb" in value


@pytest.mark.parametrize("view", nasty_views(), ids=lambda view: type(view).__name__)
def test_text_from_elsewhere_is_harmless(view):
    assert "alert('x')" in read(view).text or isinstance(view, ProgressView)
    markup = bundle(view)["text/html"]
    assert not re.search(r"<(script|style|svg)", markup)
    assert "role=" not in markup
    assert "aria-" not in markup


def test_an_error_has_no_terminal_control():
    row = {"instance": NASTY, "exit_code": 3, "seconds": 1.0, "stdout": "", "stderr": f"{NASTY}\n", "error": ""}
    assert "\x1b" not in str(failure_of(run_frame([row])))


class TestRecord:
    def test_it_says_how_the_run_ended(self):
        found = read(Record(deployed())).text
        assert "4 of 4 deployed" in found
        assert found.count("✓ done") == 4
        assert "from relay" in found

    def test_what_failed_stands_first_with_its_last_lines(self):
        record = Record(deployed({"fetch:www-2": "disk full"}))
        found = read(record).text
        assert "3 of 4 deployed, 1 failed" in found
        assert "✕ failed at fetch" in found
        assert found.index("www-2") < found.index("portico") < found.index("www-1")
        assert "last line of fetch:www-2" in found
        assert html.BAD in record.html()

    def test_equal_reasons_are_shown_once(self):
        found = read(Record(deployed({f"fetch:www-{n}": "no route" for n in (1, 2, 3)}))).text
        assert "www-1 and 2 more" in found
        assert found.count("no route") == 1

    def test_lanes_have_a_span_for_each_step_on_one_axis(self):
        record = Record(deployed())
        titles = re.findall(r'title="([^"]*)"', record.html())
        assert sum(title.startswith("fetch: ") for title in titles) == 4
        assert sum(title.startswith("activate: ") for title in titles) == 4
        places = re.findall(r"position:absolute;left:([\d.]+)%;width:([\d.]+)%", record.html())
        assert len(places) == len(titles)
        assert all(float(left) + float(width) <= 100.1 for left, width in places)

    def test_a_build_has_its_own_columns(self):
        found = read(Record(Story(build_plan()).rest({"register:www": "builder failed"}))).text
        assert "1 of 2 built, 1 failed" in found
        for word in ("how", "size", "result", "61.4 MB", "/nix/store/abc-portico", "builder failed"):
            assert word in found

    def test_warnings_of_what_went_well_are_there(self):
        story = Story(deploy_plan())
        story.end("activate:portico", reason="2 units failed")
        found = read(Record(story.rest())).text
        assert "✓ done, with a warning" in found
        assert "⚠ warning portico: 2 units failed" in found

    def test_a_run_that_was_interrupted_still_has_one(self):
        story = Story(deploy_plan())
        story.begin("activate:portico")
        found = read(Record(story.tally.report())).text
        assert "● running" in found

    def test_a_thousand_instances_stay_short(self):
        names = tuple(f"www-{number:04}" for number in range(999))
        failing = {f"fetch:{name}": f"reason {name} " + "x" * 400 for name in names[:30]}
        for failed in ({}, failing, {f"fetch:{name}": f"no {name}" for name in names}):
            record = Record(deployed(failed, inventory(names)))
            assert len(bundle(record)["text/html"]) < 60_000
            assert len(bundle(record)["text/plain"]) < 20_000
            found = read(record).text
            assert found.count("✕ failed at") == min(len(failed), ROWS)
            assert f"… and {1000 - ROWS} more: " in found
        assert f"… and {1000 - ROWS} more: {999 - ROWS} failed, 1 done" in found


class TestProgressView:
    def test_failed_steps_stand_before_those_that_run(self):
        story = Story(deploy_plan())
        story.end("fetch:www-3", "failed", "no route")
        story.begin("fetch:www-1", 27_100_000, 60_200_000, line="copying")
        found = read(ProgressView(progress_of(story.tally.report()))).text
        assert found.index("✕ fetch failed") < found.index("● fetching")
        for word in ("Deploying", "no route", "27.1 of 60.2 MB", "copying", "1 failed · 1 running"):
            assert word in found

    def test_builds_are_counted_not_measured(self):
        story = Story(build_plan())
        story.begin("build", 3, 12)
        assert "3 of 12" in read(ProgressView(progress_of(story.tally.report()))).text

    def test_rows_are_limited(self):
        story = Story(deploy_plan(inventory(tuple(f"www-{number}" for number in range(100)))))
        for number in range(100):
            story.begin(f"fetch:www-{number}")
        found = read(ProgressView(progress_of(story.tally.report()))).text
        assert found.count("● fetching") == 20
        assert "80 of these not shown" in found
