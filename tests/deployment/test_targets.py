"""Which instances the words of a command mean, and in which order."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.deployment import targets
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.targets import Targets, TargetWave, select_instances, select_systems
from nixhive_nb.errors import TargetError
from nixhive_nb.util.order import natural
from tests.counting import counted


def inventory(**instances: str) -> Inventory:
    """Return an inventory from `NAME="SYSTEM TAG…"`, where an underscore stands for a dash."""
    found = {}
    for name, words in sorted(instances.items()):
        system, *tags = words.split()
        name = name.replace("_", "-")  # noqa: PLW2901 - keyword arguments have no dashes
        found[name] = Instance(name=name, system=system, tags=tuple(tags))
    systems = sorted({instance.system for instance in found.values()})
    return Inventory(
        source="example/",
        systems={name: System(name=name, platform="x86_64-linux") for name in systems},
        instances=found,
    )


EXAMPLE = inventory(
    portico="portico",
    backup="storage",
    www_1="www web eu",
    www_2="www web",
    www_10="www web eu",
    www_11="www",
)


def refusal(found: Inventory, *patterns: str) -> str:
    with pytest.raises(TargetError) as caught:
        select_instances(found, patterns)
    return str(caught.value)


def test_portico_first_then_everything_else() -> None:
    assert select_instances(EXAMPLE, ["portico", "*"]) == Targets(
        (
            TargetWave("portico", ("portico",)),
            TargetWave("*", ("backup", "www-1", "www-2", "www-10", "www-11")),
        )
    )


def test_no_pattern_means_all_in_one_wave() -> None:
    assert select_instances(EXAMPLE) == select_instances(EXAMPLE, ["*"])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("www-1", ("www-1",)),
        ("www-1?", ("www-10", "www-11")),
        ("storage", ("backup",)),
        ("w[e]b", ("www-1", "www-2", "www-10")),
        ("eu", ("www-1", "www-10")),
        ("[^wp]*", ("backup", "www-1", "www-10")),
    ],
)
def test_a_pattern_is_tried_against_name_system_and_tags(pattern: str, names: tuple[str, ...]) -> None:
    assert select_instances(EXAMPLE, [pattern]).instances == names


def test_an_instance_is_in_the_wave_that_hits_it_first() -> None:
    targets = select_instances(EXAMPLE, ["www-2", "eu", "www"])
    assert [wave.instances for wave in targets.waves] == [("www-2",), ("www-1", "www-10"), ("www-11",)]
    assert targets.instances == ("www-2", "www-1", "www-10", "www-11")


def test_a_pattern_that_adds_nothing_is_no_wave() -> None:
    assert [wave.pattern for wave in select_instances(EXAMPLE, ["www", "eu", "portico"]).waves] == ["www", "portico"]


def test_a_pattern_that_hits_nothing_is_an_error_with_near_names() -> None:
    assert refusal(EXAMPLE, "portico", "wwww-1") == (
        "'wwww-1' matches no instance, system or tag of example/. Near: www-1, www-10, www-11."
    )


def test_without_near_names_none_are_given() -> None:
    assert refusal(EXAMPLE, "qqq") == "'qqq' matches no instance, system or tag of example/."


def test_a_malformed_pattern_is_an_error_even_where_another_hits() -> None:
    assert refusal(EXAMPLE, "*", "www-[").startswith("The pattern 'www-[' is malformed")


def test_a_system_that_no_instance_runs_is_said_to_be_so() -> None:
    systems = {**EXAMPLE.systems, "mail": System(name="mail", platform="x86_64-linux")}
    unused = Inventory(source="example/", systems=systems, instances=EXAMPLE.instances)
    assert refusal(unused, "mail") == "'mail' matches mail of example/, which no instance runs."


def test_an_empty_inventory_has_no_targets() -> None:
    empty = Inventory(source="example/")
    assert select_instances(empty) == Targets()
    assert select_systems(empty) == ()
    assert refusal(empty, "*") == "'*' matches no instance, system or tag of example/."


def test_systems_are_matched_by_their_own_names_alone() -> None:
    assert select_systems(EXAMPLE) == ("portico", "storage", "www")
    assert select_systems(EXAMPLE, ["www", "*o*", "www"]) == ("www", "portico", "storage")
    with pytest.raises(TargetError, match=r"^'wwww' matches no system of example/\. Near: www\.$"):
        select_systems(EXAMPLE, ["wwww"])


WORDS = st.sampled_from(["a", "b", "ab", "ba", "a-1", "b-2"])
INVENTORIES = st.dictionaries(WORDS, st.tuples(WORDS, st.lists(WORDS, max_size=2)), min_size=1, max_size=6).map(
    lambda found: Inventory(
        source="x",
        instances={
            name: Instance(name=name, system=found[name][0], tags=tuple(found[name][1])) for name in sorted(found)
        },
    )
)
PATTERNS = st.lists(st.sampled_from(["*", "a*", "?", "[^a]*", "*-1", "a", "b"]), min_size=1, max_size=4)


@given(found=INVENTORIES, patterns=PATTERNS)
def test_waves_part_what_is_hit_in_order(found: Inventory, patterns: list[str]) -> None:
    try:
        targets = select_instances(found, patterns)
    except TargetError:
        return
    alone = [select_instances(found, [pattern]).instances for pattern in patterns]
    expected = list(dict.fromkeys(name for names in alone for name in names))
    assert list(targets.instances) == expected
    assert all(wave.instances == tuple(sorted(wave.instances, key=natural)) for wave in targets.waves)
    assert all(wave.instances for wave in targets.waves)


def test_a_list_of_patterns_makes_one_wave_in_its_order() -> None:
    targets = select_instances(EXAMPLE, [["www-2", "backup"], "*"])
    assert targets.waves == (
        TargetWave("www-2, backup", ("www-2", "backup")),
        TargetWave("*", ("portico", "www-1", "www-10", "www-11")),
    )


def test_a_frame_is_the_instances_that_it_is_about():
    """Its own items are the names of its columns, which may be tags as well."""
    by_index = pd.DataFrame({"www": [1, 2]}, index=pd.Index(["www-2", "portico"], name="instance"))
    for frame in (by_index, by_index.reset_index()):
        assert select_instances(EXAMPLE, [frame]).instances == ("www-2", "portico")
    assert select_instances(EXAMPLE, [by_index.index]).instances == ("www-2", "portico")
    assert select_instances(EXAMPLE, [by_index.iloc[:0]]).instances == ()
    by_system = pd.DataFrame({"instance": ["www-2"]}, index=pd.Index(["www"], name="system"))
    assert select_instances(EXAMPLE, [by_system]).instances == ("www-2",)
    systems = pd.DataFrame(index=pd.Index(["www"], name="system"))
    assert select_systems(EXAMPLE, [systems]) == ("www",)
    with pytest.raises(TargetError, match="names nobody: neither its index nor a column is called `instance`"):
        select_instances(EXAMPLE, [pd.DataFrame({"www": [1]})])


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (5, r"5 \(int\) is no pattern"),
        (None, r"None \(NoneType\) is no pattern"),
        (b"www", r"b'www' \(bytes\) is no pattern"),
        ({"www": 1}, r"\{'www': 1\} \(dict\) is no pattern"),
        (["www", float("nan")], r"holds nan \(float\), which is no text"),
        ([["www"]], r"holds \['www'\] \(list\), which is no text"),
        (pd.Series([True, False]), r"holds (True|np.True_) \(bool\w*\), which is no text"),
    ],
)
def test_what_is_no_text_is_told(pattern, said):
    with pytest.raises(TargetError, match=said):
        select_instances(EXAMPLE, [pattern])


def test_an_empty_list_names_nobody_and_is_not_taken_for_no_pattern():
    assert select_instances(EXAMPLE, [[]]).instances == ()
    assert select_systems(EXAMPLE, [[]]) == ()
    assert select_systems(EXAMPLE, [["www"], "portico"]) == ("www", "portico")
    assert len(select_systems(EXAMPLE)) > 2


def test_a_person_counts_hosts():
    """www-2 stands before www-10, in what a pattern names and in systems."""
    names = [f"www-{number}" for number in (1, 2, 9, 10, 11, 20)]
    systems = {name: System(name=name, platform="x86_64-linux") for name in reversed(names)}
    instances = {name: Instance(name=name, system=name) for name in reversed(names)}
    fleet = Inventory(source="hive.nix", systems=systems, instances=instances)
    assert list(select_instances(fleet).instances) == names
    assert list(select_systems(fleet)) == names
    assert list(select_systems(fleet, ["www-*"])) == names


def test_names_are_found_by_a_table_and_not_by_looking_at_every_word(monkeypatch):
    globs = counted(monkeypatch, targets, "compile_glob")
    fleet = inventory(**{f"www_{number}": "www web" for number in range(200)})
    found = select_instances(fleet, [[f"www-{number}" for number in range(100)], "@(web and not www-1)"])
    assert len(found.instances) == 200
    assert globs == []
    select_instances(fleet, ["www-1*"])
    assert globs == [("www-1*",)]


@given(st.text("aw-1/*?[]^\\é", max_size=6), st.sets(st.text("aw-1/]^é", max_size=4), min_size=1))
def test_the_table_finds_what_the_glob_finds(pattern, words):
    try:
        slow = [word for word in words if targets.compile_glob(pattern).fullmatch(word)]
    except TargetError:
        with pytest.raises(TargetError):
            targets._matching(pattern, words)
    else:
        assert targets._matching(pattern, words) == slow
