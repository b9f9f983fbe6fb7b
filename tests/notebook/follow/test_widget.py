"""The tracker: few and small messages, a page that heals, an end that leaves the record alone, and a way to cancel."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from queue import Empty

import msgspec
import pytest
from jupyter_client.manager import start_new_kernel

from nixhive_nb.notebook.follow import widget as tracker
from nixhive_nb.notebook.follow.model import PlainView, TrackedRow, TrackedView, TrackedWave, near
from nixhive_nb.notebook.follow.widget import ROWS, SNAPSHOT, TAIL, RunTracker, delta_of, state_of

ROOT = Path(__file__).parents[2]
NASTY = "\x1b[31m<script>alert('x')</script>\x1b]0;title\x07\u202e\nnext"
RECORD = {"text/plain", "text/html"}


def row(ident, **more):
    return TrackedRow(id=ident, **{"name": ident, "state": "● fetching", "tone": "run", **more})


def view(*rows, **more):
    return TrackedView(**{
        "title": "Deploying", "done": 0, "total": 4, "fraction": 0.0, "facts": "00:00", "rows": rows, "rest": "", **more
    })  # fmt: skip


class Told(RunTracker):
    """A tracker that keeps what it sends."""

    def __init__(self, first, tail=lambda _: ()):
        self.now = 0.0
        self.deltas, self.snapshots, self.ends, self.lines = [], [], [], tail
        super().__init__(first, tail, blocking=False, on_cancel=lambda: self.ends.append(1), clock=lambda: self.now)
        self.observe(lambda change: self.snapshots.append(change.new), "snapshot")

    def send(self, content, buffers=None):
        self.deltas.append(content)

    def at(self, seconds, shown):
        self.now = seconds
        self.show(shown, self.lines)


class TestMessages:
    def test_only_what_changed_is_told(self):
        old = state_of(view(row("a"), row("b")), blocking=True)
        new = state_of(view(row("a"), row("b", line="copying"), facts="00:01"), blocking=True)
        delta = delta_of(old, new)
        assert set(delta) == {"head", "rows"}
        assert set(delta["rows"]) == {"b"}

    def test_time_that_passes_is_no_news(self):
        old = state_of(view(row("a", seconds=1.0)), blocking=True)
        assert delta_of(old, state_of(view(row("a", seconds=2.0)), blocking=True)) == {}
        ended = state_of(view(row("a", seconds=2.0, tone="bad")), blocking=True)
        assert set(delta_of(old, ended)["rows"]) == {"a"}

    def test_deltas_have_numbers_and_a_snapshot_takes_the_place_of_one(self):
        told = Told(view(row("a")))
        for tick in range(1, 10):
            told.at(tick * SNAPSHOT / 4, view(row("a", line=f"line {tick}")))
        numbers = [delta["n"] for delta in told.deltas] + [one["n"] for one in told.snapshots]
        assert sorted(numbers) == list(range(1, 10))
        assert [one["n"] for one in told.snapshots] == [4, 8]

    def test_nothing_is_sent_when_nothing_changes(self):
        told = Told(view(row("a")))
        for tick in range(10):
            told.at(float(tick), view(row("a", seconds=float(tick))))
        assert (told.deltas, told.snapshots) == ([], [])

    def test_whoever_applies_deltas_has_what_a_snapshot_has(self):
        views = [
            view(row("a"), row("b")),
            view(row("b", line="x"), row("c"), facts="1"),
            view(row("z", tone="bad"), row("c", fraction=0.5), stopping=True),
            view(waves=(wave(1), wave(2))),
        ]
        page = state_of(views[0], blocking=True)
        for one in views:
            state = state_of(one, blocking=True)
            delta = delta_of(page, state)
            rows = {**page["rows"], **delta.pop("rows", {})}
            page = {**page, **delta}
            page["rows"] = {name: rows[name] for name in page["order"]}
            assert page == state

    def test_a_page_is_told_the_symbol_and_the_tone_of_each_wave(self):
        state = state_of(view(waves=(wave(1, 1), wave(2, 0, 1, 3))), blocking=True)
        assert [(one["symbol"], one["tone"]) for one in state["waves"]] == [("✓", "ok"), ("✕", "bad")]

    def test_a_snapshot_has_the_last_lines_of_each_row(self):
        told = Told(view(row("a"), row("b")), tail=lambda name: [f"{name} {number}" for number in range(99)])
        told.at(SNAPSHOT, view(row("b"), row("c")))
        assert set(told.snapshots[0]["tails"]) == {"b", "c"}
        assert told.snapshots[0]["tails"]["c"] == [f"c {number}" for number in range(99 - TAIL, 99)]

    def test_rows_that_are_not_drawn_are_counted(self):
        state = state_of(view(*(row(f"host-{number}") for number in range(1000))), blocking=True)
        assert len(state["rows"]) == len(state["order"]) == ROWS
        assert state["head"]["more"] == 1000 - ROWS

    def test_text_from_elsewhere_is_stripped_and_cut(self):
        tracked = view(row(NASTY, line=NASTY + "x" * 10_000, state=NASTY), title=NASTY, facts=NASTY)
        told = Told(tracked, tail=lambda _: [NASTY] * 3)
        text = json.dumps({**told.snapshot, "order": [], "rows": list(told.snapshot["rows"].values())})
        for bad in ("\\u001b", "\\u202e", "\\u0007", "x" * 300):
            assert bad not in text.replace(json.dumps(NASTY)[1:-1], "")

    def test_a_fleet_of_a_thousand_makes_small_messages(self):
        def rows(line):
            return view(*(row(f"host-{number}", line=line * 40) for number in range(1000)))

        told = Told(rows("early "), tail=lambda _: ["long line " * 100] * 100)
        told.at(0.3, rows("later "))
        told.at(SNAPSHOT, rows("last "))
        assert len(msgspec.json.encode(told.deltas[0])) < 20_000
        assert len(msgspec.json.encode(told.snapshots[0])) < 100_000

    def test_the_page_may_cancel_and_hears_that_it_was_heard(self):
        told = Told(view(row("a")))
        told._handle_custom_msg({"cancel": True}, [])
        told._handle_custom_msg({"something": "else"}, [])
        told.at(0.3, view(row("a")))
        assert (told.ends, told.deltas[-1]["head"]["heard"]) == ([1], 1)

    def test_what_is_sent_to_the_page_is_small_and_needs_no_network(self):
        text = "".join(path.read_text() for path in (tracker.SCRIPT, tracker.STYLE))
        assert len(text.encode()) < 50_000
        for word in ("http", "innerHTML", "import(", "@import", "window.confirm"):
            assert word not in text


def wave(number, done=0, failed=0, total=1):
    return TrackedWave(label=f"wave {number}", done=done, failed=failed, total=total)


class TestPlainView:
    def test_many_waves_are_shown_about_the_one_that_runs(self):
        waves = [wave(number, done=int(number < 50)) for number in range(100)]
        assert [one.label for one in near(waves)] == [f"wave {number}" for number in range(48, 56)]
        assert near(waves[:3]) == waves[:3]
        assert near([wave(number, done=1) for number in range(100)])[-1].label == "wave 99"

    def test_it_says_what_the_widget_says(self):
        shown = view(row("a", state="✕ failed", tone="bad", line="no route"), waves=(wave(1, 1), wave(2, 0, 1, 3)))
        html = PlainView(shown).html()
        for words in ("Deploying", "✕ failed", "no route", "wave 1: 1 of 1 done", "wave 2: 0 of 3 done, 1 failed"):
            assert words in html
        assert "Stopping…" in repr(PlainView(view(stopping=True)))


class Kernel:
    """A real kernel, and all that it tells."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(cwd=str(ROOT))

    def send(self, source):
        return self.client.execute(source)

    def until(self, condition):
        """Return the messages up to the one that a condition holds for, with their times."""
        told = []
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=60)
            except Empty:
                raise AssertionError([one["msg_type"] for one in told]) from None
            message["at"] = time.monotonic()
            told.append(message)
            if condition(message):
                return told

    def ran(self, source):
        """Run a cell to its end, and give what was told; an error is told like all else."""
        sent = self.send(source)
        return self.until(lambda one: is_idle(one, sent))

    def comm(self, comm_id, content):
        """Say something as a page does."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        self.client.shell_channel.send(message)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def is_idle(message, sent):
    return (
        message["msg_type"] == "status"
        and message["content"]["execution_state"] == "idle"
        and message["parent_header"].get("msg_id") == sent
    )


def contents(told, kind):
    return [message["content"] for message in told if message["msg_type"] == kind]


@pytest.fixture(scope="module")
def kernel():
    one = Kernel()
    begun = one.ran(
        "%load_ext nixhive_nb\nfrom tests.notebook.shows import *\nfrom nixhive_nb.notebook.follow.cell import track"
    )
    assert not contents(begun, "error")
    # The extension asks the page whether it can show widgets; what tests count comes after that.
    if not any(map(is_model, begun)):
        one.until(is_model)
    yield one
    one.close()


@pytest.fixture(scope="module")
def many(kernel):
    """What a run of a thousand instances told."""
    return kernel.ran("deploy_many(1000, seconds=4.0)")


SHOWN = """
import threading, time
source, go = Scripted(), threading.Event()
def work(blocking):
    with track(source, Ended, blocking=blocking) as changed:
        began.set()
        while not go.wait(0.05):
            source.lines.append(f"line {len(source.lines)}")
            changed(None)
    over.set()
began, over = threading.Event(), threading.Event()
"""


@pytest.mark.slow
class TestInAKernel:
    def test_a_thousand_instances_are_told_in_five_messages_a_second(self, many):
        shown = [one for one in many if one["msg_type"] in ("comm_msg", "comm_open", "display_data")]
        # What belongs to the beginning and the end of it: see the next test.
        told = [one for one in many if one["msg_type"] == "comm_msg"]
        seconds = told[-1]["at"] - shown[0]["at"]
        assert len(told) > 3
        assert len(told) <= 5 * seconds + 2

    def test_one_widget_begins_and_is_closed_later(self, kernel, many):
        kinds = Counter(one["msg_type"] for one in many)
        assert (kinds["display_data"], kinds["stream"], kinds["error"]) == (1, 0, 0)
        assert len(list(filter(is_tracker, many))) == 1
        # A page that was loaded anew still gets the record from it.
        assert kinds["comm_close"] == 0
        ended = kernel.ran("from nixhive_nb.notebook.follow.cell import close_ended; close_ended()")
        opened = sorted(content["comm_id"] for content in contents(many, "comm_open"))
        closed = sorted(content["comm_id"] for content in contents(ended, "comm_close"))
        # Beside the tracker there is its layout, which ipywidgets needs.
        assert opened == closed
        assert len(opened) == 2

    def test_what_stays_is_the_record(self, many):
        first, *later = (one for one in many if one["msg_type"] in ("display_data", "update_display_data"))
        name = first["content"]["transient"]["display_id"]
        assert {one["content"]["transient"]["display_id"] for one in later} == {name}
        assert all(set(one["content"]["data"]) == RECORD for one in later)
        assert "hive-slot-" in later[0]["content"]["data"]["text/html"]
        assert "hive-slot-" not in later[-1]["content"]["data"]["text/html"]
        assert set(later[-1]["content"]["data"]) == RECORD
        assert "980 of 1000 deployed, 20 failed" in later[-1]["content"]["data"]["text/plain"]

    def test_the_messages_are_small_and_without_a_gap(self, many):
        numbers, sizes = [], {"custom": [], "update": []}
        for content in contents(many, "comm_msg"):
            data = content["data"]
            if "stays" in data.get("state", {}):
                continue
            sizes[data["method"]].append(len(json.dumps(data)))
            told = data["content"] if data["method"] == "custom" else data["state"]["snapshot"]
            numbers.append(told["n"])
        assert numbers == list(range(1, len(numbers) + 1))
        assert max(sizes["custom"]) < 20_000
        assert max(sizes["update"]) < 100_000

    def test_bytes_and_failures_are_told(self, many):
        snapshots = [
            content["data"]["state"]["snapshot"]
            for content in contents(many, "comm_msg")
            if "snapshot" in content["data"].get("state", {})
        ]
        last = snapshots[-1]
        assert " GB" in last["head"]["facts"]
        assert "✕ fetch failed" in {one["state"] for one in last["rows"].values()}
        assert last["head"]["rest"].startswith("instances: ")
        assert " failed · " in last["head"]["rest"]
        end = contents(many, "comm_msg")[-1]["data"]["state"]
        assert "980 of 1000 deployed" in end["stays"]["text/plain"]

    def test_an_interrupt_leaves_the_record_and_goes_on_up(self, kernel):
        sent = kernel.send("deploy_many(40, seconds=600.0)")
        told = kernel.until(is_tracker)
        kernel.manager.interrupt_kernel()
        told += kernel.until(lambda one: is_idle(one, sent))
        assert [content["ename"] for content in contents(told, "error")] == ["KeyboardInterrupt"]
        last = contents(told, "update_display_data")[-1]
        assert set(last["data"]) == RECORD
        assert "cancelled" in last["data"]["text/plain"]

    def test_a_short_run_needs_no_widget(self, kernel):
        told = kernel.ran("with track(Scripted(), Ended):\n    pass")
        assert not contents(told, "comm_open")
        assert contents(told, "update_display_data")[-1]["data"]["text/plain"] == "ended as it should"

    def test_a_run_in_the_background_shows_in_its_own_cell_and_hears_a_cancel(self, kernel):
        begin = kernel.send(SHOWN + "threading.Thread(target=work, args=[False]).start(); _ = began.wait()")
        told = kernel.until(lambda one: is_idle(one, begin))
        if not any(map(is_tracker, told)):
            told += kernel.until(is_tracker)
        comm = contents(told, "comm_open")[-1]["comm_id"]
        kernel.comm(comm, {"cancel": True})
        later = kernel.until(lambda one: one["msg_type"] == "comm_msg" and heard(one))
        other = kernel.send("assert source.cancelled.wait(30); print('other'); go.set(); assert over.wait(30)")
        later += kernel.until(lambda one: is_update(one) and "ended as it should" in str(one["content"]["data"]))
        outputs = [one for one in told + later if one["msg_type"] == "display_data"]
        assert [one["parent_header"]["msg_id"] for one in outputs] == [begin]
        last = contents(told + later, "update_display_data")[-1]
        assert last["transient"] == outputs[0]["content"]["transient"]
        assert set(last["data"]) == RECORD
        printed = [one for one in told + later if one["msg_type"] == "stream"]
        assert [(one["content"]["text"], one["parent_header"]["msg_id"]) for one in printed] == [("other\n", other)]

    def test_without_widgets_it_is_html_and_still_ends_as_the_record(self, kernel):
        kernel.ran("%config Hive.widgets = 'none'")
        begin = kernel.send(SHOWN + "threading.Timer(1.2, go.set).start(); work(True)")
        told = kernel.until(lambda one: is_idle(one, begin))
        kernel.ran("%config Hive.widgets = 'auto'")
        updates = contents(told, "update_display_data")
        assert not contents(told, "comm_open")
        assert all(set(update["data"]) == RECORD for update in updates)
        assert "● going" in updates[0]["data"]["text/html"]
        assert updates[-1]["data"]["text/plain"] == "ended as it should"


def is_update(message):
    return message["msg_type"] == "update_display_data"


def is_model(message):
    return message["msg_type"] == "comm_open" and "_esm" in message["content"]["data"]["state"]


def is_tracker(message):
    return is_model(message) and "snapshot" in message["content"]["data"]["state"]


def heard(message):
    data = message["content"]["data"]
    told = data.get("content") or data.get("state", {}).get("snapshot", {})
    return told.get("head", {}).get("heard") == 1
