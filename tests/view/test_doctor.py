"""What `doctor` found, as a person reads it."""

from __future__ import annotations

import msgspec
import pytest

from nixhive_nb.plan.examined import ClockSpan
from nixhive_nb.view.doctor import doctor_table
from nixhive_nb.view.listing_html import listing_html
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.screen import Screen
from tests.plan.diagnoses import WAY, diagnosis, lost

LONG = "ssh-ed25519 " + "A" * 200


def text(*found, width=80):
    return listing_text(doctor_table(found), Screen(width=width))


def test_hosts_with_something_amiss_stand_first_and_are_counted():
    told = text(diagnosis("well"), diagnosis("poor", nix=""), lost("gone: no answer", "gone")).splitlines()
    assert told[0] == "3 hosts: 1 well, 1 with shortcomings, 1 unreachable"
    assert [line.split()[0] for line in told[2:5]] == ["gone", "poor", "well"]


def test_the_same_of_many_hosts_is_told_once_with_the_lines_of_all():
    told = text(*(diagnosis(f"www-{number}", power=None, elevate=()) for number in range(8)))
    assert told.count('`elevate` is "none"') == 1
    assert "✕ www-0, www-1, www-2, www-3, www-4 and 3 more: " in told
    assert told.count('.elevate = "sudo";') == 8


def test_hosts_that_are_off_for_the_same_reason_are_told_once():
    """1,200 hosts behind a network that is down were 50 shortcomings with a name each, and 1,150 that were left out."""
    off = [lost(f"www-{number} (10.0.0.{number}:22) refuses the connection.", f"www-{number}") for number in range(70)]
    told = text(*off, lost("www-x (10.0.0.9:22 through portico): there is no address.", "www-x"))
    assert told.count("refuses the connection.") == 1
    assert "✕ www-0, www-1, www-2, www-3, www-4 and 65 more: refuses the connection." in told
    assert "✕ www-x (10.0.0.9:22 through portico): there is no address." in told
    assert "more shortcomings" not in told


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_to_copy_are_whole_however_narrow_a_screen_is(width):
    one = lost("www-1: the login of user deploy was refused. Keys tried: /id.", public_key=LONG)
    lines = text(one, width=width).splitlines()
    assert f'    users.users.deploy.openssh.authorizedKeys.keys = [ "{LONG}" ];' in lines
    own = [line for line in lines if LONG not in line and not line.startswith("    ")]
    assert max(map(len, own)) <= width


def test_a_narrow_screen_has_what_matters_most():
    header = text(diagnosis()).splitlines()[1].split("  ")
    assert [name.strip() for name in header if name][:5] == ["instance", "state", "login", "root by", "takes pushes by"]


def test_a_clock_is_right_or_said_with_its_sign():
    ahead = ClockSpan(said=3700.0, asked=99.0, heard=100.0)
    assert "+1 h 00 min" in text(diagnosis(clock=ahead), width=None)
    behind = ClockSpan(said=60.0, asked=100.0, heard=101.0)
    assert "-40.0 s" in text(diagnosis(clock=behind), width=None)
    assert "right" in text(diagnosis(), width=None)


def test_no_shortcoming_is_left_out_without_a_word():
    table = doctor_table([lost(f"www-{number}: odd {number}", f"www-{number}") for number in range(60)])
    assert len(table.snippets) == 50
    assert table.notes[0].text == "… and 10 more shortcomings: see --json"


def test_text_of_a_host_is_text_in_html():
    evil = "<script>alert(1)</script>"
    one = lost(f"www-1: {evil}", user=evil)
    found = [one, diagnosis("b", power=1, power_said=f"sudo: {evil}", way=msgspec.structs.replace(WAY, through=evil))]
    page = listing_html(doctor_table(found), wide=True)
    assert "<script" not in page
    assert page.count("<pre") == len(doctor_table(found).snippets)


def test_what_the_own_configuration_changes_is_told_once():
    way = msgspec.structs.replace(WAY, own=("proxyjump portico (without: not set)",))
    told = text(diagnosis("a", way=way), diagnosis("b", way=way))
    assert told.count("Your own ssh configuration: proxyjump portico (without: not set), of 2 hosts") == 1
