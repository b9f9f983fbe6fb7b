"""The report that a user gets of a run."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import msgspec
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.lib.pretty import pretty

from nixhive_nb import frames
from nixhive_nb.errors import RunFailed
from nixhive_nb.notebook.display import Record
from nixhive_nb.run.engine import Run
from nixhive_nb.run.journal import Journal
from nixhive_nb.testing.world import HostModel, World
from nixhive_nb.view.record import ROWS
from tests.notebook import values
from tests.notebook.values import Story, build_plan, deployed
from tests.plan.fleets import deploy, fleet_of, instance, inventory
from tests.run.test_journal import HEADER


@cache
def failed():
    return deployed({"fetch:www-2": "disk full"})


def test_it_is_a_plain_value():
    assert pickle.loads(pickle.dumps(failed())) == failed()
    with pytest.raises(AttributeError):
        failed().started = 0.0


def test_a_cell_shows_its_record():
    found, _ = DisplayFormatter().format(failed())
    assert found["text/html"] == Record(failed()).html()
    assert found["text/plain"] == str(failed())


def test_a_cell_keeps_little_of_a_large_one_and_print_shows_all():
    names = tuple(f"www-{number:04}" for number in range(999))
    report = deployed({f"fetch:{name}": f"no route to {name}" for name in names}, values.inventory(names))
    found, _ = DisplayFormatter().format(report)
    assert len(found["text/plain"]) < 20_000
    assert f"… and {1000 - ROWS} more: {999 - ROWS} failed, 1 done" in found["text/plain"]
    whole = str(report)
    assert all(name in whole for name in names)


def test_a_terminal_gets_no_control_from_it():
    assert "\x1b" not in pretty(deployed({"fetch:www-2": "\x1b[2Jdisk full"}))


def test_its_timeline_has_html_and_text():
    found, _ = DisplayFormatter().format(failed().timeline())
    assert found["text/html"].count("✕ failed at fetch") == 1
    assert found["text/plain"] == str(failed().timeline())


def test_its_tables_are_those_of_the_frames():
    assert failed().frame.equals(frames.outcome_frame(failed()))
    assert failed().timings().equals(frames.timings_frame(failed()))
    build = Story(build_plan()).rest()
    assert build.frame.equals(frames.build_frame(build))


def test_in_short_it_says_how_the_run_ended():
    assert repr(failed()) == "Report(deploy: 3 of 4 deployed, 1 failed)"
    named = msgspec.structs.replace(failed(), journal="/somewhere/20261122T211402Z-7f3a01.jsonl")
    assert repr(named) == "Report(deploy 20261122T211402Z-7f3a01: 3 of 4 deployed, 1 failed)"


def test_as_text_it_tells_a_terminal_how_to_do_it_again():
    named = msgspec.structs.replace(failed(), journal="/somewhere/20261122T211402Z-7f3a01.jsonl")
    assert str(named).endswith("Again, for what failed: nix-hive deploy --resume 7f3a01 -c example/")
    usual = msgspec.structs.replace(named, plan=msgspec.structs.replace(named.plan, source="hive.nix"))
    assert str(usual).endswith("Again, for what failed: nix-hive deploy --resume 7f3a01")


def test_the_logs_that_it_names_are_there(tmp_path):
    fleet = fleet_of(World(hosts={"b": HostModel(faults=("disk full",))}, unbuildable=("two",)))
    plan = deploy(inventory(instance("a"), instance("b"), instance("c", "two")))
    journal = Journal.begin(tmp_path, HEADER, plan)
    run = Run(
        plan,
        fleet.backend(plan),
        clock=fleet.clock.time,
        loop_factory=fleet.clock.loop,
        journal=str(journal.path),
    )
    run.record(journal.heard)
    assert run.start().wait(60)
    journal.end(run.report(), interrupted=False)
    report = run.report()
    assert report.run == journal.run
    files = {record.instance: record.log_file for record in report.instances()}
    assert "failed: No space left on device." in Path(files["b"]).read_text()
    assert "register: failed: the builder of two failed" in Path(files["c"]).read_text()


def test_who_failed_raises_with_the_report_and_its_table():
    with pytest.raises(RunFailed) as caught:
        failed().raise_if_failed()
    assert str(caught.value).startswith("3 of 4 deployed, 1 failed")
    assert caught.value.report is failed()
    assert caught.value.frame.equals(failed().frame)
    well = deployed()
    assert well.raise_if_failed() is well


def test_the_failure_of_a_command_has_its_table_and_no_report():
    frame = frames.run_frame([])
    assert RunFailed("1 of 2 hosts failed.", frame=frame).frame is frame
    assert RunFailed("It ended with exit status 1.").frame is None
