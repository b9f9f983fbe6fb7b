"""`%hive targets`, `@picked`, and the leave that a notebook without a person has to give."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from jupyter_client.manager import start_new_kernel

from nixhive_nb.notebook.picker import Picker, picker_for, settle_taken
from tests.notebook.conftest import Shell, execute


def said(outputs):
    return "".join(output.get("text", "") + "\n".join(output.get("traceback", ())) for output in outputs)


@pytest.mark.parametrize("words", ["@picked", "$picker", "{picker.value}", "'@(@picked)'"])
def test_what_is_picked_are_targets(shell, words):
    shell.run("picker = %hive targets")
    assert isinstance(shell["picker"], Picker)
    shell["picker"].value = ["www-2"]
    assert list(shell.run(f"%hive instances {words}").index) == ["www-2"]


def test_the_picker_that_was_shown_last_counts(shell):
    shell.run("first = %hive targets")
    shell["first"].value = ["db-1"]
    shell.run("second = %hive targets web")
    assert [row.instance for row in shell["second"].rows] == ["www-1", "www-2"]
    error = shell.error("%hive instances @picked")
    assert type(error) is UsageError
    assert str(error) == "Nothing is picked. In a notebook, `%hive targets` shows a picker for @picked."


def test_a_group_that_is_empty_names_those_that_could_not_be_asked(shell):
    """Else a host that does not answer just now would be taken for one that needs nothing."""
    warned, _ = shell.attempt("%hive instances @outdated")
    assert "'@outdated' is empty" in warned
    assert "@outdated is without those of which it is not known" in warned
    assert "www-1: " in warned


def views(outputs):
    """Tell for each output whether a widget stands in for it."""
    return ["hive-slot-" in output.get("data", {}).get("text/html", "") for output in outputs]


@pytest.mark.slow
def test_another_picker_ends_the_one_before_that_only_a_cell_shows(folder):
    _, passing, named, _, later, last = execute(
        folder,
        "%load_ext nixhive_nb",
        "%hive targets",
        "%hive targets db",
        "picker = _",
        "%hive targets web",
        "picker",
        attended=True,
    )
    assert views(passing) == [False]
    assert "Nothing is selected." in passing[0].data["text/html"]
    # What has a name is used by it: "$picker".
    assert views(named) == views(later) == views(last) == [True]


def test_one_that_was_given_to_a_variable_goes_on(shell):
    shell.run("first = %hive targets\n%hive targets --out second")
    shell["first"].value = ["db-1"]
    shell["second"].value = ["www-2"]
    shell.run("names = ('first', 'second')\n%hive targets")
    assert list(shell.run("%hive instances $first").index) == ["db-1"]
    assert list(shell.run("%hive instances $second").index) == ["www-2"]


@pytest.mark.slow
def test_unloading_leaves_what_was_picked_as_a_table(folder):
    _, shown, _, _ = execute(
        folder,
        "%load_ext nixhive_nb",
        "picker = %hive targets\npicker",
        "picker.value = ['www-2', 'db-1']",
        "%unload_ext nixhive_nb",
        attended=True,
    )
    assert views(shown) == [False]
    assert "2 selected, in this order: www-2, db-1" in shown[0].data["text/html"]


@pytest.mark.slow
def test_a_kernel_that_ends_leaves_tables(folder):
    """F6: what is saved afterwards holds no place for a widget that nobody will ever fill."""
    manager, client = start_new_kernel(cwd=str(folder))
    try:
        for cell in ("%load_ext nixhive_nb", "picker = %hive targets\npicker"):
            client.execute_interactive(cell, allow_stdin=True, output_hook=lambda _: None, timeout=60)
        client.shutdown()
        while (told := client.get_iopub_msg(timeout=60))["msg_type"] != "update_display_data":
            pass
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert set(told["content"]["data"]) == {"text/plain", "text/html"}
    assert "Nothing is selected." in told["content"]["data"]["text/plain"]


@pytest.mark.slow
def test_what_was_picked_are_targets_when_it_is_done(folder):
    *_, found = execute(
        folder,
        "%load_ext nixhive_nb",
        "picker = %hive targets",
        "picker.widget.set_state({'value': ['www-2'], 'done': True})",
        "group = %hive instances @picked\nnamed = %hive instances $picker",
        "print(list(group.index), list(named.index), picker.widget)",
        attended=True,
    )
    assert said(found) == "['www-2'] ['www-2'] None\n"


@pytest.fixture
def picker(shell):
    """A picker that the shell's `picker` is, with a widget, in which something is picked."""
    shell.run("picker = %hive targets")
    one = picker_for(shell["picker"].rows, picked=["www-2"], widgets="own")
    shell.ip.user_ns["picker"] = one
    shell.ip.magics_manager.registry["HiveMagics"].session.picked = one.take
    yield one
    one.close()


@pytest.mark.parametrize(
    "line",
    ["instances $picker --mistake", "instances $picker nosuch", "instances @picked nosuch", "nosuch $picker"],
)
def test_a_mistake_beside_what_is_picked_leaves_the_choosing_open(shell, picker, line):
    shell.error(f"%hive {line}")
    assert picker.widget is not None
    shell.run("%hive instances $picker")
    assert picker.widget is None


def test_a_cell_keeps_what_a_command_took_whatever_is_picked_while_it_runs(picker):
    assert picker.take() == ("www-2",)
    picker.widget.set_state({"value": ["db-1"]})
    settle_taken(used=True)
    assert (picker.value, picker.widget) == (("www-2",), None)


def test_what_is_picked_and_gone_from_the_deployment_is_named(shell, folder):
    shell.run("picker = %hive targets")
    shell["picker"].value = ["www-2", "db-1"]
    text = (folder / "hive.nix").read_text()
    (folder / "hive.nix").write_text(
        text.replace('db-1 = { system = "db"; ssh = NOWHERE; };', "").replace("db-1", "db-9")
    )
    error = shell.error("%hive instances @picked")
    assert "@picked: db-1 is not in hive.nix any more. Pick again: %hive targets." in str(error)


@pytest.mark.slow
def test_a_notebook_that_runs_by_itself_has_to_say_yes(folder):
    load, refused, leave = execute(
        folder, "%load_ext nixhive_nb", "%hive deploy www-1", "%hive deploy www-1 --yes --no confirm"
    )
    assert load == []
    assert "This session is not interactive: say --yes, or --plan DIGEST" in said(refused)
    assert "--yes, or" not in said(leave)
    assert "0 of 1 deployed" in said(leave)


def test_a_notebook_with_a_person_need_not(folder):
    manager, client = start_new_kernel(cwd=str(folder))
    try:
        outputs = []
        for cell in ("%load_ext nixhive_nb", "%hive deploy www-1"):
            client.execute_interactive(
                cell,
                allow_stdin=True,
                output_hook=lambda message: outputs.append(message["content"]),
                timeout=60,
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "--yes, or" not in said(outputs)
    assert "0 of 1 deployed" in said(outputs)


def test_the_policy_is_a_setting():
    with_policy = Shell(policy="always")
    with_policy.run("%load_ext nixhive_nb")
    assert "The policy requires a confirmation: say --yes" in str(with_policy.error("%hive deploy '*'"))
    with_policy.run("%config Hive.policy = 'free'")
    assert "--yes" not in str(with_policy.error("%hive deploy '*'"))
    with_policy.run("%unload_ext nixhive_nb")
