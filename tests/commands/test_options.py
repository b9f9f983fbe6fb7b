"""Options of commands: one that is empty is a mistake, and `~` is the home folder."""

from __future__ import annotations

import click
import pytest

from nixhive_nb.commands import hive_group
from nixhive_nb.errors import DeploymentError, OptionError
from nixhive_nb.plan.option_kinds import OneOf
from nixhive_nb.plan.options import OPTIONS, How, command_words, options_of
from nixhive_nb.run.limits import LIMITS

VERBS = ("push", "deploy", "rollback", "reboot")


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


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--canary", "1"], "leave out --canary"),
        (["--reboot-if-needed", "--force"], "leave out --force, --reboot-if-needed"),
        (["--no", "checks"], "leave out --no"),
        (["www"], "its patterns"),
    ],
)
def test_what_a_resumed_run_would_not_heed_is_told_before_anything_is_done(invoke, words, named):
    with pytest.raises(click.UsageError) as caught:
        invoke("deploy", "--yes", "--resume", "last", *words)
    assert named in caught.value.format_message()


def test_a_resumed_run_can_be_told_to_refuse_nothing(invoke):
    with pytest.raises(Exception, match="No push or deploy is noted"):
        invoke("deploy", "--yes", "--resume", "--refuse", "nothing")


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


@pytest.mark.parametrize("words", [["-canary", "1", "deploy", "www"], ["-c", "hive.nix", "-canary=1", "deploy", "www"]])
def test_a_long_option_with_one_dash_before_the_command_is_named(invoke, words):
    with pytest.raises(click.UsageError, match="has one dash: write --canary"):
        invoke(*words)


def test_a_value_may_follow_its_short_option_at_once(invoke):
    """`-cNAME` is `-c NAME` as ever."""
    assert list(invoke("-chive.nix", "instances").frame.index) == ["www-1"]
    assert list(invoke("instances", "-chive.nix").frame.index) == ["www-1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--canary", "one"], "'--canary': 'one' is not a whole number of at least 0."),
        (["--canary", "-1"], "'--canary': '-1' is not a whole number of at least 0."),
        (["--pause", "one"], "'--pause': 'one' is not a number of seconds, at least 0."),
        (["--confirm", "nan"], "'--confirm': 'nan' is not a number of seconds, at least 1."),
        (["--wait=inf"], "'--wait': 'inf' is not a number of seconds, at least 0."),
        (["--batch", "x"], "'--batch': 'x' is not a number of at least 1, or a share of at most 100%, such as 2"),
        (["--batch", "0"], "'--batch': '0' is not a number of at least 1, or a share"),
        (["--max-failures", "101%"], "'--max-failures': '101%' is not a number of at least 0, or a share"),
        (["--parallel", "0"], "'--parallel': '0' is not a whole number of at least 1."),
        (["--max-log", "much"], "'--max-log': 'much' is not a size, such as 500k, 64M or 1G."),
        (["-t", "swich"], "'--type': 'swich' is not one of switch, boot, test, dry-activate."),
        (["--no", "bild"], "'--no': 'bild' is not a step that can be left out: build, realise, confirm, checks."),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_a_bad_value_is_told_with_its_option_and_with_what_is_allowed(invoke, words, said):
    """F9: no range words of click's."""
    with pytest.raises(click.UsageError) as caught:
        invoke("deploy", "--yes", *words, "www")
    assert said in caught.value.format_message()


def test_a_mistake_that_only_the_verb_shows_is_told_in_words(invoke):
    with pytest.raises(OptionError, match=r"^--no realise goes with build alone: deploy needs"):
        invoke("deploy", "--yes", "--no", "realise", "www")


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


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_is_taken_by_the_commands_of_its_verbs(option):
    """Each option once: a row of the table is an option of `click`, with the help, default and range of the row."""
    for verb in option.verbs or ("build", *VERBS):
        for command in (verb, "plan"):
            found = {word: one for one in hive_group.commands[command].params for word in one.opts}
            if option.flags:
                words = [flag.word for flag in option.flags if verb in flag.verbs]
                assert words
                assert all(found[word].is_flag for word in words)
                continue
            assert set(option.spelt) <= set(found)
            told = found[option.long].help
            assert told.startswith(option.help)
            assert option.kind.range in told
            assert not option.default or f"default: {option.kind.word(option.default)}" in told
    for verb in set(VERBS) - set(option.verbs or VERBS):
        words = {word for one in hive_group.commands[verb].params for word in one.opts}
        assert not words & ({*option.spelt} | {flag.word for flag in option.flags})


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_each_limit_is_an_option_of_every_command_or_of_python_alone(limit, invoke):
    found = {word: one for one in hive_group.params for word in one.opts}
    assert (limit.long in found) is not limit.only_python
    if not limit.only_python:
        word = limit.kind.words[-1] if isinstance(limit.kind, OneOf) else {"N": "3", "SIZE": "3k"}[limit.metavar]
        invoke("instances", limit.long, word)
        assert getattr(invoke.session.current.limits, limit.name) == limit.kind.read(word)


def _other_values():
    """Return each option with a value that is not its default."""
    values = {
        "type": "boot",
        "force": True,
        "no": ("confirm", "checks"),
        "canary": 2,
        "batch": "25%",
        "max_failures": "3",
        "reboot": "if needed",
        "refuse": ("dirty", "older"),
        "build_on": "relay",
        "reroute": True,
    }
    return {option.name: values.get(option.name, 1234567.5) for option in OPTIONS}


@pytest.mark.parametrize(
    ("name", "verb"), [(option.name, verb) for option in OPTIONS for verb in option.verbs or VERBS]
)
def test_the_words_that_do_a_run_again_lead_to_the_same_options(invoke, name, verb):
    """Words → click → keywords → options → the same words."""
    value = _other_values()[name]
    options = options_of({name: value}, verb)
    no = value if name == "no" else ()
    words = command_words(options, no, verb)
    assert words
    with pytest.raises(invoke.Reached) as reached:
        invoke(verb, *words, "www", attended=True)
    how = {key: given for key, given in reached.value.how.items() if key in How.__annotations__}
    assert options_of(how, verb) == options
    assert command_words(options_of(how, verb), how["no"], verb) == words
