"""What journals tell of earlier runs: of those that ended, that go on, that were killed, and that were cut short."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.events import GOOD, Outcome, Result, StepEnded, StepStarted, Stopping
from nixhive_nb.plan.options import options_of
from nixhive_nb.run import history
from nixhive_nb.run.journal import End, Journal
from nixhive_nb.run.report import Tally
from tests.notebook.values import build_plan, deploy_plan
from tests.run.test_journal import HEADER
from tests.speed import stride

PLAN = msgspec.structs.replace(deploy_plan(), patterns=(("portico",), ("www-1", "www-*")), no=("checks",))
STEPS = [step.id for step in PLAN.steps]


def noted(folder, events, plan=PLAN, *, interrupted=False, ends=True):
    """A journal of these events, with or without its end; and the report as it was at the time."""
    journal = Journal.begin(folder, HEADER, plan)
    tally = Tally(plan, history.find(folder).started, journal=str(journal.path))
    for event in events:
        journal.heard(event)
        tally.add(event)
    if ends:
        journal.end(tally.report(), interrupted=interrupted)
    else:
        journal._stream.close()
    assert not journal.failure
    return journal, tally.report()


def story(*, until=None, bad=None):
    """All steps begin and end in their order; `bad` are other outcomes by step, `until` is begun and has no end."""
    now = time.time()
    for name in STEPS:
        yield StepStarted(time=now, step=name)
        if name == until:
            return
        outcome = (bad or {}).get(name, "done")
        now += 1
        reason = "" if outcome in GOOD else "no such luck"
        yield StepEnded(time=now, step=name, outcome=outcome, reason=reason, result=Result(path=f"/nix/store/{name}"))


def timeless(record):
    return msgspec.structs.replace(record, started=None, ended=None)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="@"), max_size=20)
TIMES = st.floats(0, 4e9)
RESULTS = st.builds(Result, path=TEXT, warning=TEXT, sent=st.integers(0, 2**53), reboot=st.none() | st.booleans())
EVENTS = st.lists(
    st.one_of(
        st.builds(StepStarted, time=TIMES, step=st.sampled_from(STEPS)),
        st.builds(
            StepEnded,
            time=TIMES,
            step=st.sampled_from(STEPS),
            outcome=st.sampled_from(Outcome.__args__),
            reason=TEXT,
            cause=st.sampled_from(["", *STEPS]),
            result=st.none() | RESULTS,
        ),
        st.builds(Stopping, time=TIMES),
    ),
    max_size=12,
)


def test_a_run_that_ended_is_told_as_it_was(tmp_path):
    journal, report = noted(tmp_path, story(bad={"activate:www-2": "rolled back"}), interrupted=True)
    (entry,) = history.runs(tmp_path)
    assert (entry.run, entry.path) == (journal.run, str(journal.path))
    assert (entry.who, entry.program, entry.words) == (HEADER.who, HEADER.program, HEADER.words)
    assert (entry.verb, entry.source, entry.digest, entry.reason) == (
        "deploy",
        "example/",
        PLAN.digest,
        "the new kernel",
    )
    assert (entry.state, entry.interrupted, entry.instances) == ("ended", True, 4)
    assert entry.counts == report.counts() == {"done": 3, "rolled back": 1}
    assert (entry.ended, entry.seconds) == (report.ended, report.ended - entry.started)
    assert history.report_of(entry) == report


def test_a_build_counts_its_systems(tmp_path):
    plan = build_plan()
    ends = [StepEnded(time=5e9, step=step.id, outcome="done") for step in plan.steps]
    noted(tmp_path, ends, plan)
    (entry,) = history.runs(tmp_path)
    assert (entry.verb, entry.instances, entry.counts) == ("build", 0, {"done": 2})


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(EVENTS)
def test_what_was_written_is_what_is_read(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("round")
    journal, report = noted(folder, events)
    head, *read, end = history._lines(journal.path)
    assert head.run == journal.run
    assert read == events
    assert end == End(time=report.ended, ok=report.ok, interrupted=False, counts=report.counts())
    known = history.report_of(history.find(folder))
    assert known.plan == PLAN
    told = {event.step for event in events if isinstance(event, StepEnded)}
    assert {name: timeless(known.steps[name]) for name in told} == {name: timeless(report.steps[name]) for name in told}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(TIMES, min_size=2 * len(STEPS), max_size=2 * len(STEPS)))
def test_whatever_the_times_nothing_takes_less_than_no_time(tmp_path_factory, times):
    folder = tmp_path_factory.mktemp("times")
    noted(folder, [msgspec.structs.replace(event, time=when) for event, when in zip(story(), times, strict=True)])
    entry = history.find(folder)
    report = history.report_of(entry)
    assert entry.seconds >= 0
    assert report.seconds >= 0
    for step in report.steps.values():
        assert report.started <= step.started <= step.ended <= report.ended


def test_when_the_clock_was_put_back_what_came_later_took_as_long_as_it_did(tmp_path):
    journal = Journal.begin(tmp_path, HEADER, PLAN)
    started = history.find(tmp_path).started
    for event in (
        StepStarted(time=started + 32, step="fetch:www-1"),
        StepStarted(time=started + 32, step="fetch:www-2"),
        # It was put back by an hour.
        StepEnded(time=started - 3562, step="fetch:www-1", outcome="done"),
        StepStarted(time=started - 3561, step="activate:www-1"),
        StepEnded(time=started - 3556, step="activate:www-1", outcome="done"),
        StepEnded(time=started - 3552, step="fetch:www-2", outcome="failed"),
    ):
        journal.heard(event)
    journal.end(Tally(PLAN, started - 3552).report(), interrupted=False)
    entry = history.find(tmp_path)
    steps = history.report_of(entry).steps
    assert entry.seconds == 0
    seconds = {name: steps[name].seconds for name in ("fetch:www-1", "activate:www-1", "fetch:www-2")}
    assert seconds == pytest.approx({"fetch:www-1": 0, "activate:www-1": 5, "fetch:www-2": 10}, abs=1e-3)
    assert steps["activate:www-1"].started == pytest.approx(started + 33)


def test_ends_that_were_told_late_have_their_own_times(tmp_path):
    """A step that ended while another was being told of stands behind it in the journal."""
    now = time.time()
    _, report = noted(
        tmp_path,
        [
            *(StepStarted(time=now + 1, step=name) for name in ("fetch:www-1", "fetch:www-2")),
            StepEnded(time=now + 5, step="fetch:www-1", outcome="done"),
            StepEnded(time=now + 4, step="fetch:www-2", outcome="done"),
            StepStarted(time=now + 5, step="activate:www-2"),
        ],
    )
    known = history.report_of(history.find(tmp_path)).steps
    assert known["fetch:www-2"] == report.steps["fetch:www-2"]
    assert known["activate:www-2"].started == report.steps["activate:www-2"].started


def test_a_journal_that_is_cut_anywhere_tells_what_stands_before_the_cut(tmp_path):
    events = [*story(until="activate:www-2"), Stopping(time=time.time())]
    journal, _ = noted(tmp_path / "whole", events)
    whole = journal.path.read_bytes()
    every = list(history._lines(journal.path))
    folder = tmp_path / "cut" / "runs"
    folder.mkdir(parents=True)
    file = folder / journal.path.name
    head = whole.index(b"\n")
    seen = set()
    # Inside of the first line every 97th byte will do: it is long, and nothing can be told before its end.
    ends = {at + by for at, byte in enumerate(whole) if byte == ord("\n") for by in (-1, 0, 1)}
    sizes = sorted({*range(0, head, 97), *range(head, len(whole), stride(11)), *ends, len(whole)})
    for size in sizes:
        file.write_bytes(whole[:size])
        lines = list(history._lines(file))
        assert lines == every[: len(lines)]
        assert len(lines) in (whole[:size].count(b"\n"), whole[: size + 1].count(b"\n"))
        found = history.runs(tmp_path / "cut")
        assert len(found) == (size >= head)
        for entry in found:
            assert entry.state == ("ended" if len(lines) == len(every) else "killed")
            outcomes = {record.outcome for record in history.report_of(entry).steps.values()}
            assert None not in outcomes
            seen.add(len(lines))
    assert seen == set(range(1, len(every) + 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_garbage_in_a_journal_is_in_the_way(tmp_path, data):
    if not (tmp_path / "runs").exists():
        noted(tmp_path, story())
    (file,) = (tmp_path / "runs").glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    garbage = data.draw(st.binary(min_size=1, max_size=40).filter(lambda text: b"\n" not in text))
    place = data.draw(st.integers(1, len(lines) - 1))
    other = tmp_path / "other" / "runs"
    other.mkdir(parents=True, exist_ok=True)
    (other / file.name).write_bytes(b"".join([*lines[:place], garbage, b"\n", *lines[place:]]))
    mine, theirs = history.find(tmp_path), history.find(tmp_path / "other")
    found = msgspec.structs.replace(history.report_of(theirs), journal=mine.path)
    assert history.report_of(mine) == found
    assert msgspec.structs.replace(theirs, path=mine.path) == mine


@pytest.mark.parametrize(
    "text", ["", "\n\n", "no JSON\n", '{"type":"run"}\n', "[" * 100_000, '{"type":"started","x":' + "[" * 100_000, "\0"]
)
def test_a_file_that_is_no_journal_is_passed_over(tmp_path, text):
    noted(tmp_path, story())
    (tmp_path / "runs" / "20990101T000000Z-ffffff.jsonl").write_text(text)
    (tmp_path / "runs" / "20990101T000000Z-fffffe.jsonl").mkdir()
    assert len(history.runs(tmp_path)) == 1


def changed(file, change):
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    change(lines)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_journal_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path):
    journal, report = noted(tmp_path, story())

    def newer(lines):
        lines[0]["weather"] = lines[0]["plan"]["mood"] = "new"
        lines.insert(3, {"type": "migrated", "time": 1.0, "step": STEPS[0]})
        lines.insert(4, {"type": "started", "time": 1.0, "step": "dance:www-1"})
        lines[5]["load"] = [1, 2]

    changed(journal.path, newer)
    entry = history.find(tmp_path)
    assert (entry.state, entry.counts) == ("ended", {"done": 4})
    assert history.report_of(entry) == report


def test_a_plan_that_is_not_known_is_listed_and_refused_in_words(tmp_path):
    journal, _ = noted(tmp_path, story(), ends=False)
    changed(journal.path, lambda lines: lines[0]["plan"].update(verb="dance"))
    entry = history.find(tmp_path)
    assert (entry.verb, entry.state, entry.counts) == ("dance", "killed", {})
    for read in (history.report_of, history.request_of):
        with pytest.raises(OptionError, match="another version"):
            read(entry)


def test_a_journal_that_is_gone_is_refused_in_words(tmp_path):
    journal, _ = noted(tmp_path, story())
    entry = history.find(tmp_path)
    journal.path.unlink()
    with pytest.raises(OptionError, match="cannot be read"):
        history.report_of(entry)


def test_ends_that_a_full_disk_ate_are_told_as_unknown(tmp_path):
    journal, _ = noted(tmp_path, story())
    gone = f"fetch:{PLAN.targets[1].instance}"
    changed(
        journal.path,
        lambda lines: lines.remove(next(one for one in lines if one["type"] == "ended" and one["step"] == gone)),
    )
    record = history.report_of(history.find(tmp_path)).steps[gone]
    assert record.outcome == "unknown"
    assert "does not tell" in record.reason


CHILD = """
import asyncio, sys
from pathlib import Path
from nixhive_nb.run.engine import Run
from nixhive_nb.plan.events import Result, StepEnded
from nixhive_nb.run.journal import Journal
from tests.run.test_history import PLAN
from tests.run.test_journal import HEADER

class Backend:
    async def perform(self, step, tell):
        if step.id in ("activate:www-1", "fetch:www-3"):
            print("at", step.id, flush=True)
            await asyncio.Event().wait()
        return Result()

def through(event):
    if isinstance(event, StepEnded) and event.step == "activate:www-2":
        print("through", event.step, flush=True)

journal = Journal.begin(Path(sys.argv[1]), HEADER, PLAN)
run = Run(PLAN, Backend())
run.record(journal.heard)
run.subscribe(through)
run.start().wait()
"""


def test_a_run_is_running_while_its_process_lives_and_killed_after_it_was(tmp_path):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            there = {child.stdout.readline().strip() for _ in range(3)}
            assert there == {"at activate:www-1", "at fetch:www-3", "through activate:www-2"}
            alive = history.find(tmp_path)
            report = history.report_of(alive)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    assert (alive.state, alive.ended, alive.seconds) == ("running", None, None)
    assert report.steps["activate:www-1"].outcome is None
    assert "running" in report.counts()

    killed = history.find(tmp_path)
    assert (killed.run, killed.state, killed.ended, killed.interrupted) == (alive.run, "killed", None, False)
    steps = history.report_of(killed).steps
    assert steps["activate:portico"].outcome == "done"
    assert (steps["activate:www-1"].outcome, steps["activate:www-1"].reason) == ("unknown", "the run was killed")
    assert (steps["fetch:www-3"].outcome, steps["activate:www-3"].outcome) == ("cancelled", "cancelled")
    assert steps["fetch:www-3"].started is not None
    assert steps["activate:www-3"].started is None
    assert killed.counts == {"done": 2, "unknown": 1, "cancelled": 1}


def test_a_run_that_ended_does_not_hold_its_journal(tmp_path):
    journal = Journal.begin(tmp_path, HEADER, PLAN)
    assert history.find(tmp_path).state == "running"
    journal.end(Tally(PLAN, 1.0).report(), interrupted=False)
    assert history.find(tmp_path).state == "ended"


def test_reading_a_journal_does_not_let_others_take_it_for_a_killed_one(tmp_path):
    journal = Journal.begin(tmp_path, HEADER, PLAN)
    for _ in range(3):
        assert history.find(tmp_path).state == "running"
        history.report_of(history.find(tmp_path))
    journal.end(Tally(PLAN, 1.0).report(), interrupted=False)


def named(folder, *runs):
    """Runs with these ids, each started a second after the one before."""
    for number, run in enumerate(runs):
        journal, _ = noted(folder, story())
        changed(journal.path, lambda lines, run=run, number=number: lines[0].update(run=run, time=1000.0 + number))
        journal.path.rename(journal.path.with_name(f"{run}.jsonl"))


IDS = ("20261125T103000Z-ffff01", "20261125T103000Z-aa0002", "20261126T000000Z-aa9903")


def test_the_newest_run_stands_first_and_is_the_last_one(tmp_path):
    named(tmp_path, *IDS)
    assert [entry.run for entry in history.runs(tmp_path)] == list(reversed(IDS))
    assert history.find(tmp_path).run == IDS[2]


@pytest.mark.parametrize(
    ("word", "run"), [(IDS[1], 1), ("20261126", 2), ("ff", 0), ("aa00", 1), ("aa9903", 2), ("9903", 2)]
)
def test_a_part_of_an_id_is_enough_when_it_is_the_only_one(tmp_path, word, run):
    named(tmp_path, *IDS)
    assert history.find(tmp_path, word).run == IDS[run]


def test_an_id_that_means_no_run_or_several_is_refused_with_what_there_is(tmp_path):
    with pytest.raises(OptionError, match="No run is noted"):
        history.find(tmp_path)
    assert history.runs(tmp_path) == ()
    named(tmp_path, *IDS)
    with pytest.raises(OptionError, match=f"several runs: {IDS[2]}, {IDS[1]}"):
        history.find(tmp_path, "aa")
    with pytest.raises(OptionError, match=r"no run 'aa9904'\. Is it aa9903"):
        history.find(tmp_path, "aa9904")
    with pytest.raises(OptionError, match=rf"no run 'zzzz'\. The last ones are {IDS[2]}"):
        history.find(tmp_path, "zzzz")


def test_what_was_asked_for_can_be_planned_anew(tmp_path):
    how = {"type": "boot", "no": ("checks",), "canary": 1, "batch": "25%", "max_failures": 2, "wait": 60.0}
    plan = msgspec.structs.replace(PLAN, options=options_of(how, "deploy"))
    noted(tmp_path, [], plan)
    verb, patterns, words = history.request_of(history.find(tmp_path))
    assert (verb, patterns, words["no"]) == ("deploy", (("portico",), ("www-1", "www-*")), ("checks",))
    assert options_of(words, verb) == plan.options
