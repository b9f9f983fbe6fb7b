"""Journals and plans that somebody else wrote: read, or refused with a reason, never a traceback; none is believed."""

from __future__ import annotations

import contextlib
import json
import os
import re

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixhive_nb import frames
from nixhive_nb.commands.plan_file import read_plan, write_plan
from nixhive_nb.commands.session import records_of
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.sound import flaw_of, unusual_options
from nixhive_nb.plan.step import Step
from nixhive_nb.run import history
from tests.commands.plans import a_plan
from tests.notebook.values import build_plan, deploy_plan
from tests.run.test_history import PLAN, noted, story
from tests.speed import examples
from tests.util.test_said import ODD

ODDITIES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([10**30, -1, 1e308, 253402300800, [], {}, [["x"]], "cancelled", "deploy", "build", *ODD]).filter(
        lambda odd: odd != "\ud800"
    ),
)


def places(value, at=()):
    """All places in a JSON document."""
    yield at
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*at, key))


def changed(document, at, value):
    """The document with another value at one place."""
    if not at:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[at[0]] = changed(copy[at[0]], at[1:], value)
    return copy


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A journal of a run, as JSON."""
    journal, _ = noted(tmp_path_factory.mktemp("journal"), story(bad={"activate:www-2": "failed"}))
    return [json.loads(line) for line in journal.path.read_text().splitlines()]


def put(folder, lines):
    file = folder / "runs" / "20260101T000000Z-abcdef.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def told(folder):
    """Have all that there is of runs told in all ways."""
    frame = frames.history_frame(history.runs(folder))
    json.dumps(records_of(frame))
    frame.to_html()
    for entry in history.runs(folder):
        with contextlib.suppress(OptionError):
            report = history.report_of(entry)
            texts = [str(report), repr(report), report._repr_html_(), report.timeline()._repr_html_()]
            texts += [report.frame.to_string(), report.timings().to_string()]
            assert not any("\x1b" in text or "<script" in text for text in texts)
        with contextlib.suppress(OptionError):
            history.request_of(entry)


@settings(max_examples=examples(150))
@given(st.data())
def test_a_journal_in_which_anything_is_changed_is_told_as_far_as_it_makes_sense(lines, tmp_path_factory, data):
    """E2, E9: the same for what lies in a folder that others write, as for what a host says."""
    number = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.sampled_from(list(places(lines[number]))))
    odd = data.draw(ODDITIES)
    texts = [json.dumps(line) for line in lines]
    texts[number] = json.dumps(changed(lines[number], at, odd))
    folder = tmp_path_factory.mktemp("odd")
    put(folder, texts)
    told(folder)


def test_a_build_of_a_system_that_nothing_else_names_breaks_no_timeline(tmp_path, lines):
    steps = lines[0]["plan"]["steps"]
    builds = [number for number, step in enumerate(steps) if step["kind"] == "build"]
    assert builds
    for number in builds:
        put(
            tmp_path, map(json.dumps, [changed(lines[0], ("plan", "steps", number, "systems", 0), "other"), *lines[1:]])
        )
        told(tmp_path)


@given(st.lists(st.binary(max_size=200), max_size=4))
@example([b"[" * 100_000])
@example([b'{"type":"run"}'])
def test_any_bytes_are_no_journal(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("odd")
    put(folder, []).write_bytes(b"\n".join(parts))
    told(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("time", 1e300), ("time", -5), ("run", "\x1b[2J<script>"), ("who", "<script>\x1b[2J" * 1000)],
)
def test_a_beginning_that_is_in_no_calendar_or_steers_terminals_breaks_nothing(tmp_path, lines, name, value):
    """E2: `history` of the whole folder was a traceback."""
    put(tmp_path, map(json.dumps, [{**lines[0], name: value}, *lines[1:]]))
    noted(tmp_path, story())
    told(tmp_path)
    assert history.runs(tmp_path)[0].instances == 4


@pytest.mark.parametrize("number", [2**63, 10**30, -(10**30), 10**400], ids=["2^63", "10^30", "-10^30", "10^400"])
def test_a_number_that_no_table_holds_is_passed_over(tmp_path, lines, number):
    """E2."""
    sent = {
        "type": "ended",
        "time": lines[0]["time"],
        "step": "fetch:www-1",
        "outcome": "done",
        "result": {"sent": number},
    }
    put(tmp_path, map(json.dumps, [*lines[:-1], sent, {**lines[-1], "counts": {"done": number}}]))
    told(tmp_path)


def test_a_cause_that_is_no_step_is_none(tmp_path, lines):
    """The cause of an end is looked up among the steps: that was a `KeyError`."""
    put(tmp_path, [json.dumps({**line, "cause": "x"} if line["type"] == "ended" else line) for line in lines])
    (entry,) = history.runs(tmp_path)
    assert {record.outcome for record in history.report_of(entry).instances()} == {"done", "failed"}


def test_a_pipe_in_the_folder_of_runs_holds_nobody_up(tmp_path):
    """Opening one to read waits for somebody who writes, for ever."""
    (tmp_path / "runs").mkdir()
    os.mkfifo(tmp_path / "runs" / "20260101T000000Z-abcdef.jsonl")
    assert history.runs(tmp_path) == ()


@pytest.mark.parametrize("plan", [PLAN, deploy_plan(), build_plan()])
def test_a_plan_of_ours_is_sound(plan):
    assert flaw_of(plan) == unusual_options(plan) == ""


def steps(**of_first):
    first, *rest = PLAN.steps
    return (msgspec.structs.replace(first, **of_first), *rest)


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"steps": (*PLAN.steps, PLAN.steps[0])}, "it has two steps"),
        ({"steps": steps(needs=(PLAN.steps[-1].id,))}, "comes before what it needs"),
        ({"steps": steps(after=("no such step",))}, "comes before what it needs"),
        ({"steps": steps(needs=(PLAN.steps[0].id,))}, "comes before what it needs"),
        ({"steps": steps(path="--option")}, "is none: '--option'"),
        ({"steps": steps(path="-x")}, "is none: '-x'"),
        ({"steps": steps(path="/nix/store/x\n--option")}, "is none"),
        ({"steps": steps(path="/nix/store/x --option")}, "is none"),
        ({"steps": steps(seconds=1e300)}, "takes 1e\\+300 s"),
        ({"steps": steps(seconds=-1.0)}, "takes -1 s"),
        ({"targets": (*PLAN.targets, PLAN.targets[0])}, "an instance twice"),
    ],
)
def test_a_plan_that_could_not_have_been_made_is_told_apart(changes, flaw):
    """E6, and the kind: a file from a repository says what is given to Nix and to hosts."""
    assert re.search(flaw, flaw_of(msgspec.structs.replace(PLAN, **changes)))


@pytest.mark.parametrize(
    ("options", "flaw"),
    [
        (Options(confirm=-3.0), "--confirm"),
        (Options(wait=-1.0), "--wait"),
        (Options(activation=0.0), "--activation-timeout"),
        (Options(canary=-2), "--canary"),
    ],
)
def test_options_that_no_command_has_are_told(options, flaw):
    assert flaw in unusual_options(msgspec.structs.replace(PLAN, options=options))


def test_a_plan_file_that_holds_an_option_is_refused_though_its_digest_fits(tmp_path):
    """E6, and the kind: whoever writes such a file writes its digest, too. With --force nothing else is compared."""
    plan = a_plan(tmp_path)
    step = Step(id="register:www", kind="register", systems=("www",), path="--option")
    write_plan(msgspec.structs.replace(plan, steps=(step,)), tmp_path / "p")
    with pytest.raises(
        OptionError, match=r"the path of step register:www is none: '--option'\. Make one: plan --out\."
    ):
        read_plan(tmp_path / "p")
    write_plan(msgspec.structs.replace(plan, options=Options(wait=-1.0)), tmp_path / "p")
    with pytest.raises(OptionError, match=r"holds no plan that this program would make: --wait -1"):
        read_plan(tmp_path / "p")
    write_plan(plan, tmp_path / "p")
    assert read_plan(tmp_path / "p") == plan


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"digest": "\xff"}', b"\0" * 99, b'{"plan":' * 5000], ids=range(4))
def test_a_file_that_is_no_plan_is_an_error_with_words(tmp_path, data):
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(OptionError, match="holds no plan that this version can read"):
        read_plan(tmp_path / "p")
