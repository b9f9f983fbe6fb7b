"""Journals, plan files and state files of the version before formats had a number are read as they were then.

`tests/data/journals` was written by that version: runs of a simulated fleet, and in `read.json` what it read of them.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from nixhive_nb.commands.plan_file import read_plan, write_plan
from nixhive_nb.deployment.state import believed, read_state
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.drift import differences
from nixhive_nb.plan.formats import FORMAT
from nixhive_nb.plan.plan import ON_INSTANCES, Options
from nixhive_nb.plan.planner import plan_transfer
from nixhive_nb.run import history
from nixhive_nb.run.found import survey_of
from nixhive_nb.run.journal import Header, Journal
from nixhive_nb.view.report import report_text
from nixhive_nb.view.timeline import Timeline
from tests.plan.fleets import CHECK, instance, inventory

DATA = Path(__file__).parents[1] / "data" / "journals"
READ = json.loads((DATA / "read.json").read_text())
KINDS = {"look": "probe", "measure": "missing", "realise": "build", "build": "register", "wave": "gate"}
FLEET = inventory(
    instance("portico", "portico"),
    instance("www-1", "www", store="ssh://portico", tags=("web",), checks=(CHECK,)),
    instance("www-2", "www", store="ssh://portico", tags=("web",)),
    instance("db", "db", jump="portico", tags=("data",)),
    paths={"db": ("nixpkgs=/srv/other",)},
)


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DATA / "runs", tmp_path / "runs")
    return tmp_path


def in_new_words(text):
    """What a sentence of then says now: steps that failed have the names that they have now."""
    return re.sub(r"\b(look|measure|build|wave):(?=[a-z0-9])", lambda found: f"{KINDS[found[1]]}:", text)


def in_new_looks(text):
    """The words of a line of then as a table has them now: numbers stand to the right, and store paths are short."""
    short = re.sub(r"/nix/store/([0-9a-z]{8})[0-9a-z]{24}-", r"\1…-", in_new_words(text))
    return short.replace("/nix/store/", "").split()


def told_in(lines):
    """The words of all lines but for the titles of columns, of which those that say nothing are left out now."""
    return [
        in_new_looks(line) for line in lines if line.split()[:2] not in (["instance", "outcome"], ["system", "outcome"])
    ]


def plain(value):
    return json.loads(json.dumps(msgspec.to_builtins(value)))


def renamed(rows):
    words = [{**row, "reason": in_new_words(row["reason"])} for row in rows]
    return [{**row, "failed_step": "gate"} if row.get("failed_step") == "wave" else row for row in words]


def test_the_history_has_the_rows_that_it_had(folder):
    entries = history.runs(folder)
    assert {entry.run: {**plain(entry), "path": ""} for entry in entries} == {
        run: {**told["entry"], "revision": "", "asked": [",".join(wave) for wave in told["request"][1]]}
        for run, told in READ.items()
    }
    assert {entry.state for entry in entries} == {"ended", "killed"}
    assert any(entry.interrupted for entry in entries)


@pytest.mark.parametrize("run", READ)
def test_a_report_tells_what_it_told(folder, run):
    told = READ[run]
    report = history.report_of(history.find(folder, run))
    assert report.plan.digest == told["digest"]
    assert [{**plain(one), "log_file": ""} for one in report.instances()] == renamed(told["instances"])
    assert [{**plain(one), "log_file": ""} for one in report.systems()] == renamed(told["systems"])
    report = msgspec.structs.replace(report, journal=Path(report.journal).name)
    assert told_in(report_text(report).splitlines()) == told_in(told["text"])
    assert str(Timeline.of(report)).splitlines() == told["timeline"]


def test_what_a_survey_found_is_found(folder):
    (run,) = (run for run, told in READ.items() if told["survey"])
    found = plain(survey_of(history.report_of(history.find(folder, run))))
    # Since then it is told when a host was asked, and what it keeps of ours.
    assert all(seen.pop("asked") > 0 or not seen["facts"] for seen in found["seen"])
    assert all((seen["facts"] or {"kept": []}).pop("kept") == [] for seen in found["seen"])
    # And what it was made from.
    assert all(seen.pop("noted") == "" for seen in found["seen"])
    assert all((seen["facts"] or {"revision": ""}).pop("revision") == "" for seen in found["seen"])
    # And whether a login becomes root.
    assert all(seen.pop("powerless") == "" for seen in found["seen"])
    # And where a system can be built.
    assert (found.pop("places"), found.pop("sendings")) == ([], [])
    assert all(wanted.pop("needs") == [] for wanted in found["wanted"])
    assert found == READ[run]["survey"]


@pytest.mark.parametrize("run", READ)
def test_a_run_is_resumed_with_what_was_asked_for(folder, run):
    request = plain(history.request_of(history.find(folder, run)))
    assert request[2].pop("refuse") == []  # which came later
    assert request[2].pop("build_on") == ""  # and this
    assert request[2].pop("reroute") is False  # and this
    assert request == READ[run]["request"]


def test_what_failed_is_known(folder):
    entry = history.last(folder, ON_INSTANCES, ended=True)
    assert {one.instance for one in history.report_of(entry).instances() if one.outcome == "cancelled"} == {
        "www-1",
        "www-2",
    }


def test_steps_are_told_by_their_names_of_now(folder):
    entry = next(one for one in history.runs(folder) if one.counts == {"skipped": 4})
    report = history.report_of(entry)
    assert report.steps["register:www"].outcome == "failed"
    assert report.steps["fetch:www-1"].reason == "because of register:www"
    assert report.steps["activate:db"].cause == "gate:1"
    assert {one.instance: one.failed_step for one in report.instances()} == {
        "portico": "activate",
        "db": "gate",
        "www-1": "build",
        "www-2": "build",
    }


def test_a_plan_file_is_the_plan_that_would_be_made_now(folder):
    plan = read_plan(DATA / "plan.json")
    (run,) = (run for run, told in READ.items() if told["survey"])
    survey = survey_of(history.report_of(history.find(folder, run)))
    targets = select_instances(FLEET, ("portico", "*"))
    fresh = plan_transfer(FLEET, targets, "deploy", Options(canary=1, pause=5.0), survey=survey)
    assert plan.steps == fresh.steps
    assert differences(plan, fresh) == ()
    assert plan.whole_digest == document()["digest"]
    assert plan.digest == next(told["digest"] for told in READ.values() if told["entry"]["reason"])


def document():
    return json.loads((DATA / "plan.json").read_text())


def written(folder, found):
    file = folder / "plan.json"
    file.write_text(json.dumps(found))
    return file


def test_a_plan_file_that_was_changed_by_hand_is_refused_in_each_format(tmp_path):
    old = document()
    old["plan"]["steps"][-2]["path"] = "/nix/store/other"
    new = tmp_path / "new.json"
    write_plan(msgspec.structs.replace(read_plan(DATA / "plan.json"), noted=""), new)
    now = json.loads(new.read_text())
    assert now["format"] == FORMAT
    assert read_plan(new).steps == read_plan(DATA / "plan.json").steps
    now["plan"]["steps"][-2]["path"] = "/nix/store/other"
    # Whoever changes a plan could say that this digest is its own.
    now["plan"]["noted"] = now["digest"]
    for found in (old, now):
        with pytest.raises(OptionError, match="was changed"):
            read_plan(written(tmp_path, found))


@pytest.mark.parametrize("kind", ["bake", 7, None])
def test_an_old_plan_with_steps_that_nobody_knows_is_none(tmp_path, kind):
    found = document()
    found["plan"]["steps"][0]["kind"] = kind
    with pytest.raises(OptionError, match="holds no plan"):
        read_plan(written(tmp_path, found))


def test_what_a_newer_version_wrote_is_not_guessed_at(folder):
    with pytest.raises(OptionError, match=f"format {FORMAT + 1}"):
        read_plan(written(folder, {**document(), "format": FORMAT + 1}))
    entry = history.runs(folder)[0]
    file = Path(entry.path)
    file.write_text(file.read_text().replace('{"type":"run"', f'{{"type":"run","format":{FORMAT + 1}', 1))
    assert history.runs(folder)[0].run == entry.run
    with pytest.raises(OptionError, match="written by another version"):
        history.report_of(entry)


def test_a_journal_of_now_says_its_format_and_is_read_as_it_was_written(folder):
    report = history.report_of(history.runs(folder)[-2])
    header = Header(who="ada@desk", program="Python", source="example/", deployment="/srv/example/hive.nix")
    journal = Journal.begin(folder, header, report.plan)
    journal.close()
    assert json.loads(journal.path.read_text())["format"] == FORMAT
    again = history.report_of(history.find(folder, journal.run))
    assert (again.plan.steps, again.plan.digest) == (report.plan.steps, report.plan.digest)


def test_the_results_of_a_state_file_are_believed():
    assert believed(read_state(DATA / "hive.state")) == (
        {
            "www": (
                "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-www",
                "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-nixos-system-www.drv",
            )
        },
        [],
    )
