"""The table of options: what Python, the shapes and the docs have of it is what stands there."""

from __future__ import annotations

import runpy
import typing

import msgspec
import numpy as np
import pytest

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.option_kinds import Decimal, OneOf, Share, Size, SomeOf, Where, WholeNumber, YesNo
from nixhive_nb.plan.options import OPTIONS, STEPS, How, command_words, option, options_of, words_of
from nixhive_nb.plan.plan import Options, Verb
from nixhive_nb.run.limits import LIMITS, Limits
from tests.pages import ROOT

TYPES = {
    YesNo: "bool",
    WholeNumber: "int",
    Decimal: "float",
    OneOf: "str",
    Share: "int | str",
    SomeOf: "Collection[str]",
    Where: "str",
}
VERBS = typing.get_args(Verb)
ids = pytest.mark.parametrize("one", OPTIONS, ids=lambda one: one.name)
FROM_NO = {"realise", "checks"}
"""Fields that `no` says, and no keyword of their own."""


def test_the_keywords_of_python_are_those_of_the_table():
    assert list(How.__annotations__) == [one.name for one in OPTIONS]
    for one in OPTIONS:
        assert How.__annotations__[one.name].__forward_arg__ == TYPES[type(one.kind)]


def test_the_fields_of_options_are_those_of_the_table():
    fields = {one.field or one.name: one for one in OPTIONS if one.field != "-"}
    assert set(fields) | FROM_NO == set(Options.__struct_fields__)
    for name, one in fields.items():
        assert getattr(Options(), name) == one.default


def test_the_fields_of_limits_are_those_of_the_table():
    assert [one.name for one in LIMITS] == sorted(Limits.__struct_fields__, key=[one.name for one in LIMITS].index)
    for one in LIMITS:
        assert getattr(Limits(), one.name) == one.default


@ids
def test_each_default_is_allowed(one):
    assert one.checked(one.default) == one.default
    assert all(verb in VERBS for verb in one.verbs)
    assert all(one.checked(flag.value) == flag.value for flag in one.flags)


def test_nothing_said_is_the_default():
    assert options_of({}, "deploy") == Options()


def test_a_reboot_reboots_where_nothing_is_said():
    """As its command does: the digest of the plan is the same."""
    assert options_of({}, "reboot").reboot == "always"
    assert options_of({"reboot": "if needed"}, "reboot").reboot == "if needed"


@ids
def test_what_is_no_value_is_told_as_it_was_written_and_with_what_is_allowed(one):
    with pytest.raises(OptionError) as caught:
        options_of({one.name: object}, "deploy")
    assert str(caught.value) == f"{one.name}=<class 'object'> is not {one.kind.allowed}."
    with pytest.raises(OptionError) as caught:
        options_of({one.name: object}, "deploy", as_words=True)
    assert str(caught.value).startswith(f"{one.long} ")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"canary": "one"}, "canary='one' is not a whole number of at least 0."),
        ({"canary": 1.5}, "canary=1.5 is not a whole number of at least 0."),
        ({"canary": True}, "canary=True is not a whole number of at least 0."),
        ({"canary": -1}, "canary=-1 is not a whole number of at least 0."),
        ({"pause": "5"}, "pause='5' is not a number of seconds, at least 0."),
        ({"confirm": float("nan")}, "confirm=nan is not a number of seconds, at least 1."),
        ({"confirm": None}, "confirm=None is not a number of seconds, at least 1."),
        ({"batch": "x"}, "batch='x' is not a number of at least 1, or a share of at most 100%, such as 2 or 25%."),
        ({"batch": 0}, "batch=0 is not a number of at least 1"),
        ({"max_failures": 1.5}, "max_failures=1.5 is not a number of at least 0"),
        ({"force": "yes"}, "force='yes' is not True or False."),
        ({"no": "checks"}, "no='checks' is not a list of steps that can be left out: build, realise, confirm, checks."),
        ({"no": ["bild"]}, "no=['bild'] is not a list of steps that can be left out: build, realise,"),
        ({"no": [["build"]]}, "no=[['build']] is not a list of steps"),
        ({"no": ["realise"]}, "no=['realise'] goes with build alone: deploy needs results that exist."),
        ({"type": "swich"}, "type='swich' is not one of switch, boot, test, dry-activate."),
        ({"type": ["boot"]}, "type=['boot'] is not one of switch,"),
        ({"reboot": True}, "reboot=True is not one of never, if needed, always."),
        ({"canry": 1}, "canry: there is no such option. Did you mean canary? There are type, force, no,"),
        ({"zzz": 1}, "zzz: there is no such option. There are type, force, no,"),
    ],
    ids=str,
)
def test_a_mistake_in_python_is_named_as_it_was_written(how, said):
    """F9: `hive.deploy('web', canary='one')` was a bare TypeError."""
    with pytest.raises(OptionError) as caught:
        options_of(how, "deploy")
    assert str(caught.value).startswith(said)


def test_numbers_of_numpy_are_numbers():
    """As a DataFrame gives them; a plan is written as JSON, which knows none of them."""
    found = options_of({"canary": np.int64(2), "pause": np.float64(1.5), "batch": np.int64(3), "wait": 2}, "deploy")
    assert found == Options(canary=2, pause=1.5, batch="3", wait=2.0)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Options) == found
    assert msgspec.json.encode(Limits(parallel=np.int64(3))) == msgspec.json.encode(Limits(parallel=3))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"parallel": "x"}, "parallel='x' is not a whole number of at least 1."),
        ({"evaluations": -1}, "evaluations=-1 is not a whole number of at least 0."),
        ({"output": "64M"}, "output='64M' is not a whole number of bytes, at least 1."),
    ],
    ids=str,
)
def test_a_limit_that_is_none_is_told(limits, said):
    with pytest.raises(OptionError) as caught:
        Limits(**limits)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("verb", "options", "no", "words"),
    [
        ("deploy", Options(), (), []),
        ("deploy", Options(reboot="always"), (), ["--reboot"]),
        ("deploy", Options(reboot="if needed"), (), ["--reboot-if-needed"]),
        ("reboot", Options(reboot="always"), (), []),
        ("reboot", Options(reboot="never"), (), []),
        ("reboot", Options(reboot="if needed"), (), ["--if-needed"]),
        ("deploy", Options(confirm=0.0, checks=False), ("confirm", "checks"), ["--no", "confirm,checks"]),
        ("deploy", Options(pause=0.1, wait=1234567.0), (), ["--pause", "0.1", "--wait", "1234567"]),
        ("deploy", Options(force=True, batch="25%", type="boot"), (), ["--type", "boot", "--force", "--batch", "25%"]),
    ],
)
def test_the_words_that_do_it_again(verb, options, no, words):
    assert command_words(options, no, verb) == words
    assert options_of(words_of(options, no), verb) == options


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        (Size(), 512 << 10, "512k"),
        (Size(), 1000, "1000"),
        (Size(), 3 << 40, "3072G"),
        (Decimal(), 0.25, "0.25"),
        (WholeNumber(), 7, "7"),
        (Share(), "25%", "25%"),
        (SomeOf(STEPS, "steps"), ("build", "checks"), "build,checks"),
        (OneOf(("a", "b")), "b", "b"),
        (YesNo(), True, "True"),
    ],
)
def test_a_word_is_read_as_the_value_that_it_was_written_for(kind, value, word):
    assert kind.word(value) == word
    assert kind.read(word) == value


@pytest.mark.parametrize("kind", [WholeNumber(), Decimal(), Share(), Size()], ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("given", [float("nan"), float("inf"), 10**400, True, None, "", [], b"1"], ids=str)
def test_what_cannot_be_counted_with_is_no_number(kind, given):
    if isinstance(kind, Share) and given == "":
        assert kind.value(given) == ""  # no such option
        return
    with pytest.raises(ValueError, match="number"):
        kind.value(given)


def test_the_docs_have_the_table():
    """`docs/reference/options.md` is what `tools/options_page.py` writes, and each option stands there."""
    tool = runpy.run_path(str(ROOT / "tools" / "options_page.py"))
    page = tool["page_text"]()
    assert tool["PAGE"].read_text(encoding="utf-8") == page, "run tools/options_page.py"
    for one in (*OPTIONS, *LIMITS):
        words = [flag.word for flag in one.flags] or ([] if one.only_python else [one.long])
        assert all(f"`{word}" in page for word in words)
        assert f"`{one.name}`" in page
        assert one.help.replace("|", "\\|") in page


def test_an_option_is_found_by_its_keyword():
    assert [option(one.name) for one in OPTIONS] == list(OPTIONS)
