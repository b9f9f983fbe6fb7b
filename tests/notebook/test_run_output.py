"""What a command said on hosts: while it runs, and what stays of it."""

from __future__ import annotations

import re
import threading
import tracemalloc

import pytest

from nixhive_nb.frames import run_frame
from nixhive_nb.notebook.follow import cell as tracking
from nixhive_nb.notebook.run_output import GROUPS, RunOutput, failure_of
from nixhive_nb.notebook.run_watch import TAIL, HostsSource, RunWatch
from tests.notebook.test_display import NASTY, bundle, read


def row(name, code=0, stdout="", stderr="", *, error="", log="", seconds=1.0):
    return {
        "instance": name,
        "exit_code": None if error else code,
        "seconds": seconds,
        "stdout": stdout,
        "stderr": stderr,
        "error": error,
        "log": log,
    }


def rows(count, **more):
    return [row(f"www-{number}", **more) for number in range(count)]


class TestRecord:
    def test_hosts_that_said_the_same_stand_together(self):
        view = RunOutput([*rows(17, stdout="6.6.60\n"), row("db-1", stdout="6.1.2\n")], 18)
        found = read(view)
        assert "18 hosts, exit status 0" in found.text
        names = "www-0, www-1, www-2, www-3, www-4, www-5 … and 11 more"
        assert f"17 hosts   {names}" in found.text.replace("\u2002", " ")
        assert f"17 hosts said: {names}" in bundle(view)["text/plain"]
        assert found.text.count("6.6.60") == 1
        assert found.text.index("6.6.60") < found.text.index("db-1") < found.text.index("6.1.2")

    def test_what_failed_stands_first(self):
        found = read(RunOutput([*rows(3, stdout="ok\n"), row("db-1", 2, stderr="no such file\n")], 4)).text
        assert "4 hosts, 1 failed" in found
        assert found.index("db-1") < found.index("✕ exit status 2") < found.index("✓ exit status 0")
        assert "no such file" in found

    def test_the_same_words_with_another_end_are_not_the_same(self):
        view = RunOutput([row("a", 0, "x\n"), row("b", 1, "x\n"), row("c", 0, "", "x\n")], 3)
        assert [group.who() for group in view.groups] == ["b", "a", "c"]

    def test_hosts_that_cannot_be_reached_for_one_reason_stand_together(self):
        lost = [row(f"www-{number}", error=f"www-{number}: no route to it.", seconds=0.1) for number in (1, 2)]
        found = read(RunOutput(lost, 2)).text
        assert "www-1, www-2" in found
        assert found.count("no route to it.") == 1
        assert "✕ not run to its end" in found

    def test_hosts_whose_turn_never_came_did_not_fail(self):
        left_out = [row(f"www-{number}", error="not tried, since www-1 failed", seconds=None) for number in (2, 3)]
        found = read(RunOutput([row("www-1", 1), *left_out], 3)).text
        assert "1 of 3 hosts done, 1 failed, 2 not tried" in found
        assert re.search(r"2 hosts\s+www-2, www-3\s+○ not tried", found)

    def test_silence_is_said(self):
        assert "3 hosts said nothing: www-0, www-1, www-2" in repr(RunOutput(rows(3), 3))

    def test_how_long_it_took_is_from_the_quickest_to_the_slowest(self):
        view = RunOutput([row("a", seconds=0.4), row("b", seconds=12.0), row("c", seconds=3.0)], 3)
        assert "0.4 s to 12.0 s" in read(view).text
        assert "0.4 s" in read(RunOutput([row("a", seconds=0.4)], 1)).text

    def test_one_line_stands_beside_its_host_and_more_below_it(self):
        view = RunOutput([row("a", stdout="up 3 days\n"), row("b", stdout="1\n2\n")], 2)
        assert "<td" in view.html().partition("up 3 days")[0]
        assert "<pre" in view.html().partition("up 3 days")[2]

    def test_long_output_is_folded_and_says_where_the_whole_is(self):
        words = "".join(f"line {number}\n" for number in range(100))
        for log, place in (("", "the DataFrame has them all"), ("/x/.hive/output/1/www-1.log", "see /x/.hive/output")):
            view = RunOutput([row("www-1", stdout=words, log=log)], 1)
            found = read(view).text
            assert f"… 60 lines are not shown: {place}" in found
            assert "100 lines, 790 B" in found
            assert "line 0\n" in found
            assert "line 99" in found
            assert "line 50" not in found
            assert place in bundle(view)["text/plain"]
            assert "<details style" in view.html()

    def test_the_first_and_the_last_lines_of_both_streams_are_shown(self):
        lines = [f"line {number}" for number in range(100)]
        for cut in (0, 10, 50, 90, 100):
            out, err = ("".join(f"{line}\n" for line in part) for part in (lines[:cut], lines[cut:]))
            view = RunOutput([row("a", stdout=out, stderr=err.removesuffix("\n"))], 1)
            gap = "… 60 lines are not shown: the DataFrame has them all …"
            assert repr(view).splitlines()[2:] == [*lines[:20], gap, *lines[80:]]
            assert "100 lines, " in read(view).text
        few = RunOutput([row("a", stdout="1\n\n2", stderr="3\n", error="a: lost.")], 1)
        assert repr(few).splitlines()[2:] == ["1", "", "2", "3", "lost."]

    def test_to_show_a_big_output_costs_little(self):
        view = RunOutput([row("www-1", 1, stdout="x" * 99 + "\n" * 1_000_000, stderr="y" * 5_000_000)], 1)
        tracemalloc.start()
        try:
            assert len(view.html()) + len(view.text()) < 20_000
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    def test_what_failed_is_folded_open(self):
        words = "".join(f"line {number}\n" for number in range(100))
        assert "<details open" in RunOutput([row("www-1", 1, stdout=words)], 1).html()

    def test_a_log_is_told_from_where_we_are(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        view = RunOutput([row("www-1", stdout="x" * 700, log=str(tmp_path / ".hive" / "output" / "a.log"))], 1)
        assert "… the whole: .hive/output/a.log" in read(view).text

    def test_an_interrupted_run_says_how_many_were_done(self):
        assert "1 of 3 hosts done" in read(RunOutput(rows(1), 3)).text

    @pytest.mark.parametrize("words", ["x" * 10_000, "<&\n" * 10_000])
    def test_many_outputs_are_cut(self, words):
        view = RunOutput([row(f"www-{number}", stdout=f"{number}\n{words}") for number in range(1000)], 1000)
        assert f"… and {1000 - GROUPS} hosts more" in read(view).text
        assert all(len(text) < 150_000 for text in bundle(view).values())

    def test_what_hosts_say_is_harmless(self):
        view = RunOutput([row(NASTY, 1, NASTY, f"{NASTY}\n{NASTY}", log=NASTY), row(NASTY, error=NASTY)], 2)
        assert read(view).text.count("alert('x')") > 3
        assert not re.search(r"<(script|style|svg)", view.html())

    def test_the_error_is_a_short_table(self):
        frame = run_frame([row(f"www-{number}", number % 2, stderr="a\nwhy\n") for number in range(40)])
        lines = str(failure_of(frame)).splitlines()
        assert lines[0] == "20 of 40 hosts failed"
        assert lines[1] == "  www-1  ✕ exit status 1  why"
        assert lines[-1] == "  … and 10 more"
        assert failure_of(frame[frame["exit_code"] == 0]) is None

    def test_the_error_of_a_single_host_counts_nothing(self):
        assert str(failure_of(run_frame([row("a", 1)]))).splitlines()[0] == "one host failed"

    def test_the_error_counts_apart_whose_turn_never_came(self):
        frame = run_frame([row("a", 1), row("b", error="not tried, since a failed")])
        assert str(failure_of(frame)).splitlines() == ["1 of 2 hosts failed, 1 not tried", "  a  ✕ exit status 1"]


class TestSource:
    @pytest.fixture
    def now(self):
        return [100.0]

    @pytest.fixture
    def source(self, now):
        return HostsSource(["a", "b", "c", "d"], "uptime", lambda: now[0])

    def test_failed_hosts_stand_before_running_ones_and_the_rest_is_counted(self, source, now):
        for name in ("a", "b", "c"):
            source.began(name)
        source.said("b", "working")
        source.said("c", "why")
        now[0] += 2
        source.ended(row("a", stdout="ok"))
        source.ended(row("c", 3))
        view = source.view()
        assert [(one.id, one.state, one.tone, one.line) for one in view.rows] == [
            ("c", "✕ exit status 3", "bad", "why"),
            ("b", "● running", "run", "working"),
        ]
        assert view.rows[1].seconds == 2
        assert (view.title, view.done, view.total, view.fraction) == ("Running uptime", 2, 4, 0.5)
        assert (view.facts, view.rest) == (
            "2 of 4 hosts · 2.0 s",
            "1 done · 1 failed · 1 running · 1 waiting",
        )

    def test_only_the_last_lines_are_kept_and_none_of_what_went_well(self, source):
        for name in ("a", "b"):
            source.began(name)
        for number in range(1000):
            source.said("a", f"{number} {'x' * 10_000}")
            source.said("b", str(number))
        assert len(source.tail("a")) == TAIL
        assert source.tail("a")[-1].startswith("999 ")
        assert max(map(len, source.tail("a"))) <= 600
        source.ended(row("a"))
        source.ended(row("b", 1))
        assert source.tail("a") == ()
        assert source.tail("b")[-1] == "999"
        assert source.tail("nobody") == ()

    def test_a_long_command_is_cut(self):
        assert len(HostsSource(["a"], "x" * 1000).view().title) < 80

    def test_to_cancel_interrupts_the_cell(self, source):
        def cell():
            source.cancel()
            assert not threading.Event().wait(20)

        with pytest.raises(KeyboardInterrupt):
            cell()


class Screen:
    """Stands where IPython's `display` does, and keeps what it was given."""

    def __init__(self):
        self.views = []

    def __call__(self, view, *, display_id):
        self.views.append(view)
        return self

    def update(self, view):
        self.views.append(view)


@pytest.fixture
def screen(monkeypatch):
    one = Screen()
    monkeypatch.setattr(tracking, "display", one)
    for place in ("follow.cell", "run_watch"):
        monkeypatch.setattr(f"nixhive_nb.notebook.{place}.in_kernel", lambda: True)
    return one


class TestWatch:
    def test_the_record_takes_the_place_of_what_was_shown_and_has_the_order_of_the_hosts(self, screen):
        watch = RunWatch()
        watch.hosts(["a", "b", "c"], "uptime")
        for name in ("c", "a"):
            watch.began(name)
            watch.said(name, "stdout", name)
            watch.ended(row(name, stdout=name))
        watch.end()
        record = screen.views[-1]
        assert isinstance(record, RunOutput)
        assert [group.who() for group in record.groups] == ["a", "c"]
        assert "2 of 3 hosts done" in repr(record)

    def test_one_watch_serves_one_run_after_the_other(self, screen):
        watch = RunWatch()
        for name in ("a", "b"):
            watch.hosts([name], "uptime")
            watch.ended(row(name))
            watch.end()
            assert [group.who() for group in screen.views[-1].groups] == [name]

    def test_a_command_that_ran_nowhere_shows_nothing(self, screen):
        RunWatch().end()
        assert screen.views == []
