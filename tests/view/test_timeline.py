"""What ran when: as rows, as lanes, and as a picture that stands alone."""

from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import given

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.events import Result, StepEnded, StepProgress, StepStarted
from nixhive_nb.run.limits import Limits
from nixhive_nb.run.report import Tally
from nixhive_nb.run.timings import timings_of
from nixhive_nb.testing.world import HostModel, World
from nixhive_nb.view import lanes as lane_views
from nixhive_nb.view.lanes import INSTANCES, OTHERS, WAVES, lanes_of
from nixhive_nb.view.timeline import Timeline
from tests.counting import counted
from tests.notebook.test_display import KEPT, KEPT_ATTRIBUTES, NASTY, Reader
from tests.notebook.values import deploy_plan
from tests.notebook.values import inventory as example
from tests.plan.fleets import CHECK, deploy, fleet_of, instance, inventory, ran
from tests.run.test_history import EVENTS, PLAN, TIMES

WEB = ("www-1", "www-2", "www-3")


@cache
def rolled():
    """A relay and three hosts that read from it, two at a time, one of which has a full disk; with a pause."""
    hosts = [instance(name, "two", store="ssh://portico", checks=(CHECK,)) for name in WEB]
    inv = inventory(instance("portico", checks=(CHECK,)), *hosts)
    models = {name: HostModel(bandwidth=2e7, latency=0.5) for name in inv.instances}
    models["www-2"] = HostModel(bandwidth=2e7, faults=("disk full",))
    plan = deploy(inv, "portico", "*", pause=5.0, reboot="always")
    return ran(plan, fleet_of(World(hosts=models)), limits=Limits(per_store=1))[0]


@cache
def many(number=1000, *patterns):
    names = [f"web-{one:04}" for one in range(number)]
    inv = inventory(*[instance(name, "one" if at % 2 else "two") for at, name in enumerate(names)])
    slow = {"web-0500": HostModel(bandwidth=1e5), "web-0700": HostModel(faults=("disk full",))}
    return ran(deploy(inv, *patterns), fleet_of(World(hosts=slow)))[0]


@cache
def one_by_one(number, *failing, size=1):
    """Waves of `size` instances, those of some of which fail."""
    waves = [[f"h{wave:02}-{one}" for one in range(size)] for wave in range(1, number + 1)]
    full = {f"h{wave:02}-{one}": HostModel(faults=("disk full",)) for wave in failing for one in range(size)}
    inv = inventory(*[instance(name) for wave in waves for name in wave])
    plan = deploy(inv, *[f"h{wave:02}-*" for wave in range(1, number + 1)], max_failures="100%")
    return ran(plan, fleet_of(World(hosts=full)))[0]


def put_back(seconds=60.0):
    """A run in which the clock was put back while a host was fetching."""
    tally = Tally(deploy_plan(), started=1000.0)
    tally.add(StepStarted(time=1001.0, step="build"))
    tally.add(StepEnded(time=1031.0, step="build", outcome="done", result=Result()))
    tally.add(StepStarted(time=1032.0, step="fetch:www-1"))
    tally.add(StepEnded(time=1040.0 - seconds, step="register:www", outcome="done", result=Result()))
    tally.add(StepEnded(time=1040.0 - seconds, step="fetch:www-1", outcome="done", result=Result()))
    tally.add(StepStarted(time=1040.0 - seconds, step="activate:www-1"))
    tally.add(StepEnded(time=1045.0 - seconds, step="activate:www-1", outcome="failed", reason="no luck"))
    return tally.report()


def waves(lanes):
    return {group.title: [one.name for one in group.lanes] for group in lanes.groups if group.title.startswith("wave")}


def lane(lanes, name):
    return next(one for group in lanes.groups for one in group.lanes if one.name == name)


def kinds(lanes, name):
    return [span.kind for span in lane(lanes, name).spans]


class TestTimings:
    def test_what_was_never_begun_has_no_row(self):
        found = {timing.step for timing in timings_of(rolled())}
        assert "fetch:www-2" in found
        assert "activate:www-2" not in found
        assert not any(step.startswith("gate") for step in found)

    def test_a_wait_for_a_limit_is_told_from_a_wait_for_others(self):
        found = {timing.step: timing for timing in timings_of(rolled())}
        first, *others = sorted((found[f"fetch:{name}"] for name in WEB), key=lambda one: one.start)
        assert first.queued == 0
        assert others[0].queued == pytest.approx(first.seconds)
        # An activation of the second wave waits for the first, which is no limit.
        assert found["activate:www-1"].queued == 0

    def test_what_moved_is_known_of_transfers_alone(self):
        plan = deploy_plan()
        tally = Tally(plan, started=0.0)
        ends = {
            "build": Result(),
            "fetch:www-1": Result(path="/a"),
            "fetch:www-2": Result(outcome="unchanged", how="present"),
            "fetch:www-3": Result(sent=7),
            "fetch:portico": Result(path="/b"),
        }
        for step, result in ends.items():
            tally.add(StepStarted(time=1.0, step=step))
            if step in ("build", "fetch:www-1"):
                tally.add(StepProgress(time=1.5, step=step, done=3, expected=3))
            tally.add(StepEnded(time=2.0, step=step, outcome=result.outcome, result=result))
        found = {timing.step: timing.moved for timing in timings_of(tally.report())}
        moved = {"fetch:www-1": 3, "fetch:www-2": 0, "fetch:www-3": 7}
        assert found == {"build": None, "fetch:portico": None} | moved

    def test_nothing_takes_less_than_no_time_when_the_clock_was_put_back(self):
        found = {timing.step: timing for timing in timings_of(put_back())}
        fetch, activate = found["fetch:www-1"], found["activate:www-1"]
        assert (fetch.start, fetch.end, fetch.seconds) == (32.0, 32.0, 0.0)
        assert (activate.start, activate.end) == (0.0, 0.0)


class TestLanes:
    def test_systems_stores_and_waves_follow_each_other(self):
        lanes = lanes_of(rolled())
        assert [group.title for group in lanes.groups] == ["systems", "stores", "wave 1", "wave 2"]
        assert [one.name for one in lanes.groups[2].lanes] == ["portico", "pause"]
        assert [one.name for one in lanes.groups[3].lanes] == list(WEB)

    def test_a_lane_tells_what_was_done_in_its_order(self):
        lanes = lanes_of(rolled())
        assert kinds(lanes, "two") == ["instantiate", "build", "sign"]
        assert kinds(lanes, "portico") == ["fetch", "activate", "reboot", "check"]
        assert kinds(lanes, "two → portico")[-1] == "push"
        assert kinds(lanes, "pause") == ["pause"]
        for group in lanes.groups:
            for one in group.lanes:
                ends = [0.0, *(moment for span in one.spans for moment in (span.start, span.end))]
                assert ends == pytest.approx(sorted(ends))

    def test_what_is_built_elsewhere_has_a_lane_for_each_place(self):
        hosts = [instance(name, "two", store="ssh://portico") for name in WEB]
        inv = inventory(instance("portico"), *hosts)
        at_relay = lanes_of(ran(deploy(inv, "www-*", build_on="relay"), fleet_of(World()))[0])
        assert [group.title for group in at_relay.groups] == ["systems", "remote builds", "stores", "wave 1"]
        assert [one.name for one in at_relay.groups[1].lanes] == ["two on portico"]
        assert kinds(at_relay, "two on portico") == ["send", "build", "sign"]
        assert kinds(at_relay, "two") == ["instantiate"]
        world = World(hosts={"www-2": HostModel(faults=("unreachable",))})
        on_each = lanes_of(ran(deploy(inv, "www-*", build_on="instance"), fleet_of(world))[0])
        assert [one.name for one in on_each.groups[1].lanes] == [f"two on {name}" for name in WEB]
        assert lane(on_each, "two on www-2").ended == "✕ failed"
        assert lane(on_each, "two on www-3").ended == "✓ done"

    def test_what_failed_says_where_and_why(self):
        found = lane(lanes_of(rolled()), "www-2")
        assert found.ended == "✕ failed at fetch"
        assert found.spans[-1].is_bad
        assert "No space left on device." in found.spans[-1].about
        assert found.words.endswith(" ✕")

    def test_a_system_that_was_not_built_has_the_build_that_did_not_end(self):
        plan = deploy_plan()
        tally = Tally(plan, started=0.0)
        tally.add(StepStarted(time=1.0, step="build"))
        tally.add(StepEnded(time=9.0, step="build", outcome="cancelled", reason="the run was stopped"))
        found = lane(lanes_of(tally.report()), "www").spans
        assert [(span.kind, span.start, span.end, span.outcome) for span in found] == [("build", 1.0, 9.0, "cancelled")]

    def test_what_still_runs_goes_up_to_now(self):
        tally = Tally(deploy_plan(), started=0.0)
        tally.add(StepStarted(time=1.0, step="fetch:www-1"))
        tally.add(StepProgress(time=4.0, step="fetch:www-1", done=1, expected=2))
        found = lane(lanes_of(tally.report()), "www-1")
        assert (found.ended, found.words) == ("● running", "fetch 3.0 s ●")

    def test_of_many_those_are_shown_that_failed_or_took_longest(self):
        lanes = lanes_of(many())
        shown = [one for group in lanes.groups if group.title.startswith("wave") for one in group.lanes]
        assert len(shown) == INSTANCES
        assert {"web-0500", "web-0700"} <= {one.name for one in shown}
        assert f"1,000 instances, {INSTANCES} shown" in lanes.groups[-1].note

    def test_each_wave_has_lanes(self):
        lanes = lanes_of(many(1000, "web-0000", "web-001*", "*"))
        sizes = {group.title: len(group.lanes) for group in lanes.groups if group.title.startswith("wave")}
        assert sizes == {"wave 1": 1, "wave 2": 10, "wave 3": INSTANCES - 11}

    def test_waves_systems_and_stores_are_limited_too(self):
        hosts = [instance(f"h{at}", f"s{at}", store=f"ssh://r{at}") for at in range(40)]
        plan = deploy(inventory(*hosts), *[one.name for one in hosts])
        lanes = lanes_of(ran(plan, fleet_of(World()))[0])
        assert [len(group.lanes) for group in lanes.groups[:2]] == [OTHERS, OTHERS]
        assert len(lanes.groups) == 2 + WAVES
        assert lanes.rest == f"… and {40 - WAVES} more waves"

    def test_of_many_waves_those_in_which_something_failed_are_shown_and_then_the_first(self):
        lanes = lanes_of(one_by_one(40, 6, 26))
        assert list(waves(lanes)) == [f"wave {number}" for number in (*range(1, WAVES), 26)]
        assert lane(lanes, "h06-0").ended == lane(lanes, "h26-0").ended == "✕ failed at fetch"
        assert lanes.rest == f"… and {40 - WAVES} more waves"

    def test_no_wave_is_shown_without_a_lane(self):
        for size in (1, 2, 5):
            assert all(waves(lanes_of(one_by_one(40, 6, 26, size=size))).values())

    def test_what_failed_in_one_wave_comes_before_what_went_well_in_another(self):
        lanes = lanes_of(one_by_one(10, 8, size=8))
        assert waves(lanes)["wave 8"] == [f"h08-{one}" for one in range(8)]
        assert sum(map(len, waves(lanes).values())) == INSTANCES

    def test_failures_for_which_there_is_no_room_are_counted(self):
        lanes = lanes_of(one_by_one(25, *range(1, 26), size=2))
        assert lanes.rest == "… and 5 more waves, 5 of them with failures"
        notes = [group.note for group in lanes.groups if group.title.startswith("wave")]
        assert notes.count("2 instances, 1 shown of 2 that failed") == 2 * WAVES - INSTANCES
        assert notes.count("2 instances") == INSTANCES - WAVES

    @given(EVENTS, TIMES)
    def test_whatever_the_times_spans_lie_on_the_axis(self, events, started):
        tally = Tally(PLAN, started)
        for event in events:
            tally.add(event)
        lanes = lanes_of(tally.report())
        for group in lanes.groups:
            ends = [moment for one in group.lanes for span in one.spans for moment in (span.start, span.end)]
            assert all(0.0 <= moment <= lanes.seconds for moment in (*ends, *(group.span or ())))
            assert all(span.start <= span.end for one in group.lanes for span in one.spans)

    def test_a_run_that_did_nothing_yet_has_lanes_without_spans(self):
        lanes = lanes_of(Tally(deploy_plan()).report())
        assert [one.spans for group in lanes.groups for one in group.lanes] == [()] * 4


class TestPicture:
    def test_jupyterlab_keeps_all_of_it(self):
        reader = Reader(Timeline.of(rolled())._repr_html_())
        assert reader.tags <= KEPT
        assert reader.attributes <= KEPT_ATTRIBUTES

    @pytest.mark.parametrize("form", [str, Timeline._repr_html_])
    def test_it_says_in_words_what_it_shows_in_colours(self, form):
        found = form(Timeline.of(rolled()))
        for words in ("3 of 4 deployed, 1 failed", "wave 2", "✕ failed at fetch", "✓ done", "activate 5.5 s"):
            assert words in found
        for word in ("evaluate", "build", "push", "fetch", "activate", "check", "reboot", "pause", "wait for a free"):
            assert word in found

    def test_spans_lie_on_the_axis(self):
        found = Timeline.of(rolled())._repr_html_()
        places = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", found)
        assert len(places) > 20
        assert all(float(left) + float(width) <= 100.1 for left, width in places)

    def test_the_text_lines_up(self):
        lines = str(Timeline.of(rolled())).splitlines()
        bars = [line for line in lines if "|" in line]
        assert len({(line.index("|"), line.rindex("|")) for line in bars}) == 1
        ruler = lines[1].index("0 s")
        assert ruler == bars[0].index("|") + 1

    @pytest.mark.parametrize("seconds", [20.0, 60.0, 3600.0])
    def test_it_is_whole_when_the_clock_was_put_back(self, seconds):
        picture = Timeline.of(put_back(seconds))
        bars = [line for line in str(picture).splitlines() if "|" in line]
        assert len({(line.index("|"), line.rindex("|")) for line in bars}) == 1
        for text in (str(picture), picture._repr_html_()):
            assert not re.search(r"-\d+\.\d s", text)

    def test_text_from_elsewhere_is_harmless(self):
        tally = Tally(deploy_plan(example((NASTY,))), started=0.0)
        tally.add(StepStarted(time=1.0, step=f"fetch:{NASTY}"))
        tally.add(StepEnded(time=2.0, step=f"fetch:{NASTY}", outcome="failed", reason=NASTY))
        picture = Timeline.of(tally.report())
        for text in (str(picture), repr(picture), picture._repr_html_()):
            assert "\x1b" not in text
            assert "\u202e" not in text
        assert "<script" not in picture._repr_html_()
        assert Reader(picture._repr_html_()).attributes <= KEPT_ATTRIBUTES

    def test_one_of_a_large_run_is_short(self):
        assert len(Timeline.of(many())._repr_html_()) < 60_000
        assert len(str(Timeline.of(many()))) < 12_000

    def test_a_saved_one_is_a_page_that_stands_alone(self, tmp_path):
        picture = Timeline.of(rolled())
        picture.save(tmp_path / "run.html")
        page = (tmp_path / "run.html").read_text()
        assert picture._repr_html_() in page
        assert not re.search(r"<(script|link|img|iframe)|https?:|@import|url\(", page)
        assert list(tmp_path.iterdir()) == [tmp_path / "run.html"]

    def test_another_kind_of_file_is_refused(self, tmp_path):
        with pytest.raises(OptionError, match=r"run\.png would have to end in \.html"):
            Timeline.of(rolled()).save(tmp_path / "run.png")
        assert not list(tmp_path.iterdir())


def test_of_many_lanes_those_that_are_shown_are_put_into_words(monkeypatch):
    report = many()
    words = counted(monkeypatch, lane_views, "outcome_text")
    spans = counted(monkeypatch, lane_views, "_span")
    lanes_of(report)
    assert len(words) == INSTANCES + 2
    assert len(spans) <= 2 * INSTANCES + 10


def test_an_entry_ranks_as_the_lane_that_it_becomes():
    report = rolled()
    for record in report.instances():
        own = [timing for timing in timings_of(report) if timing.instance == record.instance]
        entry = lane_views._Entry(record, own, report.seconds)
        lane = entry.lane()
        assert (entry.outcome, entry.busy, entry.ends) == (lane.outcome, lane.busy, lane.ends)
