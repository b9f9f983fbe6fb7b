"""Ids of steps: one spelling, and never one for two things."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import nixhive_nb
from nixhive_nb.plan.building import instantiate_steps
from nixhive_nb.plan.step import Kind, StepId, step_id
from tests.plan.fleets import instance, inventory

NAMES = st.text(st.sampled_from("ab+>\\:%"), max_size=4)
IDS = st.one_of(
    st.builds(StepId, st.just("instantiate"), st.lists(NAMES, min_size=1, max_size=3).map(tuple)),
    st.builds(StepId, st.just("push"), st.tuples(NAMES, NAMES)),
    st.builds(
        StepId,
        st.sampled_from(get_args(Kind)).filter(lambda kind: kind not in ("instantiate", "push")),
        st.tuples(NAMES),
    ),
)


def test_an_id_reads_as_it_always_did():
    assert step_id("build") == "build"
    assert step_id("register", "www") == "register:www"
    assert step_id("instantiate", "portico", "www") == "instantiate:portico+www"
    assert step_id("push", "www", "ssh://portico?x=a%20b") == "push:www>ssh://portico?x=a%20b"


@given(IDS, IDS)
def test_what_is_not_the_same_is_not_spelt_the_same(one, other):
    assert (str(one) == str(other)) == (one == other)


def test_systems_that_are_evaluated_together_are_not_taken_for_one_of_their_names():
    own = ("nixpkgs=/srv/other",)
    names = ("a", "b", "a+b")
    inv = inventory(*[instance(name, name) for name in names], paths={"a": own, "b": own})
    steps = instantiate_steps(inv, names)
    assert [step.systems for step in steps] == [("a+b",), ("a", "b")]
    assert len({step.id for step in steps}) == 2


def test_an_id_is_a_value():
    one = StepId("fetch", ("www-1",))
    assert msgspec.json.decode(msgspec.json.encode(one), type=StepId) == one


def test_nobody_else_spells_an_id():
    spelt = re.compile(rf"""f["'](?:{"|".join(get_args(Kind))}):\{{""")
    package = Path(nixhive_nb.__file__).parent
    assert [file.name for file in package.rglob("*.py") if spelt.search(file.read_text())] == []
