"""E3: what a notebook shows and keeps has no secret of the deployment or of a command."""

from __future__ import annotations

import json
import re
import stat

import msgspec
import pytest

from nixhive_nb.deployment.inventory import Check, Instance
from nixhive_nb.frames import instances_frame, plan_frame
from nixhive_nb.notebook.display import PlanView, Record
from nixhive_nb.util import log
from nixhive_nb.view.plan import plan_text
from nixhive_nb.view.plan_picture import mermaid, svg
from nixhive_nb.view.progress import progress_of
from nixhive_nb.view.report import report_text
from tests.notebook.values import Story, deploy_plan, inventory

URL = "https://ci:hunter2@cache.example?secret-key=k3yk3y"
OTHER = "https://ci:hunter3@cache.example?secret-key=k3yk3y"
SECRET = re.compile("hunter2|hunter3|k3yk3y")


def hidden():
    one = inventory()
    changed = {
        name: Instance(
            name=name, system=host.system, store=host.store and (OTHER if name == "www-3" else URL),
            checks=(Check(name="up", kind="http", url="http://ci:hunter2@localhost/"),),
        )
        for name, host in one.instances.items()
    }  # fmt: skip
    flags = ("--option", "access-tokens", "forge=hunter2", "--builders", "ssh://b:hunter2@h")
    return msgspec.structs.replace(one, instances=changed, build_flags=flags)


def failed(plan):
    story = Story(plan)
    story.begin("fetch:www-1", 1, 2, line="copying")
    story.rest()
    return story.tally.report()


def test_no_view_of_a_plan_or_a_run_has_a_secret():
    plan = deploy_plan(hidden())
    report = failed(plan)
    shown = [
        repr(hidden()), repr(plan), repr(plan.steps), repr(plan.targets), plan_text(plan), svg(plan), mermaid(plan),
        plan_frame(plan).to_json(), PlanView(plan).html(), repr(PlanView(plan)), msgspec.json.encode(plan).decode(),
        report_text(report), repr(Record(report)), repr(report), json.dumps(hidden().to_json({})),
        repr(progress_of(report)),
    ]  # fmt: skip
    for text in shown:
        assert not SECRET.search(text), text[:300]


def test_stores_that_only_a_password_tells_apart_are_two():
    """Each is pushed to on its own: steps have names that differ, and none is a secret."""
    plan = deploy_plan(hidden())
    pushes = [step.id for step in plan.steps if step.kind == "push"]
    assert pushes == [
        "push:www>https://ci:***@cache.example?secret-key=***",
        "push:www>https://ci:***@cache.example?secret-key=***#2",
    ]


def test_the_log_of_a_notebook_is_switched_on_and_off(shell, folder):
    shell.run(f"%config Hive.log = {str(folder / 'log')!r}")
    shell.run("%hive instances")
    text = (folder / "log").read_text()
    assert "%hive instances" in text
    assert "process: started" in text
    assert stat.S_IMODE((folder / "log").stat().st_mode) == 0o600
    shell.run("%config Hive.log = ''")
    shell.run("%hive instances")
    assert (folder / "log").read_text() == text
    assert log.log_file() is None


def test_a_log_that_cannot_be_written_is_told_and_the_command_goes_on(shell, folder):
    shell.run("%config Hive.log = '/no/such/folder/log'")
    assert "No such file or directory" in shell.out
    assert len(shell.run("df = %hive instances\ndf")) == 3
    shell.run("%config Hive.log = ''")


def test_the_log_ends_with_the_extension(shell, folder):
    shell.run(f"%config Hive.log = {str(folder / 'log')!r}")
    shell.run("%unload_ext nixhive_nb")
    assert log.log_file() is None
    shell.run("%load_ext nixhive_nb")


def test_verbose_is_for_one_command(shell):
    shell.run("%hive instances --verbose")
    assert "process: started" in shell.out
    shell.run("%hive instances")
    assert "process: started" not in shell.out


def test_a_value_of_a_variable_is_in_no_log(shell, folder):
    """A command that is refused, and one whose hosts cannot be reached: the value stands in neither entry."""
    shell.run(f"%config Hive.log = {str(folder / 'log')!r}")
    shell.ip.user_ns["token"] = "it's hunter2 'q'"
    shell.attempt("%hive run -v token=$token nobody-is-called-so true")
    shell.attempt('%hive run -v "token=$token" www-1 true')
    shell.run("%config Hive.log = ''")
    text = (folder / "log").read_text()
    assert "%hive run -v" in text
    assert "hunter2" not in text


def test_a_bug_report_is_written_and_named(shell, folder):
    shell.run(f"%hive bug-report --file {folder / 'report.txt'}")
    assert str(folder / "report.txt") in shell.out
    text = (folder / "report.txt").read_text()
    assert "Hive.parallel = 32" in text
    assert "program = %hive" in text


@pytest.mark.parametrize("name", ["store"])
def test_tables_have_the_name_of_a_store(name):
    from nixhive_nb.deployment.targets import select_instances

    one = hidden()
    frame = instances_frame(one, select_instances(one, ()))
    assert not SECRET.search(frame.to_json())
    assert frame.loc["www-1", name] == "https://ci:***@cache.example?secret-key=***"
