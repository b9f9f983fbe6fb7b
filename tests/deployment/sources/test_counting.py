"""While nodes of a deployment are read, whoever listens hears how many; a mistake is told as before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.counting import counted_to
from nixhive_nb.errors import DeploymentError
from tests.builders import derivation, gated, opening, waiting
from tests.deployment.sources.hives import NIXPKGS

pytestmark = pytest.mark.nix

NODES = "".join(f"node-{number} = {{ }}; " for number in range(4))
NETWORK = f"{{ network.pkgs = import {NIXPKGS} {{ }}; {NODES}"
HIVE = f"{{ meta.nixpkgs = import {NIXPKGS} {{ }}; {NODES}"
FLAKE = f"""{{
  inputs.nixpkgs.url = "path:{NIXPKGS}";
  outputs = {{ self, nixpkgs }}: {{
    colmena = {{ meta.nixpkgs = import nixpkgs {{ system = "x86_64-linux"; }}; {NODES}"""
BROKEN = 'node-2b = { deployment.targetHost = throw "no address"; }; '


def reading(file, text):
    """What is told while a file is read, and what became of it."""
    file.write_text(text)
    told = []
    with counted_to(lambda done, total: told.append((done, total))):
        return told, load(file.parent if file.name == "flake.nix" else file)


@pytest.mark.parametrize(("name", "text"), [("network.nix", f"{NETWORK}}}"), ("hive.nix", f"{HIVE}}}"),
                                            ("flake.nix", f"{FLAKE}}}; }}; }}")])  # fmt: skip
def test_each_node_that_is_read_is_counted_and_nothing_of_it_is_left(tmp_path, name, text):
    told, loaded = reading(tmp_path / name, text)
    assert told == [(number, 4) for number in range(1, 5)]
    assert len(loaded.inventory.systems) == 4
    assert not [line for line in loaded.log if "nix-hive" in line]


@pytest.mark.parametrize(("name", "text"), [("network.nix", f"{NETWORK}{BROKEN}}}"), ("hive.nix", f"{HIVE}{BROKEN}}}")])
def test_a_mistake_is_told_without_the_count(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for show_trace in (False, True):
        with pytest.raises(DeploymentError, match="no address") as refused:
            load(tmp_path / name, show_trace=show_trace)
        assert "trace: nix-hive" not in str(refused.value)
        assert not [line for line in refused.value.log if "trace: nix-hive" in line]


def test_a_program_says_how_many_are_read_where_no_terminal_shows_it(tmp_path, monkeypatch):
    """The last node waits for a gate, which is opened when the sign of life was given."""
    monkeypatch.chdir(tmp_path)
    with gated() as place:
        waits = derivation("waits", f"{waiting(place)} >$out")
        last = f"node-z = {{ deployment.tags = [ (builtins.substring 0 4 (builtins.readFile {waits})) ]; }};"
        (tmp_path / "hive.nix").write_text(f"{HIVE}{last} }}")
        words = "from nixhive_nb.cli.main import main; main(['load'], pulse=0.1)"
        with subprocess.Popen(
            [sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            said = next(line for line in program.stderr if "4 of 5 nodes evaluated" in line)
            subprocess.run(["sh", "-c", opening(place)], check=True)
            rest = program.stdout.read() + program.stderr.read()
    assert said.startswith("load: reading the deployment: 4 of 5 nodes evaluated, after ")
    assert program.returncode == 0
    assert "nix-hive: read" not in rest
