"""Our own format: whose a file is, and the commands that evaluate it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nixhive_nb.deployment.inventory import Inventory, System
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.hive import HiveSource, format_by_names
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.errors import DeploymentError


def test_include_paths_stand_in_the_order_in_which_they_win():
    inventory = Inventory(
        source="d",
        systems={name: System(name=name, paths=("nixpkgs=/own",), platform="") for name in ("a", "b")},
        paths=("nixpkgs=/all",),
    )
    source = HiveSource(Path("/d"), Evaluation(options=(("cores", "1"),)))
    words = source.toplevels(inventory, ["a", "b"])
    assert [words[index + 1] for index, word in enumerate(words) if word == "-I"][:2] == [
        "nixpkgs=/own",
        "nixpkgs=/all",
    ]
    assert words[:5] == ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode"]
    assert words[-7:] == ["--argstr", "names", '["a", "b"]', "--show-trace", "--option", "cores", "1"]
    assert "deployment=/d" in words


@pytest.mark.parametrize(
    ("names", "network", "format_"),
    [
        (["instances", "systems"], [], "hive"),
        (["paths", "systems"], [], "hive"),
        ([], [], "hive"),
        (["signing"], [], "hive"),
        (["sytems"], [], "hive"),  # a mistake, which is told as one
        (["meta", "www"], [], "colmena"),
        (["defaults", "www"], [], "colmena"),
        (["network", "www"], ["nixpkgs"], "colmena"),
        (["network", "www"], ["pkgs"], "morph"),
        (["defaults", "network", "www"], ["description", "pkgs"], "morph"),
        (["meta", "systems"], [], None),
        (["defaults", "instances"], [], None),
        (["db", "www"], [], None),  # nodes of a hive without `meta`, or nothing that is ours
    ],
)
def test_the_names_at_the_top_of_a_file_tell_its_format(names, network, format_):
    assert format_by_names(names, network) == format_


@pytest.mark.nix
def test_a_file_that_may_be_of_several_formats_is_refused_with_the_option_that_tells(tmp_path):
    file = tmp_path / "fleet.nix"
    file.write_text("{ www = { }; db = { }; }")
    with pytest.raises(DeploymentError) as refused:
        load(file)
    assert str(refused.value) == (
        f"{file} may be in one of several formats: at its top it has db, www. Say which with --format: hive (ours), "
        "colmena or morph."
    )
    said = load(file, how=Evaluation(format="hive")).inventory.warnings
    assert "`www`" in said[1]
