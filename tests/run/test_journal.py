"""The journal of a run: what is written of it, for whose eyes, and what happens when it cannot be written."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import stat
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nixhive_nb.plan.events import Result, StepEnded, StepLine, StepProgress, StepStarted, Stopping
from nixhive_nb.plan.plan import Plan, Target
from nixhive_nb.plan.step import Step
from nixhive_nb.run import history
from nixhive_nb.run.journal import KEPT, Header, Journal
from nixhive_nb.run.report import Tally
from tests.notebook.values import deploy_plan, inventory

HEADER = Header(
    who="ada@here",
    program="%hive fleet.ipynb",
    words=("deploy", "portico", "*"),
    reason="the new kernel",
    versions={"nixhive_nb": "0.1.0", "Nix": "2.8.0"},
    source="example/",
    deployment="/srv/example/hive.nix",
)


@pytest.fixture
def begin(tmp_path):
    """Begins journals in `.hive` of a folder of the test, and lets go of them at its end."""
    begun = []

    def begin(plan=None, header=HEADER):
        begun.append(Journal.begin(tmp_path / ".hive", header, plan or deploy_plan()))
        return begun[-1]

    yield begin
    for journal in begun:
        journal._stream.close()


def finish(journal, plan=None):
    tally = Tally(plan or deploy_plan(), 1.0)
    journal.end(tally.report(), interrupted=False)


def documents(journal):
    return [json.loads(line) for line in journal.path.read_text().splitlines()]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def full(size):
    """Let this process write no file beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_first_line_tells_who_asked_for_what_and_why(begin):
    plan = deploy_plan()
    journal = begin(plan)
    (head,) = documents(journal)
    assert head["type"] == "run"
    assert head["run"] == journal.run == journal.path.stem
    assert (head["who"], head["program"], head["words"]) == (HEADER.who, HEADER.program, list(HEADER.words))
    assert (head["reason"], head["versions"], head["digest"]) == (HEADER.reason, HEADER.versions, plan.digest)
    assert (head["source"], head["deployment"]) == (HEADER.source, HEADER.deployment)
    assert head["plan"]["verb"] == "deploy"
    assert len(head["plan"]["steps"]) == len(plan.steps)


def test_an_id_is_a_time_and_a_few_random_digits(begin):
    first, second = begin(), begin()
    assert all(len(one.run) == len("20261125T103000Z-a1b2c3") and one.run[15:17] == "Z-" for one in (first, second))
    assert first.run != second.run


def test_each_event_is_with_the_kernel_at_once_but_for_output_and_progress(begin):
    journal = begin()
    told = [
        (StepStarted(time=2.0, step="fetch:www-1"), "started"),
        (StepProgress(time=2.5, step="fetch:www-1", done=1, expected=2), None),
        (StepLine(time=2.6, step="fetch:www-1", text="copying"), None),
        (StepEnded(time=3.0, step="fetch:www-1", outcome="done", result=Result(path="/nix/store/x")), "ended"),
        (Stopping(time=4.0), "stopping"),
    ]
    kinds = ["run"]
    for event, kind in told:
        journal.heard(event)
        kinds += [kind] if kind else []
        assert [one["type"] for one in documents(journal)] == kinds
    finish(journal)
    assert documents(journal)[-1] == {
        "type": "end",
        "time": 1.0,
        "ok": False,
        "interrupted": False,
        "counts": {"running": 4},
    }
    assert not journal.failure


def test_a_journal_is_for_the_eyes_of_its_user_alone(begin):
    journal = begin()
    journal.heard(StepLine(time=1.0, step="fetch:www-1", text="copying"))
    journal.heard(StepLine(time=1.0, step="build", text="building"))
    logs = journal.log_of("www-1").parent
    assert (mode(journal.path.parent), mode(logs)) == (0o700, 0o700)
    assert {mode(file) for file in [journal.path, *logs.iterdir()]} == {0o600}
    assert len(list(logs.iterdir())) == 2


def test_what_an_instance_said_is_in_a_log_of_its_own(begin):
    journal = begin()
    journal.heard(StepLine(time=0.0, step="fetch:www-1", text="copying"))
    journal.heard(StepLine(time=60.0, step="activate:www-1", text="starting units"))
    journal.heard(StepEnded(time=61.0, step="activate:www-1", outcome="failed", reason="exit 1"))
    journal.heard(StepLine(time=0.0, step="build", text="building"))
    assert journal.log_of("www-1").read_text().splitlines() == [
        "1970-01-01T00:00:00Z fetch: copying",
        "1970-01-01T00:01:00Z activate: starting units",
        "1970-01-01T00:01:01Z activate: failed: exit 1",
    ]
    assert (journal.log_of("www-1").parent / "build.log").read_text() == "1970-01-01T00:00:00Z build: building\n"


@pytest.mark.parametrize("name", ["build", "../../up", "..", "a/b", "a b", "ä", "%62uild"])
def test_no_name_of_an_instance_leads_to_another_file(begin, name):
    target = Target(instance=name, system="one", store="", wave=1)
    steps = (Step(id="fetch", kind="fetch", instance=name), Step(id="build", kind="build", systems=("one",)))
    journal = begin(Plan(verb="push", source="x", systems=("one",), targets=(target,), steps=steps))
    journal.heard(StepLine(time=1.0, step="fetch", text="from the host"))
    journal.heard(StepLine(time=1.0, step="build", text="from here"))
    logs = journal.path.with_suffix("")
    assert len(list(logs.iterdir())) == 2
    assert journal.log_of(name).parent == logs
    assert journal.log_of(name).read_text().endswith(" fetch: from the host\n")
    assert (logs / "build.log").read_text().endswith(" build: from here\n")
    assert not journal.failure


def test_no_two_instances_share_a_log(begin):
    journal = begin()
    names = ["build", "%62uild", "a", "A", "a/b", "a%2Fb", "a b"]
    assert len({journal.log_of(name) for name in names}) == len(names)


WORD = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["Z", "C"]), max_size=9)


@given(WORD, st.sampled_from(["ssh", "ssh-ng", "https", "s3"]), st.sampled_from(["", "root"]))
@example('"', "ssh", "root")
@example("\\", "ssh", "root")
@example("a@b:c", "ssh", "root")
def test_a_password_in_a_url_is_written_nowhere(tmp_path_factory, rest, scheme, user):
    secret = f"Xk9{rest}Q7z"
    url = f"{scheme}://{user}:{secret}@portico"
    one = inventory()
    instances = {
        name: instance if not instance.store else type(instance)(name=name, system=instance.system, store=url)
        for name, instance in one.instances.items()
    }
    plan = deploy_plan(type(one)(source=url, systems=one.systems, instances=instances))
    said = f"cannot open '{url}': refused"
    header = Header(
        who="ada", program="nix-hive", words=("deploy", "-c", url), reason=said, source=url, deployment="/x"
    )
    folder = tmp_path_factory.mktemp("redaction")
    journal = Journal.begin(folder, header, plan)
    for step in plan.steps:
        journal.heard(StepStarted(time=1.0, step=step.id))
        journal.heard(StepLine(time=1.0, step=step.id, text=said))
        journal.heard(StepEnded(time=2.0, step=step.id, outcome="failed", reason=said, result=Result(warning=said)))
    finish(journal, plan)
    assert not journal.failure
    lines = [json.dumps(document, ensure_ascii=False) for document in documents(journal)]
    quoted = json.dumps(secret, ensure_ascii=False)[1:-1]
    assert url not in "".join(lines)
    assert quoted not in "".join(lines)
    for log in journal.path.with_suffix("").iterdir():
        assert "portico" in log.read_text()
        assert secret not in log.read_text()
    # The report can be made all the same: steps are found by their ids.
    report = history.report_of(history.find(folder))
    assert {record.outcome for record in report.steps.values()} == {"failed"}


def test_a_full_disk_is_told_and_costs_no_line_but_those_that_did_not_fit(begin):
    journal = begin()
    with full(journal.path.stat().st_size + 10):
        journal.heard(StepStarted(time=2.0, step="fetch:www-1"))
        journal.heard(StepEnded(time=3.0, step="fetch:www-1", outcome="done"))
    assert str(journal.path) in journal.failure
    assert "too large" in journal.failure
    assert journal.failure.count("too large") == 1
    journal.heard(StepStarted(time=4.0, step="fetch:www-2"))
    finish(journal)
    lines = journal.path.read_bytes().splitlines()
    assert len(lines) == 4
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[1])
    assert [json.loads(line)["type"] for line in (lines[0], *lines[2:])] == ["run", "started", "end"]


def test_a_log_that_cannot_be_written_is_told_as_well(begin):
    journal = begin()
    journal.path.with_suffix("").write_text("in the way")
    journal.heard(StepLine(time=1.0, step="fetch:www-1", text="copying"))
    assert "www-1.log" in journal.failure


def test_what_is_heard_after_the_end_goes_nowhere(begin):
    journal = begin()
    finish(journal)
    # A file that is opened now has the number that the journal had.
    other = os.open(os.devnull, os.O_RDONLY)
    before = journal.path.read_bytes()
    journal.heard(StepEnded(time=9.0, step="fetch:www-1", outcome="done"))
    os.close(other)
    assert journal.path.read_bytes() == before
    assert not journal.failure


def test_a_journal_ends_while_another_thread_still_tells(begin):
    journal = begin()
    told = threading.Event()

    def tell():
        for number in range(2000):
            journal.heard(StepStarted(time=float(number), step="fetch:www-1"))
            told.set()

    thread = threading.Thread(target=tell)
    thread.start()
    assert told.wait(30)
    finish(journal)
    thread.join()
    assert documents(journal)[-1]["type"] == "end"
    assert not journal.failure


def test_the_oldest_journals_go_with_their_logs_but_none_that_is_written(begin, tmp_path):
    held = begin()
    folder = held.path.parent
    running = folder / "20000101T000000Z-000000.jsonl"
    held.path.rename(running)
    for number in range(KEPT + 5):
        old = folder / f"20010101T000000Z-{number:06x}.jsonl"
        old.write_text("{}\n")
        old.with_suffix("").mkdir()
        (old.with_suffix("") / "build.log").write_text("said\n")
    new = begin()
    left = sorted(folder.glob("*.jsonl"))
    assert left[0] == running
    assert left[-1] == new.path
    assert [file.stem[17:] for file in left[1:-1]] == [f"{number:06x}" for number in range(6, KEPT + 5)]
    assert {one.name for one in folder.iterdir() if one.is_dir()} == {file.stem for file in left[1:-1]}


def test_a_folder_that_cannot_be_made_is_refused_before_the_run(tmp_path):
    (tmp_path / ".hive").write_text("a file")
    with pytest.raises(OSError, match=r"\.hive"):
        Journal.begin(tmp_path / ".hive", HEADER, deploy_plan())
