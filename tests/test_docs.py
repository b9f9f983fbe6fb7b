"""Every command of the README and the docs is one of ours, and runs; and the README names every command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import click
import pytest

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.session import Session
from nixhive_nb.deployment.load import load
from nixhive_nb.lab import Lab
from nixhive_nb.lab.fleet import _NIXPKGS as STAND_IN
from tests.follow import RUN, Follower, terminal
from tests.pages import ROOT, calls, notebooks, pages, words_of
from tests.practice import Practice
from tests.sentences import LAST, Reader, commands_of_the_readme, spoken
from tests.warm import put_shim

PAGES = pages()
FOLLOWED = [page for page in PAGES if any(block.language in RUN for block in page.blocks())]
HOMES = (ROOT, ROOT / "nixhive_nb")
OPTIONS_OF_OTHERS = {"--builders", "--write", "--flake", "--allow-root", "--help-notebook", "--list"}


def by_name(page):
    return page.name


def deployments():
    """The Nix that stands for a whole deployment: what is no file of a walk."""
    return [
        pytest.param(block.text, id=f"{page.name}:{block.line}")
        for page in PAGES
        for block in page.blocks()
        if block.language == "nix" and "file" not in block.marks
    ]


def test_no_block_is_of_a_kind_that_nobody_tries():
    for page in PAGES:
        for block in page.blocks():
            known = block.language in (*RUN, "nix") or "file" in block.marks
            assert known, f"{page.name}:{block.line}: who runs {block.language}?"


@pytest.mark.parametrize("text", deployments())
def test_a_deployment_of_the_docs_evaluates_without_a_warning(text, tmp_path, monkeypatch):
    monkeypatch.setenv("NIX_PATH", f"nixpkgs={STAND_IN}")
    (tmp_path / "www.nix").write_text("{ ... }: { }")
    (tmp_path / "default.nix").write_text(text)
    inventory = load(tmp_path).inventory
    assert inventory.warnings == ()
    assert inventory.instances


@pytest.fixture
def parse(monkeypatch):
    """Parses a command as it stands in a text, and does nothing else with it."""
    monkeypatch.setattr(click.Command, "invoke", lambda command, context: None)

    def parse(call):
        has_terminal = call.startswith("nix-hive")
        session = Session(program="nix-hive", follow=None, warn=pytest.fail, has_terminal=has_terminal)
        session.script = "" if call.startswith("%%") else None
        try:
            with hive_group.make_context("nix-hive", words_of(call), obj=session) as context:
                hive_group.invoke(context)
        except click.exceptions.Exit:
            assert {"--help", "--version"} & set(words_of(call))
        except click.ClickException as error:
            pytest.fail(f"{call}: {error.format_message()}")

    return parse


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_the_commands_of_a_page_are_in_the_grammar(page, parse):
    for call in calls(page):
        parse(call)


def test_the_commands_of_the_readmes_table_are_in_the_grammar(parse):
    for words in commands_of_the_readme():
        parse(f"nix-hive {words}")


def options(command):
    own = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return {"--help"}.union(own, *(options(one) for one in below))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_the_options_of_a_page_are_in_the_grammar(page):
    named = {option for span in page.inline() for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    assert named - OPTIONS_OF_OTHERS <= options(hive_group)


@pytest.fixture(scope="module")
def follower(tmp_path_factory):
    """One practice fleet for all pages, where `lab up` finds it; and what a reader's machine has."""
    with following(tmp_path_factory.mktemp("pages")) as one:
        yield one


@contextlib.contextmanager
def following(folder):
    programs = Path(sys.executable).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("NIX_PATH", f"nixpkgs={STAND_IN}")
        # Each command of a page is a program, as fast as it is in a notebook.
        (folder / "bin").mkdir()
        put_shim(folder / "bin")
        patch.setenv("PATH", f"{folder / 'bin'}:{programs}:{os.environ['PATH']}")
        patch.setenv("NO_COLOR", "1")
        for name in ("example", "notebooks"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("lab.nix", ".*"))
        with Lab.up(deployment=folder / "example") as lab:
            yield Follower(Practice(folder, lab), patch.chdir)


@pytest.mark.fleet
@pytest.mark.parametrize("page", FOLLOWED, ids=by_name)
def test_a_page_can_be_followed_from_top_to_bottom(page, follower):
    follower.follow(page)


@pytest.mark.fleet
@pytest.mark.parametrize("page", [page for page in (*PAGES, *notebooks()) if spoken(page)], ids=by_name)
def test_the_commands_in_the_sentences_of_a_page_run(page, follower):
    with follower.at_the_end(page) as (folder, notebook):
        reader = Reader(folder, notebook)
        for call in spoken(page):
            if call not in LAST:
                reader.type(call)


@pytest.mark.fleet
def test_the_practice_fleet_goes_down_as_the_docs_say(tmp_path):
    assert LAST[0] in {call for page in PAGES for call in spoken(page)}
    with following(tmp_path):
        said, failed = terminal(LAST[0], attended=True)
    assert not failed, said
    assert "The practice fleet is down." in said


def test_few_commands_are_not_run(capsys):
    left_out = [
        f"{page.name}:{block.line}: {block.marks['not run']}"
        for page in PAGES
        for block in page.blocks()
        if "not run" in block.marks
    ]
    with capsys.disabled():
        sys.stdout.write("\n  ".join(["\nNot run, of all blocks of the docs:", *(left_out or ["none"]), ""]))
    assert len(left_out) <= 3
    assert all(line.rpartition(": ")[2] for line in left_out)


def test_the_readme_names_every_command_and_no_other():
    assert {words.split()[0] for words in commands_of_the_readme()} == set(hive_group.commands)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_the_links_between_the_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.text):
        assert (page.path.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.fixture
def named():
    """The files and folders that the architecture names."""
    page = next(page for page in PAGES if page.name == "docs/architecture.md")
    return {span for span in page.inline() if re.fullmatch(r"[\w/.-]+\.(?:py|sh|nix)|[\w/]+/", span)}


def test_the_files_that_the_architecture_names_are_there(named):
    assert len(named) > 20
    # `hive.nix` is anybody's, and what lies below build/ comes of a run.
    ours = {name for name in named - {"hive.nix"} if not name.startswith("build/")}
    missing = {name for name in ours if not any((place / name).exists() for place in HOMES)}
    assert not missing
