"""`run`: which words are the command's own, and what is never repeated."""

from __future__ import annotations

import click
import pytest

from nixhive_nb.errors import OptionError
from nixhive_nb.hive import Hive

SECRET = "hunter2"


class RanError(Exception):
    """A command came to where it would run."""

    def __init__(self, command, variables, how):
        super().__init__(command)
        self.command, self.variables, self.how = command, variables, how


@pytest.fixture
def run(invoke, monkeypatch):
    """Return what `run` with some words would run."""

    def stop(self, targets, command, *, variables, **_how):
        raise RanError(command, variables, _how)

    monkeypatch.setattr(Hive, "run", stop)

    def called(*words):
        with pytest.raises(RanError) as caught:
            invoke("run", *words)
        return caught.value

    return called


@pytest.mark.parametrize("dashes", [["web", "--"], ["--", "web"], ["--", "web", "--"]])
def test_two_dashes_before_the_command_are_not_its_own(run, dashes):
    assert run(*["www-1" if word == "web" else word for word in dashes], "ls", "-l").command == "ls -l"


def test_two_dashes_within_the_command_are_its_own(run):
    assert run("www-1", "grep", "--", "-l").command == "grep -- -l"
    assert run("www-1", "--", "--", "-l").command == "-- -l"


@pytest.mark.parametrize("word", ["--timeout", "--timeout=2", "--sudo", "-v", "--json", "-c"])
def test_an_option_after_the_pattern_is_named_and_not_sent_to_hosts(invoke, word):
    with pytest.raises(click.UsageError, match=r"write it before the pattern, as in .* run -") as caught:
        invoke("run", "www-1", word, "2", "sleep", "9")
    assert caught.value.format_message().startswith(f"{word} is an option of run")


def test_help_after_the_pattern_is_not_asked_of_hosts(invoke):
    with pytest.raises(click.UsageError, match="--help is an option of run: write it before the pattern"):
        invoke("run", "www-1", "--help")


def test_after_two_dashes_it_is_the_hosts_own(run):
    assert run("www-1", "--", "--timeout", "2").command == "--timeout 2"


def test_two_dashes_alone_are_no_command(invoke):
    with pytest.raises(click.UsageError, match="run needs a command"):
        invoke("run", "www-1", "--")


def test_a_variable_has_a_value_or_takes_ours(run, monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    assert run("-v", "TOKEN", "-v", "x=a=b", "www-1", "true").variables == {"TOKEN": SECRET, "x": "a=b"}


@pytest.mark.parametrize(
    "word", [SECRET, f"{SECRET}!", f"-{SECRET}", f"{SECRET}+/==", f"{SECRET} x", f"4{SECRET}=x", ""]
)
def test_a_value_that_missed_its_name_is_not_repeated(invoke, word):
    with pytest.raises(click.BadParameter, match="NAME=VALUE, or a NAME that is set in the environment") as caught:
        invoke("run", "-v", word, "www-1", "true")
    assert "-v" in caught.value.format_message()
    assert SECRET not in caught.value.format_message()


@pytest.mark.parametrize("name", ["UID", "_hive_x"])
def test_a_name_that_no_variable_can_have_is_told(invoke, name):
    with pytest.raises(click.BadParameter, match=f"'{name}' cannot be the name of a variable"):
        invoke("run", "-v", f"{name}=1", "www-1", "true")


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300"])
def test_a_time_that_never_comes_is_refused(invoke, seconds):
    with pytest.raises((OptionError, click.BadParameter)) as caught:
        invoke("run", "--timeout", seconds, "www-1", "true")
    said = caught.value.format_message() if isinstance(caught.value, click.BadParameter) else str(caught.value)
    assert "--timeout" in said
    assert "seconds" in said


def test_its_input_may_be_in_the_home_folder(in_notebook, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "input").write_text("hello")
    monkeypatch.setattr(Hive, "run", lambda *_, stdin, **_how: pytest.fail(f"got {stdin!r}"))
    with pytest.raises(pytest.fail.Exception, match="got b'hello'"):
        in_notebook("run", "--stdin-from", "~/input", "www-1", "cat")


@pytest.fixture
def run_cell(in_notebook, monkeypatch):
    """Return how `%%hive run` would run a cell."""

    def stop(self, targets, command, **how):
        raise RanError(command, {}, how)

    monkeypatch.setattr(Hive, "run", stop)

    def called(script, *words):
        in_notebook.session.script = script
        with pytest.raises(RanError) as caught:
            in_notebook("run", *words)
        return caught.value

    return called


@pytest.mark.parametrize(
    ("first", "shell"),
    [
        ("#!/bin/bash", ["/bin/bash"]),
        ("#! /usr/bin/env python3 -u", ["/usr/bin/env", "python3", "-u"]),
        ("# a comment", []),
        ("uname -a", []),
    ],
)
def test_the_first_line_of_a_cell_names_what_runs_it(run_cell, first, shell):
    assert run_cell(f"{first}\ntrue\n", "www-1").how["shell"] == shell


def test_an_option_names_it_all_the_same(run_cell):
    assert run_cell("#!/bin/bash\ntrue\n", "--shell", "dash", "www-1").how["shell"] == ["dash"]
