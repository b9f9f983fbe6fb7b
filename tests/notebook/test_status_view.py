"""What a cell shows of a fleet."""

from __future__ import annotations

import re

import msgspec

from nixhive_nb.notebook.display import ListingView
from nixhive_nb.plan.facts import Seen
from nixhive_nb.plan.plan import Survey
from nixhive_nb.view.status import status_table
from tests.notebook.test_display import bundle, read
from tests.notebook.values import inventory
from tests.plan.looked import facts, path, survey


def shown(found):
    return ListingView(status_table(found))


def test_the_headline_counts():
    found = read(shown(survey(fresh=("portico", "www-1"), away=("www-2",)))).text
    assert "4 hosts: 2 in sync, 1 outdated, 1 unreachable" in found
    assert "0 hosts" in read(shown(Survey())).text


def test_those_that_need_attention_stand_first():
    found = str(shown(survey(fresh=("portico", "www-1"), away=("www-2",))))
    assert [line.split()[0] for line in found.splitlines()[2:]] == ["www-2", "www-3", "portico", "www-1"]
    assert "no route to host" in found


def test_a_row_tells_what_is_to_know():
    one = survey()
    known = facts(path("a", "portico"), uptime=90.0, free=3_000_000_000, failed_units=("a.service",), holder="ada")
    told = Seen(instance="portico", facts=msgspec.structs.replace(known, profile=path("b", "portico")))
    view = shown(msgspec.structs.replace(one, seen=(told, *one.seen[1:])))
    found = read(view).text
    for word in (
        "◐ outdated",
        "aaaaaaaa…-nixos-system-portico-24.05 → bbbbbbbb…",
        "41",
        "1 min 30 s",
        "3.0 GB",
        "the next boot starts another system",
        "ada is activating there",
        "failed units: a.service",
    ):
        assert word in found
    assert f"{path('a', 'portico')} → {path('b', 'portico')}" in re.findall(r'title="([^"]*)"', view.html())


def test_a_system_that_cannot_be_evaluated_says_why():
    found = read(shown(survey(broken=("www",)))).text
    assert found.count("? unknown") == 3
    assert "syntax error" in found


def test_many_are_cut():
    one = inventory(tuple(f"www-{number}" for number in range(999)))
    view = shown(survey(one, away=("www-500",)))
    assert "… and 950 more: 950 outdated" in read(view).text
    assert "www-500" in read(view).text
    assert sum(map(len, bundle(view).values())) < 100_000
