"""Expressions and groups of targets, beside patterns that stay as they were."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.deployment.expressions import KNOWN_GROUPS
from nixhive_nb.deployment.globs import compile_glob
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.targets import Targets, TargetWave, select_instances, select_systems, uses_groups
from nixhive_nb.errors import HiveError, TargetError

ROOT = Path(__file__).parent.parent.parent
NAMES = ("a1", "a2", "b1", "b2")
INVENTORY = Inventory(
    source="hive.nix",
    systems={"s": System(name="s", platform="x86_64-linux")},
    instances={
        name: Instance(name=name, system="s", tags=(name[0], "@odd", "two words", "and", "f(x)", 'say "hi"'))
        for name in NAMES
    },
)


def chosen(*patterns, groups=None):
    return select_instances(INVENTORY, patterns, groups).instances


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("@(a and not a2)", ("a1",)),
        ("@(a1 or b and not b1)", ("a1", "b2")),
        ("@((a1 or b) and not b1)", ("a1", "b2")),
        ("@(not(a1))", ("a2", "b1", "b2")),
        ("@(not not b1)", ("b1",)),
        ('@("two words" and b*)', ("b1", "b2")),
        (r"\@odd", NAMES),
        (r"@(a and \@odd)", ("a1", "a2")),
        ('@("@odd" and b1)', ("b1",)),
        ('@("and" and b1)', ("b1",)),
        ('@("f(x)" and b1)', ("b1",)),
        (r'@("say \"hi\"" and b1)', ("b1",)),
        ("@(  not\ta1\nand b  )", ("b1", "b2")),
        ("@(not a[1] and a?)", ("a2",)),
    ],
)
def test_an_expression_names_its_instances_in_order_of_name(target, names):
    assert chosen(target) == names


def test_an_expression_is_one_wave_and_counts_once():
    targets = select_instances(INVENTORY, ["b1", "@(a or b)"])
    assert [wave.instances for wave in targets.waves] == [("b1",), ("a1", "a2", "b2")]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("@(a and)", "ends where a pattern was expected"),
        ("@(and a)", "'and' stands where a pattern was expected"),
        ("@(a b)", "'b' stands where and, or or ) was expected"),
        ("@((a)", "a ( is not closed"),
        ('@("a)', "a quote is not closed"),
        ("@(a", "does not end with )"),
        ("@()", "ends where a pattern was expected"),
        ("@(a and nobody)", "'nobody' matches no instance"),
        ("@(a and b)", "leaves no instance"),
        ("@(not s)", "leaves no instance"),
        ("@(a or [)", "The pattern '[' is malformed"),
        ("@(a))", "')' stands where and, or or ) was expected"),
        (
            "@faild",
            "There is no group '@faild'. Near: @failed. The groups are @picked, @failed, @unreachable, @outdated.",
        ),
        ("@(a or @faild)", "There is no group '@faild'. Near: @failed."),
        ("@web and not a1", "There is no group '@web and not a1'. The groups are"),
        ("@", "There is no group '@'"),
        ("@failed", "cannot be used here"),
        ("@(a or @failed)", "'@failed' cannot be used here"),
        ("@(" + "(" * 5000 + "a" + ")" * 5000 + ")", "more than 50 parentheses"),
        ("@(" + "not " * 5000 + "a)", "more than 50 parentheses"),
    ],
)
def test_a_mistake_is_named(target, said):
    with pytest.raises(TargetError, match=re.escape(said)):
        chosen(target)


def test_a_group_is_asked_for_once_and_only_when_it_occurs():
    asked = []

    def groups(name):
        asked.append(name)
        return {"a1", "gone"}

    assert chosen("@failed", "@(b or @failed)", groups=groups) == ("a1", "b1", "b2")
    assert asked == ["failed"]


def test_a_malformed_word_is_told_before_anybody_is_asked():
    asked = []
    with pytest.raises(TargetError, match="malformed"):
        chosen("@failed", "@((", groups=asked.append)
    assert asked == []


def test_an_empty_group_is_an_error_alone_and_empty_in_an_expression():
    with pytest.raises(TargetError, match="'@failed' is empty: no instance is in another state than wanted"):
        chosen("@failed", groups=lambda _: ())
    assert chosen("@(a or @failed)", groups=lambda _: ()) == ("a1", "a2")
    with pytest.raises(TargetError, match=re.escape("'@(a and @failed)' leaves no instance")):
        chosen("@(a and @failed)", groups=lambda _: {"gone"})


def test_what_asking_for_a_group_raises_comes_through():
    def groups(name):
        raise HiveError(f"no run to take {name} from")

    with pytest.raises(HiveError, match="no run to take failed from"):
        chosen("@(a or @failed)", groups=groups)


def test_groups_that_patterns_use_are_told_without_asking_for_them():
    assert uses_groups(["a*", r"\@odd", '@("@odd")']) == set()
    assert uses_groups(["@failed", ["a1", "@(a and not (b or @outdated))"]]) == {"failed", "outdated"}
    with pytest.raises(TargetError):
        uses_groups(["@nobody"])


@pytest.mark.parametrize("written", ["revision = 1a2b3c", "revision =1a2b3c", "revision=1a2b3c", 'revision = "1a2b3c"'])
def test_a_revision_is_a_group_of_hosts(written):
    assert uses_groups([f"@(a and {written})"]) == {"revision=1a2b3c"}
    assert chosen(f"@(a and not {written})", groups=lambda _: {"a2"}) == ("a1",)


def test_a_tag_may_be_called_revision():
    with pytest.raises(TargetError, match="'revision' matches no instance"):
        chosen("@(revision)")
    assert uses_groups(["@(revision or a)"]) == set()


@pytest.mark.parametrize("word", ["@(revision =)", "@(revision = 1a)", "@(revision = (a))", "@(revision = --x)"])
def test_a_revision_that_is_none_is_told(word):
    with pytest.raises(TargetError, match="behind revision = stands"):
        chosen(word, groups=lambda _: set())


def test_where_no_host_has_a_revision_it_is_told():
    with pytest.raises(TargetError, match="no instance is known to run what was made from revision 1a2b"):
        chosen("@(revision = 1a2b)", groups=lambda _: set())


def test_every_group_is_explained_in_the_docs():
    section = (ROOT / "docs" / "targets.md").read_text().partition("## Groups")[2]
    assert re.findall(r"^\| `@([^`]+)` \|", section, flags=re.MULTILINE) == list(KNOWN_GROUPS)


@pytest.mark.parametrize("target", ["@(s)", "@failed"])
def test_systems_have_no_expressions(target):
    with pytest.raises(TargetError, match="would name instances, and systems are wanted here"):
        select_systems(INVENTORY, [target])


SETS = st.recursive(
    st.sampled_from(NAMES).map(lambda name: (name, frozenset({name}))),
    lambda inner: st.one_of(
        inner.map(lambda one: (f"not ({one[0]})", frozenset(NAMES) - one[1])),
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]}) and ({two[1][0]})", two[0][1] & two[1][1])),
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]}) or ({two[1][0]})", two[0][1] | two[1][1])),
    ),
    max_leaves=8,
)


@given(SETS)
def test_an_expression_is_set_algebra(one):
    text, names = one
    target = f"@({text})"
    if not names:
        with pytest.raises(TargetError, match="leaves no instance"):
            chosen(target)
    else:
        assert frozenset(chosen(target)) == names


FLAT = st.lists(
    st.tuples(st.booleans(), st.sampled_from(NAMES), st.sampled_from(["and", "or"])), min_size=1, max_size=7
)


@given(FLAT)
def test_without_parentheses_it_reads_as_in_python(terms):
    words = [word for negated, name, link in terms for word in (*(["not"] if negated else []), name, link)][:-1]
    text = " ".join(words)
    names = tuple(one for one in NAMES if eval(text, {}, {name: name == one for name in NAMES}))
    if names:
        assert chosen(f"@({text})") == names
    else:
        with pytest.raises(TargetError, match="leaves no instance"):
            chosen(f"@({text})")


@given(st.text(max_size=40) | st.text(alphabet='()ab12 "\\*andortfl@[]', max_size=24).map(lambda text: f"({text})"))
def test_any_text_is_targets_or_a_target_error(text):
    try:
        found = chosen(f"@{text}", groups=lambda _: ("a1",))
    except TargetError:
        return
    assert set(found) <= set(NAMES)
    assert found


@given(st.text(alphabet="ab12*?[]^-\\@ s", max_size=8).filter(lambda text: not text.startswith("@")))
def test_a_plain_pattern_is_a_glob_as_ever(pattern):
    try:
        match = compile_glob(pattern).fullmatch
    except TargetError:
        match = re.compile("(?!)").fullmatch
    names = tuple(
        name for name, one in INVENTORY.instances.items() if any(match(word) for word in (name, one.system, *one.tags))
    )
    if names:
        assert select_instances(INVENTORY, [pattern]) == Targets((TargetWave(pattern, names),))
    else:
        with pytest.raises(TargetError):
            chosen(pattern)


def test_the_examples_of_the_docs_are_right(tmp_path):
    copy = tmp_path / "example"
    shutil.copytree(ROOT / "example", copy, ignore=shutil.ignore_patterns("lab.nix", ".hive*"))
    (copy / "lab.nix").write_text("{ nixpkgs = ./.; }")  # nothing to download
    inventory = load(copy).inventory
    section = (ROOT / "docs" / "targets.md").read_text().partition("For the deployment in")[2]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section.partition("## ")[0], flags=re.MULTILINE)
    assert len(rows) >= 5
    for target, names in rows:
        assert select_instances(inventory, [target]).instances == tuple(names.split(", ")), target
