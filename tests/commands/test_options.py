"""Options of commands: one that is empty is a mistake, and `~` is the home folder."""

from __future__ import annotations

import click
import pytest

from nixhive_nb.errors import DeploymentError, OptionError
from nixhive_nb.plan.options import options_of


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-c", "", "instances"], "--config"),
        (["instances", "--config="], "--config"),
        (["-s", "", "systems"], "--state"),
        (["deploy", "--yes", "--once", "", "www"], "--once"),
        (["deploy", "--yes", "--batch", "", "www"], "--batch"),
        (["deploy", "--yes", "--max-failures", "", "www"], "--max-failures"),
        (["deploy", "--yes", "--no", "", "www"], "--no"),
        (["deploy", "--yes", "--resume", ""], "--resume"),
        (["plan", "--out", "", "www"], "--out"),
        (["load", ""], "PATH"),
        (["apply", "--yes", ""], "FILE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_empty_is_named_and_nothing_is_done(invoke, folder, words, named):
    with pytest.raises(click.UsageError, match="it is empty") as caught:
        invoke(*words)
    assert named in caught.value.format_message()
    assert sorted(path.name for path in folder.iterdir()) == ["hive.nix"]


def test_a_resumed_run_is_the_last_one_without_its_name(invoke):
    with pytest.raises(Exception, match="No push or deploy is noted"):
        invoke("deploy", "--resume", "--yes")


@pytest.mark.parametrize("words", [["instances", "--out", "x"], ["--out", "x", "deploy", "--yes", "www"]])
def test_out_of_a_command_that_has_no_file_is_told_before_anything_is_done(invoke, folder, words):
    with pytest.raises(click.UsageError, match="--out goes with plan, or with %hive in a notebook"):
        invoke(*words)
    assert sorted(path.name for path in folder.iterdir()) == ["hive.nix"]


@pytest.mark.parametrize("words", [["--out", "plan.json", "plan", "www"], ["plan", "www", "--out", "plan.json"]])
def test_a_plan_goes_into_a_file(invoke, words):
    with pytest.raises(invoke.Reached):
        invoke(*words)


@pytest.mark.parametrize("name", ["get_ipython", "In", "Out", "exit", "quit", "_", "__", "_3", "_i", "_i3", "__name__"])
def test_a_name_of_ipython_is_not_overwritten(in_notebook, name):
    with pytest.raises(click.UsageError, match=f"'{name}' is a name of IPython's own"):
        in_notebook("instances", "--out", name)


@pytest.mark.parametrize("name", ["df", "_mine", "_index", "out"])
def test_other_names_are_free(in_notebook, name):
    assert list(in_notebook("instances", "--out", name).frame.index) == ["www-1"]


@pytest.mark.parametrize("words", [["-c", "~/hive.nix", "instances"], ["load", "~/hive.nix"]])
def test_a_tilde_is_the_home_folder(invoke, folder, monkeypatch, words):
    (folder / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder / "elsewhere")
    invoke("-s", "~/my.state", *words)
    assert list(invoke("instances").frame.index) == ["www-1"]
    assert invoke.session.current.state_file == folder / "my.state"


@pytest.mark.parametrize("word", ["-canary", "-batch", "-max-failures=1"])
def test_a_long_option_with_one_dash_is_named(invoke, word):
    """`-canary 1` would be `-c anary`: a deployment of that name."""
    with pytest.raises(click.UsageError, match="has one dash: write --"):
        invoke("deploy", "--yes", word, "1", "www")


@pytest.mark.parametrize(("option", "what"), [("--canary", "whole number"), ("--pause", "number")])
def test_what_is_no_number_is_told_in_words_that_people_have(invoke, option, what):
    with pytest.raises(click.UsageError, match=f"'one' is not a valid {what}"):
        invoke("deploy", "--yes", option, "one", "www")


def test_help_of_a_command_that_is_not_there_names_the_one_that_is_near(invoke):
    for words in (["help", "depoly"], ["depoly", "www"]):
        with pytest.raises(click.UsageError, match=r"No such command 'depoly'\. Did you mean 'deploy'\?"):
            invoke(*words)


def test_a_deployment_that_is_not_there_is_looked_for_in_a_folder_that_is_named(invoke, folder):
    with pytest.raises(DeploymentError, match=f"There is no fleet in {folder}"):
        invoke("instances", "-c", "fleet")


def test_a_path_that_lost_its_backslashes_wants_quotes(invoke):
    """`%hive load C:\\Users\\me\\fleet`, as a shell reads it."""
    with pytest.raises(DeploymentError, match=r"There is no C:Usersmefleet in .* put the path into quotes"):
        invoke("instances", "-c", "C:Usersmefleet")


@pytest.mark.parametrize("name", ["canary", "pause", "confirm"])
def test_a_keyword_that_wants_a_number_says_so(name):
    with pytest.raises(OptionError, match=f"{name}='one': it must be a number"):
        options_of({name: "one"}, "deploy")
