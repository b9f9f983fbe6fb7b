"""Whether a system can be built here is told before a build starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixhive_nb import Hive
from nixhive_nb.deployment.inventory import Inventory, System
from nixhive_nb.deployment.platforms import build_places, check_platforms, nix_settings
from nixhive_nb.errors import DeploymentError, NixError
from nixhive_nb.run import carry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STRANGE = "riscv128-plan9"
_UNKNOWN = "echo \"error: '{}' is not a recognised command\" >&2; exit 1"


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has its own settings of Nix; no builders, whatever this machine has."""
    monkeypatch.setenv("NIX_CONFIG", "builders =")
    nix_settings.cache_clear()
    yield
    nix_settings.cache_clear()


def inventory(*flags: str, **platforms: str) -> Inventory:
    systems = {name: System(name=name, platform=platform) for name, platform in platforms.items()}
    return Inventory(source="example/", systems=systems, build_flags=flags)


def refused(found: Inventory) -> str:
    with pytest.raises(DeploymentError) as caught:
        check_platforms(found, found.systems)
    return str(caught.value)


def test_this_machine_builds_for_itself() -> None:
    check_platforms(inventory(www=nix_settings()["system"]), ["www"])


def test_a_platform_that_nobody_builds_is_refused_by_system() -> None:
    lines = refused(inventory(www=nix_settings()["system"], pi=STRANGE, beagle=STRANGE)).splitlines()
    assert lines[0].startswith(f"System pi is for {STRANGE}, and this machine builds ")
    assert nix_settings()["system"] in lines[0]
    assert lines[1].startswith(f"System beagle is for {STRANGE}")
    assert lines[2:] == [
        'Name a builder in `nix.build.flags` ([ "--builders" "ssh://HOST PLATFORM" ]) or in /etc/nix/machines.'
    ]


def test_nix_is_not_asked_for_its_settings_where_the_evaluation_has_told_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hive.nix").write_text("{ systems.www.configuration = { }; }")
    with Hive.load(tmp_path / "hive.nix") as hive:
        found = hive.inventory
    assert (found.machine, found.nix) == (nix_settings()["system"], carry._nix_version())
    nix_settings.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    check_platforms(found, ["www"])


def test_only_the_systems_that_are_to_be_built_matter() -> None:
    check_platforms(inventory(www=nix_settings()["system"], pi=STRANGE), ["www"])


@pytest.mark.parametrize(
    "flags",
    [
        ("--builders", f"ssh://builder {STRANGE}"),
        ("--max-jobs", "0", "--option", "builders", "ssh://builder"),
        ("--extra-platforms", f"i686-linux {STRANGE}"),
        ("--option", "extra-platforms", STRANGE),
        ("--store", "ssh-ng://builder"),
    ],
)
def test_flags_of_the_deployment_can_name_who_builds(flags: tuple[str, ...]) -> None:
    check_platforms(inventory(*flags, pi=STRANGE), ["pi"])


@pytest.mark.parametrize(
    "flags", [("--builders", ""), ("--builders", "@/no/such/file"), ("--max-jobs", "4"), ("--builders",)]
)
def test_flags_that_name_no_builder_do_not_help(flags: tuple[str, ...]) -> None:
    assert STRANGE in refused(inventory(*flags, pi=STRANGE))


def test_the_settings_of_nix_can_name_a_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", "builders = ssh://builder")
    check_platforms(inventory(pi=STRANGE), ["pi"])


def test_the_settings_of_nix_can_name_a_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", f"builders =\nextra-platforms = {STRANGE}")
    check_platforms(inventory(pi=STRANGE), ["pi"])


def test_a_file_of_machines_counts_when_it_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = tmp_path / "machines"
    machines.write_text("# none yet\n\n")
    monkeypatch.setenv("NIX_CONFIG", f"builders = @{machines}")
    assert STRANGE in refused(inventory(pi=STRANGE))
    machines.write_text(f"# one\nssh://builder {STRANGE}\n")
    check_platforms(inventory(pi=STRANGE), ["pi"])


def test_where_a_platform_is_built_is_here_at_the_builder_that_says_so_or_nowhere(tmp_path: Path) -> None:
    machines = tmp_path / "machines"
    machines.write_text("# none\nssh://arm aarch64-linux,armv7l-linux /key 4\nssh://plain\n")
    found = inventory("--builders", f"ssh://me@strange {STRANGE}; @{machines}")
    own = str(nix_settings()["system"])
    assert build_places(found, [own, STRANGE, "armv7l-linux", "s390x-linux"]) == {
        own: "here",
        STRANGE: "builder ssh://me@strange",
        "armv7l-linux": "builder ssh://arm",
        "s390x-linux": "",
    }


def test_with_a_store_of_its_own_everything_is_built_there() -> None:
    found = inventory("--store", "ssh-ng://builder")
    assert build_places(found, [STRANGE]) == {STRANGE: "store ssh-ng://builder"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('echo \'{"a": {"value": "old"}}\'', _UNKNOWN.format("config"), "old"),
        (_UNKNOWN.format("show-config"), 'echo \'{"a": {"value": "new"}}\'', "new"),
        ("echo 'error: the disk is full' >&2; exit 1", _UNKNOWN.format("config"), "the disk is full"),
        (_UNKNOWN.format("show-config"), "echo 'error: the disk is full' >&2; exit 1", "the disk is full"),
    ],
)
def test_nix_is_asked_by_the_name_of_its_command_that_it_knows(
    old: str, new: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every Nix so far knows the old one; a Nix that fails says why, whichever it knows."""
    program = tmp_path / "nix"
    program.write_text(f"#!/bin/sh\ncase $3 in show-config) {old};; *) {new};; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    try:
        told = str(nix_settings()["a"])
    except NixError as error:
        told = str(error)
    assert said in told
