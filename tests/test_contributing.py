"""CONTRIBUTING.md names files and make targets that are there; the glossary has the words of the code."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from nixhive_nb.plan.events import Outcome
from nixhive_nb.plan.status import Standing
from nixhive_nb.plan.step import Kind
from tests.pages import ROOT, Page

PAGE = Page(ROOT / "CONTRIBUTING.md")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WRITTEN_BY_RUNS = ("build/", ".venv")
KINDS = get_args(Kind)


def test_each_file_and_folder_that_it_names_is_there():
    spans = PAGE.inline()
    named = {word for span in spans for word in re.findall(r"[\w.-]*[\w-]/[\w./-]*|[\w-]+\.(?:md|toml)", span)}
    ours = {name for name in named if not name.startswith(WRITTEN_BY_RUNS)}
    assert len(ours) > 40
    assert {name for name in ours if not any((base / name).exists() for base in (ROOT, ROOT / "nixhive_nb"))} == set()


def test_each_make_target_that_it_names_is_there():
    named = set(re.findall(r"\bmake ([a-z-]+)", PAGE.text))
    assert {"setup", "lint", "test", "test-fast", "test-lowest", "test-nix", "measures"} <= named
    assert named <= TARGETS


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE.text):
        assert (ROOT / target).exists(), target


def section(name):
    """Return the words in the first column of the table below a heading of the glossary."""
    text = GLOSSARY.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    return [cell for cell in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) if cell != "---"][1:]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("The steps of a plan", KINDS),
        ("How an instance ends", get_args(Outcome)),
        ("How an instance stands", get_args(Standing)),
    ],
)
def test_the_glossary_has_the_words_of_the_code_and_no_others(name, words):
    assert sorted(section(name)) == sorted(words)


def test_the_glossary_has_the_words_of_the_field_once():
    terms = [term for terms in re.findall(r"^- \*\*([^*]+)\*\*", GLOSSARY, re.MULTILINE) for term in terms.split(", ")]
    assert len(terms) == len(set(terms)) >= 30
    assert {"instance", "system", "store", "relay", "substituter", "closure", "derivation", "generation"} <= set(terms)
    assert {"plan", "step", "wave", "gate", "confirm", "roll back", "drift", "fleet", "journal"} <= set(terms)
