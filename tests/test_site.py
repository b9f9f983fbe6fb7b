"""The documentation site is built without a warning and without the network, holds together, and names all there is."""

from __future__ import annotations

import copy
import html
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from nixhive_nb import Hive, errors
from nixhive_nb.commands import hive_group
from nixhive_nb.notebook.settings import Hive as Settings
from tests.alone import module_of
from tests.test_public import documented

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")}


class Looker(HTMLParser):
    """Notes what a page loads, where its links lead, and the places in it."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.links, self.places = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.loaded += [found[name] for name in found if (tag, name) in LOADED]
        self.links += [found["href"]] if tag == "a" and found.get("href") else []
        self.places.add(found.get("id"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site. Whoever goes by HTTP while it is built finds nobody there."""
    folder = tmp_path_factory.mktemp("site")
    nobody = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    argv = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-b", "html"]
    built = subprocess.run(
        [*argv, "-d", folder / "trees", "docs", folder / "html"],
        cwd=ROOT,
        env={**os.environ, **nobody},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def looked(site):
    """Each page by its path, with what is in it."""
    return {path: Looker(path.read_text()) for path in site.rglob("*.html")}


def text_of(site, page):
    """Return the text of a page's own part, without markup."""
    article = (site / page).read_text().partition('<article role="main"')[2].partition("</article>")[0]
    return html.unescape(re.sub(r"<[^>]+>", "", article))


def test_a_page_loads_nothing_from_elsewhere(looked):
    for path, page in looked.items():
        assert not [url for url in page.loaded if urlsplit(url).scheme not in ("", "data") or url.startswith("//")], (
            path
        )


def test_the_reference_has_no_option_that_every_command_has(site):
    assert "Show this message and exit" not in text_of(site, "reference/commands.html")


def test_pictures_have_one_for_a_dark_page(site):
    page = (site / "index.html").read_text()
    for name in ("record", "picker", "tracker"):
        assert re.search(rf'<img[^>]*class="[^"]*only-dark[^"]*"[^>]*{name}-dark\.png', page), name


def test_no_markup_is_left_in_the_text(site):
    for path in site.rglob("*.html"):
        assert not re.search(r"\{\w+\}`", text_of(site, path.relative_to(site))), path


def test_a_style_loads_nothing_from_elsewhere(site):
    sheets = list(site.rglob("*.css"))
    assert sheets
    for path in sheets:
        assert not re.search(r"""(?:url\(|@import)\s*['"]?(?:https?:)?//""", path.read_text()), path


def test_a_link_leads_to_a_place_of_the_site(site, looked):
    for path, page in looked.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_relative_to(site), f"{path.name}: {link}"
            assert target.is_file(), f"{path.name}: {link}"
            if parts.fragment and target in looked:
                assert unquote(parts.fragment) in looked[target].places, f"{path.name}: {link}"


def commands(group, before=""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


@pytest.mark.parametrize(("name", "command"), list(commands(hive_group)), ids=str)
def test_a_command_has_a_section_with_all_its_options(site, looked, name, command):
    assert name.replace(" ", "-") in looked[site / "reference" / "commands.html"].places
    section = text_of(site, "reference/commands.html").partition(f"\n{name} ")[2]
    common = {param.name for param in hive_group.params}
    for param in command.params:
        if isinstance(param, click.Option) and param.name not in common:
            assert max(param.opts, key=len) in section.partition("¶")[0], param


def test_the_options_of_every_command_are_named(site):
    text = text_of(site, "reference/commands.html").partition("Each command")[0]
    for param in hive_group.params:
        assert max(param.opts, key=len) in text


def test_every_setting_is_named(site):
    text = text_of(site, "reference/settings.html")
    for name in Settings.class_own_traits(config=True):
        assert f"Hive.{name}" in text


def test_every_method_and_every_error_is_named(looked, site):
    places = looked[site / "reference" / "python.html"].places
    methods = [name for name in vars(Hive) if not name.startswith("_")]
    assert {f"nixhive_nb.Hive.{name}" for name in methods} <= places
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.HiveError)]
    assert {f"nixhive_nb.errors.{one.__name__}" for one in kinds} <= places
    assert {f"nixhive_nb.{name}" for name in documented()} <= places


def test_the_quickstart_is_shown_as_it_is(site):
    text = text_of(site, "notebooks/01-quickstart.html")
    notebook = json.loads((ROOT / "notebooks" / "01-quickstart.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell in text for cell in cells)


@pytest.fixture
def sources():
    return module_of(ROOT / "docs" / "_ext" / "hive_sources.py")


def test_outputs_of_the_quickstart_are_shown_only_if_they_are_of_this_notebook(sources, tmp_path, monkeypatch):
    notebook = json.loads((ROOT / "notebooks" / "01-quickstart.ipynb").read_text())
    ran = copy.deepcopy(notebook)
    output = {"output_type": "stream", "name": "stdout", "text": ["5 of 5 deployed"]}
    next(cell for cell in ran["cells"] if cell["cell_type"] == "code")["outputs"] = [output]
    monkeypatch.setattr(sources, "EXECUTED", tmp_path / "quickstart.ipynb")

    def shown():
        return json.dumps(sources.quickstart(notebook))

    assert "outputs are left out" in shown()
    sources.EXECUTED.write_text(json.dumps(ran))
    assert "5 of 5 deployed" in shown()
    ran["cells"][-1]["source"] = ["%hive lab up"]
    sources.EXECUTED.write_text(json.dumps(ran))
    assert "5 of 5 deployed" not in shown()
