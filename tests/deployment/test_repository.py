"""The revision of a deployment's folder, as Git tells it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from nixhive_nb.deployment.repository import is_in_history, revision_of
from nixhive_nb.deployment.revision import Revision

MADE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
WHO = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder, *words):
    done = subprocess.run(
        ["git", "-C", folder, *WHO, *words], check=True, capture_output=True, text=True, env={**os.environ, **MADE}
    )
    return done.stdout.strip()


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x", "--allow-empty")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    (root / "fleet").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    (root / "fleet" / "hive.nix").write_text("{ }")
    (root / "book.ipynb").write_text("{}")
    return root


@pytest.fixture
def committed(repository):
    commit(repository)
    return repository


def test_a_folder_in_no_repository_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert revision_of(tmp_path / "hive.nix") is None


def test_what_is_committed_has_its_commit_whether_a_file_or_a_folder_is_named(committed):
    head = git(committed, "rev-parse", "HEAD")
    assert revision_of(committed / "fleet" / "hive.nix") == Revision(commit=head, dirty=False)
    assert revision_of(committed / "fleet") == revision_of(committed) == Revision(commit=head)
    assert str(revision_of(committed)) == head


def test_before_the_first_commit_it_has_no_commit(repository):
    found = revision_of(repository)
    assert found == Revision(commit="", dirty=True)
    assert str(found) == "uncommitted"


def changed(root):
    (root / "fleet" / "hive.nix").write_text("{ systems = { }; }")


def staged(root):
    changed(root)
    git(root, "add", "-A")


def renamed(root):
    git(root, "mv", "fleet/hive.nix", "fleet/new name.nix")


def removed(root):
    (root / "fleet" / "hive.nix").unlink()


def made_executable(root):
    (root / "fleet" / "hive.nix").chmod(0o755)


def added(root):
    (root / "fleet" / "new\nfile.nix").write_text("{ }")


def added_folder(root):
    (root / "modules").mkdir()
    (root / "modules" / "a.nix").write_text("{ }")


def in_conflict(root):
    for branch, text in (("one", "{ a = 1; }"), ("two", "{ a = 2; }")):
        git(root, "checkout", "-q", "-b", branch, "main")
        (root / "fleet" / "hive.nix").write_text(text)
        commit(root)
    with pytest.raises(subprocess.CalledProcessError):
        git(root, "merge", "-q", "one")


@pytest.mark.parametrize(
    "change", [changed, staged, renamed, removed, made_executable, added, added_folder, in_conflict]
)
def test_what_is_not_committed_makes_it_dirty(committed, change):
    change(committed)
    found = revision_of(committed / "fleet")
    assert found == Revision(commit=git(committed, "rev-parse", "HEAD"), dirty=True)
    assert str(found) == f"{found.commit}-dirty"


def notebook_run(root):
    (root / "book.ipynb").write_text('{"cells": []}')


def notebook_renamed(root):
    git(root, "mv", "book.ipynb", "renamed.ipynb")


def ignored(root):
    (root / ".git" / "info" / "exclude").write_text("secret\n")
    (root / "secret").write_text("x")


def hidden(root):
    (root / ".cache").mkdir()
    (root / ".cache" / "x").write_text("x")


def python_writes(root):
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "x.pyc").write_text("x")


def result(root):
    (root / "result").symlink_to("/nix/store/00000000000000000000000000000000-x")


@pytest.mark.parametrize("change", [notebook_run, notebook_renamed, ignored, hidden, python_writes, result])
def test_what_no_deployment_is_made_of_does_not(committed, change):
    change(committed)
    assert not revision_of(committed).dirty


def test_a_file_that_follows_a_renamed_notebook_counts(committed):
    notebook_renamed(committed)
    changed(committed)
    assert revision_of(committed).dirty


def test_our_own_files_do_not_count(committed):
    folder = committed / "fleet"
    (folder / "state").write_text("{}")
    (folder / "ours").mkdir()
    (folder / "ours" / "run.jsonl").write_text("")
    assert revision_of(folder).dirty
    assert not revision_of(folder, [str(folder / "state"), str(folder / "ours")]).dirty


def test_a_worktree_of_its_own_has_its_own(committed, tmp_path):
    first = git(committed, "rev-parse", "HEAD")
    commit(committed)
    git(committed, "worktree", "add", "-q", "--detach", tmp_path / "other", first)
    assert revision_of(tmp_path / "other") == Revision(commit=first)


def test_a_deployment_that_is_a_link_has_that_of_where_it_leads(committed, tmp_path):
    (tmp_path / "hive.nix").symlink_to(committed / "fleet" / "hive.nix")
    assert revision_of(tmp_path / "hive.nix") == revision_of(committed)


def test_looking_starts_nothing_that_the_repository_names(committed, tmp_path):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    git(committed, "config", "core.fsmonitor", program)
    for hook in ("post-index-change", "fsmonitor-watchman"):
        shutil.copy(program, committed / ".git" / "hooks" / hook)
    (committed / "fleet" / "hive.nix").touch()
    assert revision_of(committed) is not None
    assert not (tmp_path / "ran").exists()


def test_a_repository_that_git_does_not_read_has_none(committed):
    (committed / ".git" / "HEAD").write_text("nonsense")
    assert revision_of(committed) is None
    assert is_in_history(committed, "0" * 40, "1" * 40) is None


def test_without_git_it_is_not_known(committed, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert revision_of(committed) is None


def test_what_came_before_is_told_from_what_did_not(committed):
    first = git(committed, "rev-parse", "HEAD")
    second = commit(committed)
    git(committed, "checkout", "-q", "-b", "side", first)
    aside = commit(committed)
    assert is_in_history(committed, first, second) is True
    assert is_in_history(committed, second, second) is True
    assert is_in_history(committed, second, first) is False
    git(committed, "commit", "-q", "--amend", "-m", "y", "--allow-empty")
    assert is_in_history(committed, second, git(committed, "rev-parse", "HEAD")) is False
    assert is_in_history(committed, "12" * 20, second) is None
    assert is_in_history(committed, aside, aside) is True


@pytest.mark.parametrize("text", ["--help", "", "main", "HEAD"])
def test_what_is_no_commit_is_never_given_to_git(committed, text):
    assert is_in_history(committed, text, git(committed, "rev-parse", "HEAD")) is None
