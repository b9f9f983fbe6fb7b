"""A plan in words."""

from __future__ import annotations

import msgspec

from nixhive_nb.plan.plan import Options
from nixhive_nb.view.listing import short_path
from nixhive_nb.view.plan import change_text, plan_text
from nixhive_nb.view.screen import Screen
from tests.notebook.values import build_plan, deploy_plan, inventory
from tests.plan.looked import looked, path


def test_the_headline_counts_what_happens_and_what_leaves_this_machine():
    plan = looked(fresh=("www-1",), away=("www-2",))
    head = plan_text(plan).splitlines()[0]
    assert head.startswith(f"Plan {plan.digest}  (deploy example/ · 2 to activate, 1 nothing to do, 1 unreachable · ")
    assert "61.4 MB from here · 10.2 kB from stores" in head


def test_what_was_measured_in_part_is_a_least():
    plan = looked()
    seen = tuple(msgspec.structs.replace(one, moves=None) if one.instance == "www-1" else one for one in plan.seen)
    assert "at least 61.4 MB from here" in plan_text(msgspec.structs.replace(plan, seen=seen))


def test_rows_say_from_where_and_what_changes():
    lines = plan_text(looked(away=("www-2",))).splitlines()
    assert "fetch from portico, activate" in lines[4]
    assert "aaaaaaaa…-nixos-system-www-24.05 → bbbbbbbb…" in lines[4]
    assert "unreachable: no route to host" in lines[5]


def test_what_is_not_known_has_no_column():
    header = plan_text(deploy_plan()).splitlines()[2]
    assert header.split() == ["wave", "instance", "system", "what", "will", "happen"]


def test_the_options_stand_in_words():
    options = Options(canary=1, batch="25%", max_failures="2", pause=5, checks=False, force=True, wait=60)
    plan = msgspec.structs.replace(looked(options=options), allowed=2)
    words = plan_text(plan).splitlines()[1]
    assert words == (
        "canary of 1 · batches of 25% · stops when more than 2 failed · pause of 5.0 s between · "
        "rolls back unless confirmed within 30 s · no checks · waits 1 min 00 s for other activations · "
        "also where nothing changes"
    )
    assert "no confirmation" in plan_text(looked(options=Options(confirm=0.0)))


def test_batches_are_named_beside_their_wave():
    lines = plan_text(looked(options=Options(batch="2"))).splitlines()
    assert [line.split()[0] for line in lines[3:7]] == ["1.1", "2.1", "2.1", "2.2"]


def test_a_cut_table_shows_those_that_need_attention_and_counts_the_rest():
    one = inventory(tuple(f"www-{number:03}" for number in range(200)))
    text = plan_text(looked(one, away=("www-150",), fresh=("www-000",)), most=3)
    rows = text.splitlines()[3:6]
    assert "www-150" in rows[0]
    assert "… and 198 more: 197 to activate, 1 nothing to do" in text


def test_a_cut_table_shows_a_few_warnings_and_counts_the_rest():
    plan = msgspec.structs.replace(deploy_plan(), warnings=tuple(f"www-{number}: no" for number in range(100_000)))
    assert plan_text(plan, most=50).splitlines()[-1] == "… and 99,980 more warnings"
    assert len(plan_text(plan, most=50)) < 5000
    assert plan_text(plan).splitlines()[-1] == "warning: www-99999: no"


def test_a_build_lists_systems():
    assert "2 systems to build" in plan_text(build_plan())


def test_words_from_elsewhere_carry_no_terminal_control():
    plan = deploy_plan(inventory(("\x1b[31mred\x07",)))
    assert "\x1b" not in plan_text(msgspec.structs.replace(plan, warnings=("\x1b[2J",)))


def test_paths_are_short():
    assert short_path(path("a", "www")) == "aaaaaaaa…-nixos-system-www-24.05"
    assert short_path("/nix/store/odd") == "odd"
    assert change_text(path("a", "www"), path("a", "www")) == "aaaaaaaa…-nixos-system-www-24.05"
    assert change_text("", path("b", "www")) == "→ bbbbbbbb…-nixos-system-www-24.05"
    assert change_text(path("a", "www"), path("b", "db")).endswith(" → bbbbbbbb…-nixos-system-db-24.05")


def test_a_plan_with_nothing_to_do_says_so_first():
    """F7: all is built, pushed and run already."""
    plan = looked(fresh=("portico", "www-1", "www-2", "www-3"))
    head = plan_text(plan).splitlines()[0]
    assert head == f"No changes. Plan {plan.digest}  (deploy example/ · 4 nothing to do · 2 waves)"
    assert not plan_text(looked(fresh=("portico",))).startswith("No changes")


def test_only_what_is_not_known_to_be_built_is_to_be_built():
    """F7: what an instance lacks is known only where its system is built."""
    plan = looked()
    assert "to build" not in plan_text(plan)
    unbuilt = [msgspec.structs.replace(one, moves=None) if one.instance == "portico" else one for one in plan.seen]
    assert "1 system to build · 1 push to a store" in plan_text(msgspec.structs.replace(plan, seen=tuple(unbuilt)))


def test_only_what_an_instance_needs_is_to_be_pushed():
    """F7: a store from which nobody needs anything gets nothing."""
    assert "1 push to a store" in plan_text(looked(fresh=("www-1", "www-2")))
    assert "push" not in plan_text(looked(fresh=("www-1", "www-2", "www-3")))


def test_a_plan_fits_80_columns():
    lines = plan_text(looked(away=("www-2",)), screen=Screen(width=80)).splitlines()
    assert max(map(len, lines)) <= 80
    assert "unreachable: no route to host" in "\n".join(lines)
    assert "fetch from portico, activate" in "\n".join(lines)
