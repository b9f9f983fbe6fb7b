"""When a host is left alone, and what is said to it otherwise."""

from __future__ import annotations

import pytest

from nixhive_nb.backend.activation import HostState, is_unchanged, parse_look, set_profile, switch

NEW, OLD = "/nix/store/new-system", "/nix/store/old-system"


@pytest.mark.parametrize(
    ("runs", "boots", "action", "unchanged"),
    [
        (NEW, NEW, "switch", True),
        (NEW, OLD, "switch", False),
        (OLD, NEW, "switch", False),
        ("", "", "switch", False),
        (OLD, NEW, "boot", True),
        (NEW, OLD, "boot", False),
        (NEW, OLD, "test", True),
        (OLD, NEW, "test", False),
        (NEW, NEW, "dry-activate", False),
    ],
)
def test_a_host_that_is_as_wanted_is_unchanged(runs, boots, action, unchanged):
    assert is_unchanged(HostState(current=runs, profile=boots), NEW, action) is unchanged


def test_what_a_host_says_is_read_and_what_is_no_store_path_is_none():
    host = parse_look(f"current={NEW}\nprofile=/nix/var/nix/profiles/system\nuid=0\nsystem=yes\nnoise\n")
    assert host == HostState(current=NEW, profile="", root=True, is_system=True)
    assert parse_look("") == HostState()


def test_sudo_is_used_only_where_the_login_is_not_root():
    assert switch(NEW, "switch", root=True) == f"{NEW}/bin/switch-to-configuration switch"
    assert switch(NEW, "switch", root=False) == f"sudo -n -- {NEW}/bin/switch-to-configuration switch"
    assert set_profile(NEW, root=False).startswith("sudo -n -- nix-env --profile /nix/var/nix/profiles/system --set ")


def test_a_path_is_one_word_whatever_is_in_it():
    assert switch("/nix/store/x; reboot", "switch", root=True).startswith("'/nix/store/x; reboot/bin/")
