"""Every example of the README and the docs runs, and the README names every command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nixhive_nb.commands import hive_group
from nixhive_nb.deployment.load import load
from nixhive_nb.lab.fleet import _NIXPKGS as STAND_IN

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)


def examples(language):
    return [
        pytest.param(textwrap.dedent(found["text"]), id=f"{page.name}-{number}")
        for page in PAGES
        for number, found in enumerate(FENCE.finditer(page.read_text()), start=1)
        if found["language"] == language
    ]


def test_no_example_is_of_a_kind_that_nobody_runs():
    known = {"nix", "python", "ipython", "console"}
    assert {found["language"] for page in PAGES for found in FENCE.finditer(page.read_text())} <= known


@pytest.mark.parametrize("text", examples("nix"))
def test_a_deployment_of_the_docs_evaluates_without_a_warning(text, tmp_path, monkeypatch):
    monkeypatch.setenv("NIX_PATH", f"nixpkgs={STAND_IN}")
    (tmp_path / "www.nix").write_text("{ ... }: { }")
    (tmp_path / "default.nix").write_text(text)
    inventory = load(tmp_path).inventory
    assert inventory.warnings == ()
    assert inventory.instances


@pytest.mark.parametrize("text", examples("console"))
def test_a_command_of_the_docs_runs(text, tmp_path):
    commands = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.fleet
@pytest.mark.parametrize("text", examples("python"))
def test_the_python_of_the_docs_runs(text, practice):
    subprocess.run([sys.executable, "-c", text], cwd=practice.folder, check=True, timeout=240)


@pytest.mark.fleet
@pytest.mark.parametrize("text", examples("ipython"))
def test_the_cells_of_the_docs_run(text, practice):
    (practice.folder / "hive.nix").write_text("import ./example")
    arguments = ["-m", "IPython", "--no-banner", "--colors=nocolor", "-c", text]
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=practice.folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 of 5 deployed" in ended.stdout + ended.stderr


def test_the_readme_names_every_command_and_no_other():
    table = re.findall(r"^\| (`.*?) \| ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    named = {words.split()[0] for row in table for words in re.findall(r"`([^`]+)`", row)}
    assert named == set(hive_group.commands)


def test_the_links_between_the_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
