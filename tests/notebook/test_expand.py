"""The line after `%hive` becomes arguments as its reader expects, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.error import UsageError

from nixhive_nb.notebook.line import read_line
from nixhive_nb.notebook.picker import PickerRow, picker_for
from nixhive_nb.notebook.place import command_word

FRAME = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["www-1", "www-2"], name="instance"))
HOSTS = [PickerRow(instance=f"www-{n}", system="www", tags=(), via="") for n in (1, 2, 3)]
NAMES = {
    "env": "prod",
    "n": 3,
    "hosts": ["www-1", "www-2"],
    "pair": ("a", "b"),
    "frame": FRAME,
    "column": FRAME.reset_index(),
    "series": pd.Series(["x", "y"]),
    "array": np.array(["p", "q"]),
    "picker": picker_for(HOSTS, picked=["www-3", "www-1"], widgets="none"),
    "unpicked": picker_for(HOSTS, widgets="none"),
    "path": Path("/tmp/my hive"),
    "blank": "two words",
    "glob": "web-*",
    "none": None,
    "empty": [],
    "unordered": {"b", "a"},
    "mixed": ["a", None],
    "option": "--force",
    "sly": ["www-1", "--force"],
    "nothing": "",
    "yes": True,
}


def argv(line, *, cell=False):
    return read_line(line, NAMES, cell=cell).argv


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deploy portico '*'", ["deploy", "portico", "*"]),
        ('deploy portico "*"', ["deploy", "portico", "*"]),
        ("deploy portico *", ["deploy", "portico", "*"]),
        ("deploy portico *;", ["deploy", "portico", "*"]),
        ("deploy portico * ; ", ["deploy", "portico", "*"]),
        ("deploy portico ';'", ["deploy", "portico", ";"]),
        ("deploy a # b 'c", ["deploy", "a"]),
        ("deploy a; # b", ["deploy", "a"]),
        ("build nixpkgs#x", ["build", "nixpkgs#x"]),
        (r"deploy a\ b \$env \{n\}", ["deploy", "a b", "$env", "{n}"]),
        (r'deploy "a \"b\" \$env \n"', ["deploy", r'a "b" $env \n']),
        ("deploy ''", ["deploy", ""]),
        ("deploy a''b\"c\"", ["deploy", "abc"]),
        ("deploy [^a]* www-[0-9]", ["deploy", "[^a]*", "www-[0-9]"]),
        ("", []),
        (";", []),
        ("# nothing", []),
    ],
)
def test_words_are_split_as_in_a_shell(line, expected):
    assert argv(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deploy $env ${env} {env}", ["deploy", "prod", "prod", "prod"]),
        ("deploy $env-1 x{n + 1}y", ["deploy", "prod-1", "x4y"]),
        ('deploy "$env web"', ["deploy", "prod web"]),
        ("deploy $blank", ["deploy", "two words"]),
        ("deploy $glob", ["deploy", "web-*"]),
        ("deploy '$env' '{n}'", ["deploy", "$env", "{n}"]),
        ("deploy $$env {{n}}", ["deploy", "$env", "{n}"]),
        ("deploy $hosts", ["deploy", "www-1", "www-2"]),
        ("deploy {hosts[:1]} $pair", ["deploy", "www-1", "a", "b"]),
        ("deploy {[h for h in hosts if h != 'www-1']}", ["deploy", "www-2"]),
        ('deploy {frame.query("n > 1")}', ["deploy", "www-2"]),
        ("deploy $column", ["deploy", "www-1", "www-2"]),
        ("deploy $frame {frame.index} $series $array", ["deploy", *["www-1", "www-2"] * 2, "x", "y", "p", "q"]),
        ("deploy { {'web': 'www'}['web'] }", ["deploy", "www"]),
        ("deploy {dict(a=1).keys()}", ["deploy", "a"]),
        ("deploy $picker portico", ["deploy", "www-3", "www-1", "portico"]),
        ("deploy {picker.value[:1]}", ["deploy", "www-3"]),
        (
            "-c $path --parallel {n} deploy --parallel=$n",
            ["-c", "/tmp/my hive", "--parallel", "3", "deploy", "--parallel=3"],
        ),
        ("run $glob echo $env {n} ${env} $(date)", ["run", "web-*", "echo", "$env", "{n}", "${env}", "$(date)"]),
        ("run --timeout $n $glob echo $HOME", ["run", "--timeout", "3", "web-*", "echo", "$HOME"]),
        ("-c example run web awk '{print $1}'", ["-c", "example", "run", "web", "awk", "{print $1}"]),
        ("ssh -p $n -v $env echo $HOME {x}", ["ssh", "-p", "3", "-v", "prod", "echo", "$HOME", "{x}"]),
        ("scp $path $env:/x", ["scp", "/tmp/my hive", "prod:/x"]),
    ],
)
def test_variables_are_expanded_argument_by_argument(line, expected):
    assert argv(line) == expected


def test_in_a_cell_what_stands_after_the_pattern_is_ours_too():
    assert argv("run web --timeout {n}", cell=True) == ["run", "web", "--timeout", "3"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("deploy $enb", "$enb: there is no variable 'enb'"),
        ("deploy {enb}", "{enb}: there is no variable 'enb'"),
        ("deploy x-$enb", "no variable 'enb'"),
        ("deploy $HOME", "no variable 'HOME'"),
        ("deploy {1/0}", "{1/0}: ZeroDivisionError: division by zero"),
        ("deploy {a,b}", "no variable 'a'"),
        ("deploy web{1..3}", "{1..3}: braces go round a Python expression"),
        ("deploy {", "{: braces go round"),
        ("deploy }", "}: braces go round"),
        ("deploy {}", "{}: braces go round"),
        ("deploy www$", "$: $ wants the name of a variable"),
        ("deploy $1", "$1: $ wants the name"),
        ("deploy 'a", "No closing quotation mark"),
        ('deploy "a', "No closing quotation mark"),
        ("deploy a\\", "nothing after the backslash"),
        ("deploy $empty", "$empty is empty"),
        ("deploy {hosts[9:]}", "{hosts[9:]} is empty"),
        ("deploy $unpicked", "$unpicked: nothing is picked"),
        ("deploy x-$picker", "$picker is of type Picker"),
        ("deploy --parallel $picker", "only one value"),
        ("deploy $nothing", "$nothing is empty text"),
        ("deploy $none", "$none is nothing (None)"),
        ("deploy $yes", "$yes is of type bool"),
        ("deploy $unordered", "sorted(unordered)"),
        ("deploy $mixed", "$mixed holds nothing (None)"),
        ("deploy $option", "would be read as an option"),
        ("deploy $sly", "would be read as an option"),
        ("deploy x-$hosts", "$hosts is of type list"),
        ('deploy "$hosts"', "$hosts is of type list"),
        ("deploy $frame.index", "write {frame…}"),
        ("-c $hosts deploy", "only one value"),
        ("deploy --parallel $hosts", "only one value"),
        ("$hosts", "only one value"),
        ("ssh $hosts uptime", "only one value"),
    ],
)
def test_what_cannot_be_expanded_is_a_mistake_in_one_line(line, said):
    with pytest.raises(UsageError) as caught:
        argv(line)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is UsageError


def test_the_values_of_the_notebook_stay_as_they_are():
    names = dict(NAMES)
    read_line("deploy {(z := env)}", names)
    assert "z" not in names


def test_the_command_is_found_behind_options():
    assert command_word(["-c", "run", "--show-trace", "deploy", "run"]) == "deploy"
    assert command_word(["-c", "example"]) == ""
    assert command_word([]) == ""
