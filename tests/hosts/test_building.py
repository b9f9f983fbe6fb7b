"""What a host says of itself as one that builds, and what follows from that for a plan."""

from __future__ import annotations

import pytest

from nixhive_nb.hosts.building import ABILITY, read_place
from nixhive_nb.plan.places import LEAST_ROOM, BuildNeed, BuildPlace, cannot_build, doubts, no_room, not_taken
from nixhive_nb.util import process

SAID = """\
Welcome!
uid=1000
user=deploy
groups=users wheel
free=/dev/vda1 100 50 4000000 2% /
nix=yes
store=yes
system=x86_64-linux
extra-platforms=i686-linux x86_64-v1-linux
system-features=big-parallel kvm
trusted-users=root @wheel
trusted-public-keys=cache.nixos.org-1:abc= portico-1:def=
max-jobs=4
builders=@/etc/nix/machines
"""


def said(**changes):
    lines = dict(line.split("=", 1) for line in SAID.splitlines()[1:])
    lines |= {name.replace("_", "-"): value for name, value in changes.items()}
    return read_place("ssh://b", [f"{name}={value}" for name, value in lines.items() if value is not None])


def test_what_is_said_is_read():
    place = read_place("ssh://b", SAID.splitlines())
    assert place.platforms == ("x86_64-linux", "i686-linux", "x86_64-v1-linux")
    assert place.features == ("big-parallel", "kvm")
    assert (place.trusted, place.delegates, place.error) == (True, False, "")
    assert place.keys == ("cache.nixos.org-1", "portico-1")
    assert place.free == 4_000_000 * 1024


@pytest.mark.parametrize(
    ("changes", "trusted"),
    [
        ({"trusted_users": "root"}, False),
        ({"trusted_users": "deploy"}, True),
        ({"trusted_users": "*"}, True),
        ({"trusted_users": "@users"}, True),
        ({"trusted_users": "@nobody"}, False),
        ({"trusted_users": "", "uid": "0"}, True),
        ({"trusted_users": None}, False),
    ],
)
def test_who_is_trusted(changes, trusted):
    assert said(**changes).trusted is trusted


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uid": None}, "its login runs no commands"),
        ({"nix": None}, "it has no nix-store"),
        (
            {"store": None, "closed": "error: no"},
            "its Nix does not let deploy in: error: no. Name deploy in allowed-users",
        ),
        ({"max_jobs": "0"}, "max-jobs = 0"),
    ],
)
def test_what_cannot_build_is_told_with_what_to_do(changes, why):
    place = said(**changes)
    assert why in place.error
    assert "--build-on" in cannot_build(place, "www", ())


def test_a_place_with_builders_of_its_own_may_have_any_platform():
    place = said(max_jobs="0", builders="ssh://c")
    assert (place.delegates, cannot_build(place, "www", [BuildNeed(platform="riscv64-linux")])) == (True, "")
    assert said(max_jobs="0", machines="yes").delegates


def test_no_garbage_stands_in_a_place():
    place = read_place("ssh://b", ["uid=x\x1b[31m", "system=\x1b]0;t\x07", "free=", "max-jobs=auto", "=", "no line"])
    assert "\x1b" not in place.error
    assert (place.platforms, place.free, place.trusted) == ((), None, False)


@pytest.mark.nix
def test_this_machine_says_what_is_read():
    ended = process.run(["/bin/sh", "-c", ABILITY])
    place = read_place("ssh://here", ended.stdout.splitlines())
    assert place.error == ""
    assert any(one.endswith("-linux") for one in place.platforms)
    assert place.free


PLACE = BuildPlace(store="ssh://b", platforms=("x86_64-linux",), features=("kvm",), free=10**9)
OWN = BuildNeed(platform="x86_64-linux", derivation="nixos-system")


@pytest.mark.parametrize(
    ("place", "needs", "why"),
    [
        (PLACE, [OWN], ""),
        (PLACE, [BuildNeed(platform="aarch64-linux")], "it is for aarch64-linux, and its Nix builds x86_64-linux"),
        (PLACE, [BuildNeed(platform="x86_64-linux", features=("kvm", "x"))], "its Nix has not the feature x"),
        (PLACE, [BuildNeed(platform="builtin")], ""),
        (PLACE, [OWN, BuildNeed(platform="aarch64-linux")], ""),
        (BuildPlace(store="ssh://b"), [OWN], ""),
        (BuildPlace(store="ssh://b", free=LEAST_ROOM - 1), [OWN], "free on /nix. Make room there"),
    ],
)
def test_what_a_place_cannot_build(place, needs, why):
    said = cannot_build(place, "www", needs)
    assert why in said
    assert bool(said) == bool(why)


def test_what_it_has_to_get_from_a_cache_is_a_warning():
    (line,) = doubts(PLACE, "www", [OWN, BuildNeed(platform="aarch64-linux", derivation="qemu-image")])
    assert line.startswith("ssh://b may fail to build qemu-image of www: it is for aarch64-linux")
    assert not list(doubts(PLACE, "www", [OWN, BuildNeed(platform="x86_64-linux", features=("kvm",))]))


def test_room_and_trust_are_looked_at_before_anything_is_sent():
    assert no_room(PLACE, "www", 10**9) == ""
    assert "2.0 GB that is not there" in no_room(PLACE, "www", 2 * 10**9)
    assert not_taken(PLACE, "www", []) == ""
    assert "/nix/store/a was built and is not signed" in not_taken(PLACE, "www", ["/nix/store/a"])
    assert not_taken(BuildPlace(store="ssh://b", trusted=True), "www", ["/nix/store/a"]) == ""
