"""What the commands that look list: in which words, in which order, and what it means."""

from __future__ import annotations

import msgspec
import pytest

from nixhive_nb.commands.session import records_of
from nixhive_nb.frames import check_frame, generations_frame, lab_frame
from nixhive_nb.plan.facts import CheckResult, Generation
from nixhive_nb.run.history import RunEntry
from nixhive_nb.view.diff import diff_table
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.screen import Screen
from nixhive_nb.view.tables import (
    check_table,
    generations_table,
    history_table,
    instances_table,
    lab_table,
    systems_table,
)
from tests.plan.looked import path

NARROW = Screen(width=80)
INSTANCE = {"system": "www", "store": "ssh://portico", "tags": ["web", "eu"], "address": "192.0.2.1", "jump": "portico"}
ENTRY = RunEntry(
    run="20261127T225706Z-aaaaaa",
    path="/srv/.hive/runs/20261127T225706Z-aaaaaa.jsonl",
    started=1795820226.697328,
    ended=1795820228.6160100,
    who="ada@desk",
    program="%hive morning.ipynb",
    words=("deploy", "portico", "*", "--canary", "1"),
    verb="deploy",
    source="fleet",
    digest="9b3f10c4d2aa" * 5,
    instances=5,
    counts={"done": 4, "failed": 1},
    state="ended",
)


def rows(table, screen=NARROW, **more):
    """The lines below the headline and the titles, without the blanks between columns."""
    return [" ".join(line.split()) for line in listing_text(table, screen, **more).splitlines()[2:]]


def test_instances_are_listed_in_the_order_of_a_deploy():
    records = [{"instance": name, "wave": wave, **INSTANCE} for name, wave in (("portico", 1), ("www-2", 2))]
    table = instances_table(records)
    assert table.headline == "2 instances, 1 system, 2 waves"
    assert rows(table)[1] == "www-2 www web, eu 2 192.0.2.1 portico ssh://portico"
    assert rows(table, Screen(width=48))[1] == "www-2 www web, eu 2 192.0.2.1"
    assert "stood" not in listing_text(table)
    assert "✓ in sync" in listing_text(instances_table(records, {"www-2": "in sync"}))
    assert listing_text(instances_table([])) == "There is no instance."


def test_a_system_that_was_never_built_says_so():
    known = {"platform": "x86_64-linux", "instances": 3, "paths": ["nixpkgs=/own"], "derivation": ""}
    records = [
        {"system": "www", "result": path("a", "www"), **known},
        {"system": "db", "result": "", **known},
    ]
    table = systems_table(records)
    assert table.headline == "2 systems, 1 with a result of an earlier build"
    assert rows(table) == ["www x86_64-linux 3 aaaaaaaa…-nixos-system-www-24.05", "db x86_64-linux 3 not built yet"]
    assert "nixpkgs=/own" not in listing_text(table)
    assert "nixpkgs=/own" in listing_text(table, NARROW, wide=True)


def test_generations_say_what_runs_what_boots_and_who_was_not_asked():
    found = {
        "www-1": (
            Generation(number=2, path=path("b", "www"), created=1795820226.6, current=True, version="24.05"),
            Generation(number=1, path=path("a", "www"), created=None, running=True),
        )
    }
    table = generations_table(records_of(generations_frame(found, {"www-2": "no route to host"})))
    assert (table.headline, table.tone) == ("2 hosts: 2 generations, 1 not asked", "bad")
    assert rows(table)[:2] == [
        "www-1 2 boots next 2026-11-27 22:57 bbbbbbbb…-nixos-system-www-…",
        "www-1 1 runs aaaaaaaa…-nixos-system-www-…",
    ]
    assert rows(table)[2:] == ["www-2", "no route to host"]
    assert "22:57 24.05 bbbbbbbb…-nixos-system-www-24.05" in rows(table, Screen(width=120))[0]


def test_checks_that_fail_stand_first():
    found = {
        "www-1": (CheckResult(name="http", kind="http", ok=True, seconds=0.25),),
        "www-2": (CheckResult(name="http", kind="http", ok=False, reason="status 500 in place of 200", tries=3),),
    }
    table = check_table(records_of(check_frame(found, {"db": "it was not reached"})))
    assert (table.headline, table.tone) == ("1 of 3 checks holds", "bad")
    assert [row.split()[0] for row in rows(table)] == ["www-2", "db", "www-1"]
    assert "✕ no 0.0 s 3 status 500 in place of 200" in rows(table)[0]
    assert "? not asked" in rows(table)[1]
    assert rows(table)[2] == "www-1 http ✓ yes 0.2 s 1"


@pytest.mark.parametrize("width", [80, 200])
def test_a_run_tells_what_was_typed_how_it_ended_when_and_for_how_long(width):
    row = rows(history_table([ENTRY], empty=""), Screen(width=width))[0]
    assert row.startswith("aaaaaa 2026-11-27 22:57 1.9 s deploy portico '*' --canary")
    assert "✕ 4 done, 1 failed" in row
    if width == 200:
        assert row.endswith("ada@desk %hive morning.ipynb")
    assert ENTRY.run in listing_text(history_table([ENTRY], empty=""), wide=True)


def test_a_run_of_python_tells_its_verb_and_its_patterns():
    own = msgspec.structs.replace(ENTRY, words=(), asked=("portico", "web,db"), state="killed", ended=None)
    (row,) = rows(history_table([own], empty=""), Screen(width=200))
    assert "deploy portico web,db ✕ killed 4 done, 1 failed" in row


def test_the_hosts_of_the_practice_fleet_are_listed():
    host = {"instance": "www-1", "init": "light", "address": "198.19.1.2", "port": 22, "user": "root", "netns": "n0"}
    records = records_of(
        lab_frame([{**host, "pid": 5, "running": True, "host_key": "k"}, {**host, "pid": None, "running": False}])
    )
    table = lab_table(records)
    assert (table.headline, table.tone) == ("1 of 2 practice hosts running", "bad")
    assert rows(table)[0] == "www-1 ✓ running light 198.19.1.2 22 root 5 n0"


def change(instance, package="openssl", old="3.0.13", new="3.0.15", size=1200, **more):
    kind = "changed" if old and new else "added" if new else "removed"
    known = {"package": package, "change": kind, "old_versions": old, "new_versions": new, "size": size, "error": ""}
    return {"instance": instance, **known, **more}


def test_what_changes_alike_is_told_once():
    systems = {"www-1": "www", "www-2": "www", "db": "db", "portico": "portico"}
    records = [
        *(change(name) for name in ("www-1", "www-2")),
        change("db"),
        change("db", "postgresql", "", "16.3", 61_400_000),
        change("db", "mysql", "8.0", "", -300),
    ]
    table = diff_table(records, systems)
    assert listing_text(table).splitlines() == [
        "3 of 4 hosts would change",
        "  package     change     version              size",
        "www-1, www-2 (www), +1.2 kB in all",
        "  openssl     → changed  3.0.13 → 3.0.15   +1.2 kB",
        "db, +61.4 MB in all",
        "  openssl     → changed  3.0.13 → 3.0.15   +1.2 kB",
        "  postgresql  + added    16.3             +61.4 MB",
        "  mysql       - removed  8.0                -300 B",
    ]


def test_packages_whose_versions_stay_are_counted():
    rebuilt = [change("www-1", name, "24.05", "24.05") for name in ("nixos-system-www", "etc")]
    lines = listing_text(diff_table([*rebuilt, change("www-1")], {"www-1": "www"})).splitlines()
    assert "etc" not in "".join(lines)
    assert lines[-1].strip() == "2 packages with the same version"


def test_one_that_could_not_be_compared_says_why():
    lost = {**change("www-1"), "package": "", "change": None, "size": None, "error": "no route to host"}
    lines = listing_text(diff_table([lost], {"www-1": "www"})).splitlines()
    assert lines[0] == "0 of 1 host would change, 1 could not be compared"
    assert lines[-1] == "✕ www-1: no route to host"
    assert listing_text(diff_table([], {"www-1": "www"})) == "No package differs."
